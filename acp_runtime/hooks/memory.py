"""What the hooks of one session remember from one event to the next: a small file in the runtime directory.

Losing it loses nothing: what was shown and not acknowledged is shown again. So nothing is kept in a folder that others
may have made, or can enter.
"""

import hashlib
import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from acp_runtime.private import is_private

FOLDER: Final = "hooks"
MAX_BYTES: Final = 4_096
KEPT: Final = 200


@dataclass(slots=True)
class Memory:
    """`token`: the turn that was shown and is not acknowledged. `shown`: a mark of its text, or of the one before it.

    `joined`: the parent of the MCP server that this session claimed.
    """

    token: str = ""
    shown: str = ""
    joined: str = ""


def mark_of(text: str) -> str:
    """Return a short text that is the same for the same text."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]


class MemoryFile:
    """The memory of one parent's session."""

    def __init__(self, runtime_dir: Path, parent: str) -> None:
        self._path = runtime_dir / FOLDER / f"{mark_of(parent)}.json"

    @property
    def _private(self) -> bool:
        return all(map(is_private, (self._path.parents[1], self._path.parent)))

    def read(self) -> Memory:
        """Return what is remembered; nothing where nothing can be read."""
        with suppress(OSError, ValueError, TypeError):
            if self._private:
                with self._path.open("rb") as file:
                    return Memory(**{name: str(value) for name, value in json.loads(file.read(MAX_BYTES)).items()})
        return Memory()

    def tidy(self) -> None:
        """Delete what sessions of long ago remembered."""
        with suppress(OSError):
            if not self._private:
                return
            by_age = sorted(self._path.parent.iterdir(), key=lambda path: path.stat().st_mtime_ns)
            for path in by_age[:-KEPT]:
                path.unlink()

    def write(self, memory: Memory) -> None:
        """Remember; a file that cannot be written is a memory that is lost."""
        with suppress(OSError):
            for folder in (self._path.parents[1], self._path.parent):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not self._private:
                return
            new = self._path.with_suffix(f".{os.getpid()}")
            new.write_text(json.dumps(asdict(memory)), encoding="utf-8")
            new.replace(self._path)
