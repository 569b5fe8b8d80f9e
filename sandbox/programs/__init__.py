"""Our static programs inside containers: relay (connections out), holder (an agent's streams), tools (its MCP session).

`build.py` compiles them for every architecture, `hatch_hook.py` does so for wheels and editable installs. This module
finds a compiled program and promises that it is the one that was built.
"""

import hashlib
from pathlib import Path

from sandbox.errors import ProgramMissing

__all__ = ["ARCHITECTURES", "HOLDER", "PROGRAMS", "PROGRAMS_MOUNT", "RELAY", "TOOLS", "program", "read_program"]

ARCHITECTURES = ("amd64", "arm64")
PROGRAMS = ("relay", "holder", "tools")
PROGRAMS_MOUNT = "/opt/subagents/programs"  # where they are in a container
RELAY, HOLDER, TOOLS = (f"{PROGRAMS_MOUNT}/{name}" for name in PROGRAMS)

_FOLDER = Path(__file__).parent / "bin"
_REMEDY = "install the package again, or run `python sandbox/programs/build.py` in a checkout"


def program(name: str, architecture: str, folder: Path = _FOLDER) -> Path:
    """Return where the program (one of `PROGRAMS`) for an engine's architecture lies; raises as `read_program`."""
    read_program(name, architecture, folder)
    return folder / f"{name}-{architecture}"


def read_program(name: str, architecture: str, folder: Path = _FOLDER) -> bytes:
    """Return the program for an engine's architecture, checked against its recorded SHA-256.

    Raises ProgramMissing when there is none for the architecture, when it was not built, or when it is not the file
    that was built.
    """
    if architecture not in ARCHITECTURES:
        raise ProgramMissing(
            f"There is no {name} for the architecture {architecture!r}; use an engine on {' or '.join(ARCHITECTURES)}."
        )
    path = folder / f"{name}-{architecture}"
    try:
        data = path.read_bytes()
        recorded = (folder / "SHA256SUMS").read_text(encoding="ascii").splitlines()
    except OSError as error:
        raise ProgramMissing(f"The {name} {path} cannot be read ({error.strerror}); {_REMEDY}.") from error
    found = hashlib.sha256(data).hexdigest()
    if f"{found}  {path.name}" not in recorded:
        raise ProgramMissing(f"The {name} {path} is not the file that was built (its SHA-256 is {found}); {_REMEDY}.")
    return data
