"""Folders of this machine for a moment: held by the process that made them, and removable by anybody once it is dead.

The claim is a flock on the folder itself: the kernel lets go of it with the process, however that dies, and holds it
against every process of the machine, also in other containers. So nothing has to be read from a name or a pid.
"""

import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

TRIES: Final = 4
_DRAWN: Final = "[a-z0-9_]{8}"  # what tempfile puts behind a prefix


@contextmanager
def claimed(parent: Path, prefix: str) -> Iterator[Path]:
    """Make a folder of a new name, this user's alone, and hold it inside the block; it is removed after it.

    Where the file system has no locks it is not held, and nobody takes it for abandoned. Raises OSError.
    """
    for _ in range(TRIES):
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        claim = _claim(folder)
        if claim is not None:  # else it was taken for abandoned in the moment between the two
            break
    folder.mkdir(mode=0o700, exist_ok=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if claim is not None:
            os.close(claim)


def abandoned(parent: Path, prefix: str, *, remove: bool) -> list[Path]:
    """Return the folders with that prefix that nobody holds, and with `remove` remove them."""
    found = []
    for folder in sorted(parent.glob(f"{prefix}*")):
        if not re.fullmatch(re.escape(prefix) + _DRAWN, folder.name) or (claim := _claim(folder)) is None:
            continue
        if remove:
            shutil.rmtree(folder, ignore_errors=True)
        os.close(claim)
        found.append(folder)
    return found


def _claim(folder: Path) -> int | None:
    """Return a descriptor that holds the folder; None when another does, when it is gone, or not this user's."""
    with suppress(OSError):
        claim = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(claim).st_ino == folder.stat().st_ino and os.fstat(claim).st_uid == os.geteuid():
                return claim
        except OSError:
            pass
        os.close(claim)
    return None
