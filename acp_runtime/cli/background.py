"""A process in the background: the right to start one, how it gets there, what it says on the way, and its log."""

import contextlib
import fcntl
import logging
import os
import select
import stat
import time
from collections.abc import Iterator
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Final

from acp_runtime.api.errors import DaemonError
from acp_runtime.core.plaintext import printable

LOG: Final = "daemon.log"
READY_SECONDS: Final = 75.0
LOCK_TRIES: Final = 900
TRY_SECONDS: Final = 0.1
_GOOD: Final = b"\0"


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


class Report:
    """One word from a process that starts in the background to the one that waits for it."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()

    def good(self) -> None:
        """Say that all is well."""
        self._say(_GOOD)

    def bad(self, sentence: str) -> None:
        """Say what went wrong."""
        logging.getLogger(__name__).error("%s", sentence)
        self._say(sentence.encode())

    def read(self, seconds: float) -> str:
        """Return what went wrong within the bound, or nothing. Called by the one that waits."""
        os.close(self._writer)
        said = b""
        poll = select.poll()
        poll.register(self._reader, select.POLLIN | select.POLLHUP)
        while poll.poll(seconds * 1000):
            piece = os.read(self._reader, 4096)
            said += piece
            if not piece or said == _GOOD:
                os.close(self._reader)
                return (
                    "" if said == _GOOD else said.decode("utf-8", "replace") or "it ended without a word; see its log"
                )
        os.close(self._reader)
        return f"the daemon has not come up within {seconds:g} s; see its log"

    def _say(self, word: bytes) -> None:
        with contextlib.suppress(OSError):  # nobody waits any more, or it was said already
            os.write(self._writer, word)
            os.close(self._writer)


def detach() -> bool:
    """Fork a process that belongs to no terminal, session or parent; return whether this is it."""
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return False
    os.setsid()
    if os.fork():
        os._exit(0)
    os.chdir("/")
    os.umask(0o077)
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    os.close(null)
    return True


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


def wait_for_end(pid: int, seconds: float) -> bool:
    """Return whether the process of this user has ended within the bound."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(seconds * 1000))
    finally:
        os.close(descriptor)


def _make_private(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        found = folder.lstat()
        good = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
        if good and stat.S_IMODE(found.st_mode) & 0o077:
            folder.chmod(0o700)
    except OSError as error:
        raise DaemonError("socket_unsafe", f"the folder {folder} cannot be used: {error.strerror}") from error
    if not good:
        sentence = f"{folder} is not a folder of yours; remove it, or set XDG_RUNTIME_DIR to a folder of yours"
        raise DaemonError("socket_unsafe", sentence)
