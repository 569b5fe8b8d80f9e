"""The host of a process: the program, among its ancestors, in which a parent's session runs.

An MCP server and a hook are both started by their host, through any number of shells and wrappers. Their host is the
nearest ancestor whose command is the client's; where none is, the nearest that is no shell or wrapper.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MAX_ANCESTORS: Final = 64
MAX_COMMAND: Final = 4096
_WRAPPERS: Final = frozenset(
    ("sh", "bash", "dash", "ash", "zsh", "fish", "env", "npx", "npm", "uv", "uvx", "pipx", "timeout", "nice", "setsid")
)


@dataclass(frozen=True, slots=True)
class Host:
    """One process, told from others that get its pid later by when it started, in ticks after boot."""

    pid: int
    started: int

    @property
    def word(self) -> str:
        return f"{self.pid}-{self.started}"

    @property
    def lives(self) -> bool:
        """Whether it runs."""
        found = _stat(self.pid)
        return found is not None and found[1] == self.started


def host_of(client: str, pid: int | None = None) -> Host | None:
    """Return the host of a process, by default this one; None where the machine does not show it."""
    chain = list(_ancestors(pid or os.getpid()))
    named = [each for each in chain if _runs(each.pid, client)]
    others = [each for each in chain if not _wraps(each.pid)]
    return next(iter(named or others), None)


def _ancestors(pid: int) -> Iterator[Host]:
    found = _stat(pid)
    for _ in range(MAX_ANCESTORS):
        if found is None or found[0] <= 1:
            return
        above = found[0]
        found = _stat(above)
        if found is not None:
            yield Host(above, found[1])


def _stat(pid: int) -> tuple[int, int] | None:
    """Return (parent, start) of a process."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return int(fields[1]), int(fields[19])
    except (OSError, ValueError, IndexError):
        return None


def _runs(pid: int, client: str) -> bool:
    """Return whether a process is the client: its program, or the script that an interpreter runs, has the name."""
    return any(client in Path(word).name.lower() for word in _words(pid)[:2])


def _wraps(pid: int) -> bool:
    words = _words(pid)
    return not words or Path(words[0]).name.lower().lstrip("-") in _WRAPPERS


def _words(pid: int) -> list[str]:
    try:
        with Path(f"/proc/{pid}/cmdline").open("rb") as file:
            return file.read(MAX_COMMAND).decode("utf-8", "replace").rstrip("\0").split("\0")
    except OSError:
        return []
