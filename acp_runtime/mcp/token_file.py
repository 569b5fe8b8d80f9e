"""The token of the HTTP door: 256 bits in a file that only its user may read, made once."""

import os
import re
import secrets
import stat
from pathlib import Path
from typing import Final

from acp_runtime.core.errors import Rejected

NAME: Final = "http-token"
_BYTES: Final = 32
_FORM: Final = re.compile(rb"[A-Za-z0-9_-]{43}\n?")


def token_at(path: Path) -> str:
    """Return the token in a file; where there is none, it is made first.

    Only the owner of the store may call it. Raises `Rejected` (token_refused) for a file that others may read, that
    belongs to somebody else, or that holds something else.
    """
    try:
        try:
            return _read(path)
        except FileNotFoundError:
            _make(path)
            return _read(path)
    except OSError as error:
        raise _refused(path, f"it cannot be read or made: {error.strerror}") from error


def _read(path: Path) -> str:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
            what = f"mode {stat.S_IMODE(found.st_mode):04o}, owner {found.st_uid}"
            raise _refused(path, f"it is no file of this user alone ({what})")
        data = file.read(100)
    if _FORM.fullmatch(data) is None:
        raise _refused(path, "it holds no token")
    return data.decode().strip()


def _make(path: Path) -> None:
    """Make it whole or not at all."""
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(secrets.token_urlsafe(_BYTES).encode() + b"\n")
        file.flush()
        os.fsync(descriptor)
    new.rename(path)


def _refused(path: Path, why: str) -> Rejected:
    return Rejected("token_refused", f"The token file {path} is not used: {why}; remove it, and a new one is made.")
