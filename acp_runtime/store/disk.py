"""The disk under a store: how much room it has, and what is told when it has too little.

New subagents are turned away while there is still room: what runs already writes on, and is to find some.
"""

import errno
import shutil
import sqlite3
from pathlib import Path
from typing import Final

from acp_runtime.core.errors import StoreError

LEAST_ROOM: Final = 32 * 1024 * 1024
_MIB: Final = 1024 * 1024
# Below this a failed write is put down to the lack of room, whatever it failed at: a sync, or the size of a file.
_NOTHING: Final = 256 * 1024
_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT)
_AWAY: Final = "; move it away, with what is beside it by its name, to begin with an empty one"
_REMEDIES: Final = {sqlite3.SQLITE_NOTADB: _AWAY, sqlite3.SQLITE_CORRUPT: _AWAY}


class StoreFull(StoreError):  # noqa: N818 - reads as what happened
    """The store's disk has no room; nothing of the call was kept. It is over as soon as there is some."""

    kind = "disk_full"


def room(folder: Path) -> int:
    """Return how many bytes may still be written to the disk of a folder, or of the nearest that exists above it."""
    return shutil.disk_usage(next(each for each in (folder, *folder.parents) if each.exists())).free


def need_room(path: Path) -> None:
    """Raise `StoreFull` when the disk of a store has too little room for one more subagent."""
    free = room(path.parent)
    if free < LEAST_ROOM:
        need = f"{LEAST_ROOM // _MIB} MiB are needed to start something new"
        raise StoreFull(f"the disk of the store {path} is full: {free / _MIB:.1f} MiB are free, {need}; make room")


def trouble(path: Path, what: str, error: sqlite3.Error | OSError) -> StoreError:
    """Return what is told of something that failed for a store, `what` in words."""
    if isinstance(error, OSError):
        no_room, why, remedy = error.errno in _NO_ROOM, error.strerror, "; choose another folder"
    else:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        no_room, why, remedy = code == sqlite3.SQLITE_FULL, str(error), _REMEDIES.get(code, "")
    try:
        free = room(path.parent)
    except OSError:
        # The disk is gone altogether; that it failed is said by the error.
        free = LEAST_ROOM
    if no_room or free < _NOTHING:
        sentence = (
            f"the store {path} {what}: {why} ({free / _MIB:.1f} MiB are free); make room, the rest goes on by itself"
        )
        return StoreFull(sentence)
    return StoreError(f"the store {path} {what}: {why}{remedy}")
