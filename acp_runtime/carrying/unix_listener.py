"""A listening unix socket that a group may connect to, or its user alone, in a folder that is closed to others.

Promises that the path may be longer than the 108 bytes of a socket's address, that a socket left behind by a dead
process is replaced and a living one is not, and that `close` removes its own file only.
"""

import contextlib
import os
import socket
import stat
from pathlib import Path

from acp_runtime.core.errors import Rejected

__all__ = ["UnixListener"]

# Modes of folder and socket, and what the folder's may not hold: nobody but the owner may change what is in it.
_GROUPS = (0o750, 0o660, 0o027)
_OWNERS = (0o700, 0o600, 0o077)
_MAX_ADDRESS = 107
_NEW = ".new"
_BACKLOG = 128


class UnixListener:
    """The listening socket, its file and its folder."""

    def __init__(self, path: Path, gid: int | None, *, take: bool = False) -> None:
        """Bind at `path` for the group `gid`; the folder is made (0750) when only it is missing.

        Without a group the socket is 0600 and its folder 0700. `take`: the process that still listens there has been
        replaced, its socket gives way too. Raises Rejected (`socket_refused`) with one sentence when that cannot be
        done.
        """
        self.path = path
        self._name = path.name
        self._mode, self._socket_mode, self._forbidden = _GROUPS if gid is not None else _OWNERS
        self._take = take
        self._made: Path | None = None
        try:
            self._folder = self._open_folder(path.parent, gid)
        except OSError as error:
            raise _refused(path, f"its folder cannot be used: {error.strerror}") from error
        try:
            self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        except OSError as error:
            self._leave_folder()
            raise _refused(path, f"no socket can be had: {error.strerror}") from error
        try:
            self._bind(path, gid)
            self._inode = self._stat().st_ino
        except OSError as error:
            self._leave()
            raise _refused(path, str(error.strerror)) from error
        except BaseException:
            self._leave()
            raise

    def close(self) -> None:
        """Close the socket, remove its file, and the folder if it was made here and is empty."""
        self.withdraw()
        self._leave()

    @property
    def found(self) -> bool:
        """Whether its path leads to it; not once somebody has removed the socket's file, or the folder of it."""
        try:
            return self.path.lstat().st_ino == self._inode
        except OSError:
            return False

    def withdraw(self) -> None:
        """Remove the socket's file, so that nobody new finds it; who has found it is still served."""
        with contextlib.suppress(FileNotFoundError):
            if self._stat().st_ino == self._inode:
                os.unlink(self._name, dir_fd=self._folder)

    def _leave(self) -> None:
        self.socket.close()
        self._leave_folder()

    def _leave_folder(self) -> None:
        os.close(self._folder)
        if self._made is not None:
            with contextlib.suppress(OSError):
                self._made.rmdir()

    def _open_folder(self, folder: Path, gid: int | None) -> int:
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
            self._made = folder
        try:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                if self._made is not None:
                    os.fchown(descriptor, -1, -1 if gid is None else gid)
                    os.fchmod(descriptor, self._mode)
            except OSError:
                os.close(descriptor)
                raise
        except OSError:
            if self._made is not None:
                folder.rmdir()
            raise
        return descriptor

    def _bind(self, path: Path, gid: int | None) -> None:
        # Through the open folder the address is short, however long the path is.
        address = f"/proc/self/fd/{self._folder}/{self._name}"
        if len(os.fsencode(address)) + len(_NEW) > _MAX_ADDRESS:
            raise _refused(path, "its last part is too long for a socket's address; choose a name of up to 64 bytes")
        self._check_folder(path)
        self._make_way(path, address)
        new = f"{self._name}{_NEW}"
        try:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(new, dir_fd=self._folder)
            self.socket.bind(address + _NEW)
            os.chown(new, -1, -1 if gid is None else gid, dir_fd=self._folder, follow_symlinks=False)
            os.chmod(new, self._socket_mode, dir_fd=self._folder)
            self.socket.listen(_BACKLOG)
            # Who waits for the socket is not to find one that it may not use yet.
            os.rename(new, self._name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        except OSError as error:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(new, dir_fd=self._folder)
            raise _refused(path, f"{error.strerror} (group {gid}); use a group that this user is in") from error

    def _check_folder(self, path: Path) -> None:
        found = os.fstat(self._folder)
        if found.st_uid != os.geteuid() or found.st_mode & self._forbidden:
            what = f"its folder is open to others (mode {stat.S_IMODE(found.st_mode):04o}, owner {found.st_uid})"
            raise _refused(path, f"{what}; use {self._mode:04o}")

    def _make_way(self, path: Path, address: str) -> None:
        try:
            found = self._stat()
        except FileNotFoundError:
            return
        if not stat.S_ISSOCK(found.st_mode):
            raise _refused(path, "there is something else in its place; remove it or choose another path")
        if self._take:
            os.unlink(self._name, dir_fd=self._folder)
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
            try:
                probe.connect(address)
            except ConnectionRefusedError:
                os.unlink(self._name, dir_fd=self._folder)
                return
            except OSError:  # a full backlog, or another kind of socket: somebody is there
                pass
        raise _refused(path, "another process listens on it; choose another path")

    def _stat(self) -> os.stat_result:
        return os.stat(self._name, dir_fd=self._folder, follow_symlinks=False)


def _refused(path: Path, why: str) -> Rejected:
    return Rejected("socket_refused", f"The socket {path} cannot be made: {why}.")
