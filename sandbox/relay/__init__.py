"""The relay: a static program that carries loopback connections out of a container that has no network.

`relay.c` is the program, `build.py` compiles it for every architecture, `hatch_hook.py` does so for wheels and
editable installs. This module finds the compiled program and promises that it is the one that was built.
"""

import hashlib
from pathlib import Path

from sandbox.errors import RelayMissing

__all__ = ["ARCHITECTURES", "relay_binary"]

ARCHITECTURES = ("amd64", "arm64")

_FOLDER = Path(__file__).parent / "bin"
_REMEDY = "install the package again, or run `python sandbox/relay/build.py` in a checkout"


def relay_binary(architecture: str, folder: Path = _FOLDER) -> Path:
    """Return the relay for an engine's architecture, checked against the SHA-256 recorded when it was built.

    Raises RelayMissing when there is no relay for the architecture, when it was not built, or when it is not the file
    that was built.
    """
    if architecture not in ARCHITECTURES:
        raise RelayMissing(
            f"There is no relay for the architecture {architecture!r}; use an engine on {' or '.join(ARCHITECTURES)}."
        )
    path = folder / f"relay-{architecture}"
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        recorded = (folder / "SHA256SUMS").read_text(encoding="ascii").splitlines()
    except OSError as error:
        raise RelayMissing(f"The relay {path} cannot be read ({error.strerror}); {_REMEDY}.") from error
    if f"{found}  {path.name}" not in recorded:
        raise RelayMissing(f"The relay {path} is not the file that was built (its SHA-256 is {found}); {_REMEDY}.")
    return path
