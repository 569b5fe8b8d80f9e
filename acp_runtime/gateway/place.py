"""Where the gateway of a store is: its files beside the store, and the lock by which others know that it lives.

The kernel lets go of the lock with the process, however that dies. What stands in it says who holds it, so that the
gateway is found whatever became of the folder of its socket.
"""

import contextlib
import fcntl
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from sandbox.ownership import start_time

__all__ = ["GatewayPlace", "Holder", "folder_beside", "socket_name", "store_of"]

_LOCK: Final = "lock"
_MOST: Final = 4096  # bytes
_PREFIX, _SUFFIX = "gateway-", ".sock"


def folder_beside(store: Path) -> Path:
    """Return the folder of the gateway of the store at this path."""
    return store.with_suffix(".gateway")


def socket_name(store: str) -> str:
    """Return how the socket of a store's gateway is called, in the folder for sockets."""
    return f"{_PREFIX}{store}{_SUFFIX}"


def store_of(socket: Path) -> str:
    """Return the store for which a socket is called so."""
    return socket.name[len(_PREFIX) : -len(_SUFFIX)]


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that holds the lock, and the socket at which it listens to managers."""

    pid: int
    started: int
    socket: str

    @classmethod
    def this_process(cls, socket: Path) -> "Holder":
        return cls(os.getpid(), start_time(os.getpid()) or 0, str(socket))

    @property
    def lives(self) -> bool:
        """Whether the process of that id is the one that began then."""
        return start_time(self.pid) in (self.started, 0)


@dataclass(frozen=True, slots=True)
class GatewayPlace:
    """`folder` is the gateway's alone; `socket` is where it listens to managers."""

    store: str
    folder: Path
    socket: Path

    @classmethod
    def of_store(cls, store: str, path: Path, runtime_dir: Path) -> "GatewayPlace":
        """Return where it is for the store at this path, for a process that runs in another folder too."""
        return cls(store, folder_beside(path).absolute(), runtime_dir / socket_name(store))

    def take(self) -> int | None:
        """Lock it for this process and return the descriptor; None when another has it. Raises OSError."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(self.folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(lock, 0)
            os.pwrite(lock, json.dumps(asdict(Holder.this_process(self.socket))).encode("ascii"), 0)
        except BlockingIOError:
            os.close(lock)
            return None
        except OSError:
            os.close(lock)
            raise
        return lock

    @property
    def held(self) -> bool:
        """Whether a gateway lives."""
        try:
            lock = os.open(self.folder / _LOCK, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(lock)
        return False

    def holder(self) -> Holder | None:
        """Return who has it; None when nobody does, or one that has it since this moment does not say yet."""
        if not self.held:
            return None
        with contextlib.suppress(OSError, ValueError, TypeError):
            text = (self.folder / _LOCK).read_bytes()[:_MOST]
            return Holder(**json.loads(text))
        return None
