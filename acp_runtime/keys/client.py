"""What a vendor's command line says it is when it has a token renewed.

An installed program can keep no secret, but its vendor may have given it one all the same. That is in no file of ours:
it is read where this user has installed the program, which is not run for it.
"""

import mmap
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

__all__ = ["Client", "gemini_client"]

_FILES: Final = 1000
_GEMINI: Final = re.compile(
    rb"\bOAUTH_CLIENT_ID\s*=\s*[\"']([!-~]{1,200}?)[\"'].{0,400}?\bOAUTH_CLIENT_SECRET\s*=\s*[\"']([!-~]{1,200}?)[\"']",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Client:
    """A client of OAuth, with its secret where it has one."""

    id: str
    secret: str = field(default="", repr=False)


def gemini_client(search: str | None) -> Client | None:
    """Return the client of the `gemini` that is found along `search`, a PATH; None where there is none, or none in it.

    It stands in one of the files beside the program's own. Reading them takes a moment: for threads.
    """
    program = shutil.which("gemini", path=search or "")
    if program is None:
        return None
    beside = sorted(Path(program).resolve().parent.glob("*.js"))[:_FILES]
    return next((client for path in beside if (client := _found(path)) is not None), None)


def _found(path: Path) -> Client | None:
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            found = _GEMINI.search(content)
            return None if found is None else Client(found[1].decode("ascii"), found[2].decode("ascii"))
    except (OSError, ValueError):  # not readable, or empty
        return None
