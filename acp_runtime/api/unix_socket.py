"""The daemon's socket as its clients find it: in a folder that is this user's alone, behind it a process of this user.

A client refuses a folder that others may enter and a listener of another user, so that nobody can answer in the
daemon's place. The path may be longer than the 107 bytes of a socket's address.
"""

import os
import socket
import struct
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote

from acp_runtime.api.errors import DaemonError
from acp_runtime.core.plaintext import one_line
from acp_runtime.places import environment, runtime_dir, state_dir
from acp_runtime.private import unfit

NAME: Final = "daemon.sock"
_CREDENTIALS: Final = struct.Struct("3i")


def usual_socket() -> Path:
    """Return where the daemon of this user listens."""
    return runtime_dir(environment()) / NAME


def usual_folder() -> str:
    """Return the folder of this user's store, as clients name it in a header: a daemon of another one refuses them."""
    return folder_word(state_dir(environment()))


def folder_word(folder: Path) -> str:
    """Return the one way in which a folder is named in a header."""
    return quote(os.path.realpath(folder))


def other_folder(theirs: str, ours: str) -> str:
    """Return what is told where a daemon keeps its store in another folder than is meant."""
    both = f"the daemon that runs keeps its store in {unquote(theirs)}, yours would be in {unquote(ours)}"
    return one_line(f"{both}; set XDG_RUNTIME_DIR to a folder of its own for each XDG_STATE_HOME", 600)


def peer(connection: socket.socket) -> tuple[int, int]:
    """Return (pid, uid) of the process at the other end."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, _ = _CREDENTIALS.unpack(raw)
    return pid, uid


def connect(path: Path, seconds: float) -> socket.socket:
    """Return a connection on which each step may take `seconds`.

    Raises `DaemonError` (`socket_unsafe`), and `OSError` when nobody listens.
    """
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if (why := unfit(path.parent, os.fstat(folder))) is not None:
            raise DaemonError("socket_unsafe", why)
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(seconds)
            connection.connect(f"/proc/self/fd/{folder}/{path.name}")
            _check_peer(path, connection)
        except BaseException:
            connection.close()
            raise
        return connection
    finally:
        os.close(folder)


def _check_peer(path: Path, connection: socket.socket) -> None:
    _, uid = peer(connection)
    if uid != os.geteuid():
        raise DaemonError("socket_unsafe", f"user {uid} listens on {path}, not you; set XDG_RUNTIME_DIR to your folder")
