"""The daemon in the background: the right to start one, its log, and its end."""

import contextlib
import fcntl
import logging
import os
import time
from collections.abc import Iterator
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Final

from acp_runtime.api.errors import DaemonError
from acp_runtime.core.plaintext import printable
from acp_runtime.private import NotPrivateError, make_private

LOG: Final = "daemon.log"
READY_SECONDS: Final = 75.0
LOCK_TRIES: Final = 900
TRY_SECONDS: Final = 0.1


@contextlib.contextmanager
def start_lock(folder: Path) -> Iterator["StartLock"]:
    """Hold the right to start a daemon whose socket is in `folder`, which is made 0700.

    Raises `DaemonError`: `socket_unsafe` when the folder is somebody else's, `daemon_not_started` when others that
    start one do not come to an end.
    """
    _make_private(folder)
    lock = StartLock(folder / "daemon.start")
    try:
        lock.acquire()
        yield lock
    finally:
        lock.release()


class StartLock:
    """The right to start a daemon, held by one process at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def acquire(self) -> None:
        """Wait for the right. Raises `DaemonError` (daemon_not_started)."""
        for _ in range(LOCK_TRIES):
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(TRY_SECONDS)
            else:
                return
        sentence = f"another process has been starting the daemon for long; look who holds {self._path}"
        raise DaemonError("daemon_not_started", sentence)

    def release(self) -> None:
        """Give the right to the next one. Idempotent."""
        if self._descriptor >= 0:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        self.drop()

    def drop(self) -> None:
        """Forget the right without giving it on: after a fork it is the other process's. Idempotent."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1


def log_to_file(folder: Path, size: int, files: int) -> None:
    """Log to a file in `folder`, 0600; what is written to standard error goes there too.

    At `size` bytes the next one is begun; so many full `files` are kept beside it.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    handler = _RotatingLog(folder / LOG, maxBytes=size, backupCount=files, encoding="utf-8")
    handler.setFormatter(_Plain("%(asctime)s %(levelname)s %(process)d %(name)s: %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)


class _Plain(logging.Formatter):
    """Nothing in a record controls a terminal, and no line within it looks like the beginning of another record."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record)).replace("\n", "\n    ")


class _RotatingLog(RotatingFileHandler):
    """Standard error follows the file."""

    def _open(self):  # type: ignore[no-untyped-def]  # noqa: ANN202 - the library's own type
        stream = super()._open()
        os.dup2(stream.fileno(), 2)
        return stream


def _make_private(folder: Path) -> None:
    try:
        make_private(folder)
    except NotPrivateError as error:
        raise DaemonError("socket_unsafe", str(error)) from error
    except OSError as error:
        raise DaemonError("socket_unsafe", f"the folder {folder} cannot be used: {error.strerror}") from error
