"""Folders of this user alone: who else may write into one can harm us, and so can who may read what is in it.

One rule for all of them, `unfit`. And files that say what we do: not everybody may write them.
"""

import errno
import os
import stat
from pathlib import Path

__all__ = ["NotPrivateError", "check_guarded", "check_private", "is_private", "make_private", "unfit"]


class NotPrivateError(OSError):
    """A folder is not this user's alone, or a file anybody's; its text says what it is, and what to do."""

    def __init__(self, sentence: str) -> None:
        super().__init__(errno.EACCES, sentence)

    def __str__(self) -> str:
        return str(self.strerror)


def unfit(folder: Path, found: os.stat_result, variable: str = "XDG_RUNTIME_DIR") -> str | None:
    """Return why a folder is not this user's alone and what to do, None where it is: the one rule.

    `found` is of the name itself: a link is none, wherever it leads. `variable` is what names another place.
    """
    what, remedy = "", f"remove it, or set {variable} to a folder of yours"
    if stat.S_ISLNK(found.st_mode):
        what = "is a link"
    elif not stat.S_ISDIR(found.st_mode):
        what = "is no folder"
    elif found.st_uid != os.geteuid():
        what = "belongs to another user"
    elif found.st_mode & 0o077:
        what, remedy = "is open to others", "chmod 700 it"
    if not what:
        return None
    return f"{folder} {what} (mode {stat.S_IMODE(found.st_mode):04o}, owner {found.st_uid}); {remedy}"


def is_private(folder: Path) -> bool:
    """Return whether a folder is this user's alone. Raises OSError where it is not to be seen."""
    return unfit(folder, folder.lstat()) is None


def check_private(folder: Path) -> None:
    """Raise `NotPrivateError` for a folder that is not this user's alone, OSError where it is not to be seen."""
    if (why := unfit(folder, folder.lstat())) is not None:
        raise NotPrivateError(why)


def check_guarded(file: int) -> None:
    """Raise `NotPrivateError` for an open file that everybody may change; a group of its owner's choice may."""
    mode = stat.S_IMODE(os.fstat(file).st_mode)
    if mode & stat.S_IWOTH and stat.S_ISREG(os.fstat(file).st_mode):
        remedy = "look at what is in it, and chmod o-w it or make a copy"
        raise NotPrivateError(f"everybody may change it (mode {mode:04o}); {remedy}")


def make_private(folder: Path, variable: str = "XDG_RUNTIME_DIR") -> Path:
    """Make a folder of this user alone, or close one of this user's to others. Raises `NotPrivateError`, OSError.

    Its name may be one that anybody can take first. `variable` as `unfit` has it.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    found = folder.lstat()
    if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and found.st_mode & 0o077:
        folder.chmod(0o700)
        found = folder.lstat()
    if (why := unfit(folder, found, variable)) is not None:
        raise NotPrivateError(why)
    return folder
