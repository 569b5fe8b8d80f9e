"""A key in a file that nobody but its owner may read or change."""

import asyncio
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from acp_runtime.core.errors import Rejected
from acp_runtime.core.plaintext import one_line
from acp_runtime.keys.secret import LONGEST, Secret

__all__ = ["KeyFile", "read_private", "stamp_of"]

_OTHERS: Final = stat.S_IRGRP | stat.S_IWGRP | stat.S_IROTH | stat.S_IWOTH
_BYTES: Final = 2 * LONGEST  # room for white space around the key


@dataclass(frozen=True, slots=True)
class KeyFile:
    """`file:PATH`; the path is absolute, or begins with `~/`."""

    path: Path
    runs = False

    @classmethod
    def parse(cls, rest: str, environ: Mapping[str, str]) -> "KeyFile":
        """Read what stands behind the colon. Raises Rejected (`bad_key_source`), which does not repeat it."""
        path = Path(environ.get("HOME", "/"), rest[2:]) if rest.startswith("~/") else Path(rest)
        if not path.is_absolute():
            sentence = "The file of a key is not found from every folder; give file:/PATH or file:~/PATH."
            raise Rejected("bad_key_source", sentence)
        return cls(path)

    @property
    def name(self) -> str:
        return f"file:{one_line(str(self.path), 200)}"

    @property
    def stamp(self) -> object:
        return stamp_of(self.path)

    async def read(self, refused: Secret | None = None) -> Secret:  # noqa: ARG002 - the protocol's signature
        content = await asyncio.to_thread(read_private, self.path, _BYTES, self.name)
        remedy = f"write the key alone into {one_line(str(self.path), 200)}"
        try:
            value = content.decode("ascii")
        except UnicodeDecodeError:
            value = "\0"  # refused like every other character that no key has
        return Secret(value, name=self.name, remedy=remedy)


def stamp_of(path: Path) -> object:
    """Return what differs once a file was changed by anybody; None where it cannot be found."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size


def read_private(path: Path, limit: int, name: str) -> bytes:
    """Return the content of a file of at most `limit` bytes that is this user's or root's, and no others'.

    It is looked at once it is open, so that what was checked is what is read. Raises Rejected (`key_missing`,
    `key_unreadable`) with `name` and the remedy.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)  # a fifo waits for nobody
    except FileNotFoundError as error:
        raise Rejected("key_missing", f"The model's key {name} is not there; make the file, mode 0600.") from error
    except OSError as error:
        raise _unreadable(name, f"cannot be opened: {error.strerror}; give a file of yours") from error
    try:
        _check(os.fstat(descriptor), name)
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            content = file.read(limit + 1)
    finally:
        os.close(descriptor)
    if len(content) > limit:
        raise _unreadable(name, f"has more than {limit} bytes; give a file that holds the key alone")
    return content


def _check(found: os.stat_result, name: str) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise _unreadable(name, "is no regular file; give one")
    if found.st_mode & _OTHERS:
        mode = f"{stat.S_IMODE(found.st_mode):04o}"
        raise _unreadable(name, f"is open to others (mode {mode}); chmod 0600 it, and change the key if it matters")
    if found.st_uid not in (os.geteuid(), 0):
        raise _unreadable(name, f"belongs to another user ({found.st_uid}); give a file of yours")


def _unreadable(name: str, why: str) -> Rejected:
    return Rejected("key_unreadable", f"The model's key {name} {why}.")
