"""The files of a folder as one commit, written in the language of `git fast-import`.

Git gets bytes and names and never opens the folder, so nothing in it can change what is stored. Promise: each file is
opened without following a link and without waiting (a pipe that took its place is left out), and stored whole, or
the import fails; memory stays near one chunk.
"""

import os
import stat
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

from sandbox.errors import WorkspaceError
from sandbox.workspace.host_git import quoted
from sandbox.workspace.survey import File, Survey
from sandbox.workspace.text import shown

__all__ = ["SNAPSHOT_REF", "Import"]

SNAPSHOT_REF = "refs/heads/snapshot"
CHUNK = 1_048_576
AUTHOR = b"Workspace <workspace@localhost>"


@dataclass
class Import:
    """One commit to be: on top of `parent`, or without one. Files that cannot be opened join the survey's list."""

    folder: Path
    found: Survey
    parent: str | None

    def chunks(self) -> Generator[bytes, None, None]:
        """Yield the stream, a mebibyte at a time. Blocking. Raises WorkspaceError when a file changes meanwhile."""
        buffer = bytearray(self._head())
        for file in self.found.files:
            for piece in self._file(file):
                buffer += piece
                if len(buffer) >= CHUNK:
                    yield bytes(buffer)
                    buffer.clear()
        yield bytes(buffer) + b"done\n"

    def _head(self) -> bytes:
        message = b"Take in the folder as it lies\n" if self.parent is None else b"Take in what was not committed\n"
        origin = b"" if self.parent is None else b"from " + self.parent.encode() + b"\n"
        return b"feature done\ncommit %s\ncommitter %s now\ndata %d\n%s%sdeleteall\n" % (
            SNAPSHOT_REF.encode(),
            AUTHOR,
            len(message),
            message,
            origin,
        )

    def _file(self, file: File) -> Iterator[bytes]:
        path = os.fsencode(self.folder) + b"/" + file.path
        try:
            if file.mode == b"120000":
                target = os.readlink(path)  # noqa: PTH115 - a name is bytes
                yield self._change(file, len(target)) + target + b"\n"
                return
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            self.found.left_out.unreadable.append(file.path)
            return
        with os.fdopen(descriptor, "rb", buffering=0) as content:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                self.found.left_out.special.append(file.path)
                return
            if status.st_size != file.size:
                raise self._changed(file)
            yield self._change(file, file.size)
            left = file.size
            while left:
                if not (piece := content.read(min(left, CHUNK))):
                    raise self._changed(file)
                yield piece
                left -= len(piece)
        yield b"\n"

    def _changed(self, file: File) -> WorkspaceError:
        name = shown(os.fsencode(self.folder) + b"/" + file.path)
        return WorkspaceError(f"{name} changed while it was read; let its writers finish, and try again.")

    def _change(self, file: File, length: int) -> bytes:
        return b"M %s inline %s\ndata %d\n" % (file.mode, quoted(file.path), length)
