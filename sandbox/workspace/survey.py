"""What lies in a folder: the files that go along, and the names of what stays behind and why.

Promises: symbolic links are never followed, nothing is opened, another repository's inside is not looked at. The
order is that of the paths' bytes, so two looks at an unchanged folder are equal.
"""

import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path

from sandbox.errors import WorkspaceError
from sandbox.workspace.limits import WorkspaceLimits
from sandbox.workspace.text import named, shown, size

__all__ = ["File", "LeftOut", "Survey", "survey"]

BIGGEST = 3  # folders that an error names
# Characters that HFS+ does not see in names, as UTF-8; git on such a machine refuses a whole patch for one.
_UNSEEN = re.compile(rb"\xe2\x80[\x8c-\x8f\xaa-\xae]|\xe2\x81[\xaa-\xaf]|\xef\xbb\xbf")
_REPOSITORY_NAME = re.compile(rb"(\.git|git~1)[ .]*(:|\Z)", re.IGNORECASE)
_MODULES_NAME = re.compile(rb"(\.gitmodules|gitmod~[1-4]|g?i?7?e?b?a?~[1-9][0-9]*)[ .]*(:|\Z)", re.IGNORECASE)


@dataclass(frozen=True)
class File:
    """A regular file or symbolic link; `path` is relative, `size` that of the content, `mode` as git writes it."""

    path: bytes
    mode: bytes
    size: int


@dataclass
class LeftOut:
    """Paths that do not go along, by reason."""

    repositories: list[bytes] = field(default_factory=list)
    special: list[bytes] = field(default_factory=list)
    unreadable: list[bytes] = field(default_factory=list)
    refused: list[bytes] = field(default_factory=list)

    def notices(self) -> tuple[str, ...]:
        """One sentence a reason, for the user."""
        reasons = (
            ("Left out, because they are repositories of their own", self.repositories),
            ("Left out, because they are sockets, pipes or devices", self.special),
            ("Left out, because they cannot be read", self.unreadable),
            ("Left out, because git refuses such names", self.refused),
        )
        return tuple(f"{reason}: {named(paths)}." for reason, paths in reasons if paths)


@dataclass(frozen=True)
class Survey:
    files: tuple[File, ...]
    left_out: LeftOut

    @property
    def content_bytes(self) -> int:
        return sum(file.size for file in self.files)


def survey(
    folder: Path,
    *,
    ignored: Collection[bytes],
    submodules: Collection[bytes],
    limits: WorkspaceLimits,
    stopped: Callable[[], bool],
) -> Survey:
    """Look at everything under `folder` but what is `ignored` (paths; a folder's may end with a slash).

    Blocking; gives up with an incomplete answer once `stopped()` is true. Raises WorkspaceError past the limits.
    """
    look = _Look(os.fsencode(folder), ignored, submodules, limits)
    pending = [b""]
    while pending and not stopped():
        pending += look.into(pending.pop())
    look.files.sort(key=lambda file: file.path)
    found = Survey(tuple(look.files), look.left_out)
    if found.content_bytes > limits.content_bytes:
        raise WorkspaceError(_too_big(folder, found, limits))
    return found


class _Look:
    def __init__(
        self, root: bytes, ignored: Collection[bytes], submodules: Collection[bytes], limits: WorkspaceLimits
    ) -> None:
        self.files: list[File] = []
        self.left_out = LeftOut()
        self._root, self._ignored, self._submodules = root, ignored, submodules
        self._limit = self._room = limits.entries

    def into(self, folder: bytes) -> list[bytes]:
        """Note what one folder holds; its subfolders are returned. `folder` is empty or ends with a slash."""
        try:
            with os.scandir(self._root + b"/" + folder) as entries:
                found = list(entries)
        except OSError:
            self.left_out.unreadable.append(folder)
            return []
        if folder and any(entry.name == b".git" for entry in found):
            self.left_out.repositories.append(folder)
            return []
        self._room -= len(found)
        if self._room < 0:
            where = shown(self._root)
            raise WorkspaceError(f"{where} holds more than {self._limit} files and folders; give a smaller folder.")
        return [path for entry in found if (path := self._note(folder + entry.name, entry))]

    def _note(self, path: bytes, entry: os.DirEntry[bytes]) -> bytes | None:
        if path == b".git" or path in self._ignored or path + b"/" in self._ignored:
            return None
        if path in self._submodules:
            self.left_out.repositories.append(path + b"/")
            return None
        try:
            status = entry.stat(follow_symlinks=False)
        except OSError:  # it went away, or its folder may be listed but not entered
            self.left_out.unreadable.append(path)
            return None
        if refused_by_git(entry.name, is_link=stat.S_ISLNK(status.st_mode)):
            self.left_out.refused.append(path)
        elif stat.S_ISDIR(status.st_mode):
            return path + b"/"
        elif stat.S_ISLNK(status.st_mode):
            self.files.append(File(path, b"120000", status.st_size))
        elif stat.S_ISREG(status.st_mode):
            mode = b"100755" if status.st_mode & stat.S_IXUSR else b"100644"
            self.files.append(File(path, mode, status.st_size))
        else:
            self.left_out.special.append(path)
        return None


def refused_by_git(name: bytes, *, is_link: bool) -> bool:
    """Whether git takes a name for `.git`, or a link's for `.gitmodules`, as some file system would.

    For links a few names more are refused than git does.
    """
    parts = _UNSEEN.sub(b"", name).split(b"\\")
    return any(_REPOSITORY_NAME.match(part) or (is_link and _MODULES_NAME.match(part)) for part in parts)


def _too_big(folder: Path, found: Survey, limits: WorkspaceLimits) -> str:
    weights: Counter[bytes] = Counter()
    for file in found.files:
        top, slash, _ = file.path.partition(b"/")
        weights[top + slash] += file.size
    biggest = ", ".join(f"{shown(path)} ({size(weight)})" for path, weight in weights.most_common(BIGGEST))
    where, bound = shown(os.fsencode(folder)), size(limits.content_bytes)
    return (
        f"{where} holds {size(found.content_bytes)}, more than the {bound} that a workspace may have; the most is in "
        f"{biggest}: name what is not needed in .gitignore, or give a smaller folder."
    )
