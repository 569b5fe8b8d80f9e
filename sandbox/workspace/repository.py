"""The repository that a folder belongs to, read as plain data: no git runs here, and nothing in it is obeyed.

Promises: only regular files are read, each up to a bound, none through a symbolic link; nothing outside of the
repository's own directory is taken for its history. A `.git` file or link that leads elsewhere could make us hand
another repository's history to the sandbox: it counts only when the place it names points back.
"""

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from sandbox.errors import WorkspaceError
from sandbox.workspace.text import shown

__all__ = ["Place", "Repository", "locate", "read_bounded"]

SMALL = 65_536  # HEAD, a ref, a .git file
PACKED_REFS = 256 * 1_048_576
SYMREFS = 5  # git's own bound for a chain of symbolic refs
DEFAULT_BRANCH = "main"
_OBJECT_ID = re.compile(rb"[0-9a-f]{40}|[0-9a-f]{64}")
_REF = re.compile(rb"refs/[^\x00-\x20\x7f~^:?*\[\\]+")


@dataclass(frozen=True)
class Repository:
    """Where the data lies: `own` holds HEAD and the index of this work tree, `common` objects, refs and excludes.

    `head` is the commit's id, None when there is none to be had; `why` then says why, or is empty when nothing
    was committed yet.
    """

    own: Path
    common: Path
    head: str | None
    branch: str
    why: str

    @property
    def object_format(self) -> str:
        return "sha256" if self.head is not None and len(self.head) == 64 else "sha1"


@dataclass(frozen=True)
class Place:
    """A folder and what surrounds it.

    `top` is where git would apply a patch: the folder itself when it is in no repository. `repository` is None
    there, and also when the one at `top` is not believed, as `why` then says.
    """

    folder: Path
    top: Path
    repository: Repository | None
    why: str

    @property
    def prefix(self) -> bytes:
        """The folder's path below `top`, with a slash at its end; empty at the top."""
        if self.folder == self.top:
            return b""
        return os.fsencode(self.folder.relative_to(self.top)) + b"/"


def locate(folder: Path) -> Place:
    """Find the nearest repository at or above an existing, resolved folder; like git, not across a mount point."""
    if _is_git_directory(folder, folder):
        raise WorkspaceError(f"{shown(os.fsencode(folder))} is a bare repository, without files; give a clone of it.")
    device = folder.stat().st_dev
    for top in (folder, *folder.parents):
        if top.stat().st_dev != device:
            break
        link = top / ".git"
        if os.path.lexists(link) and (own := _git_directory(link)) and _is_git_directory(own, _common(own)):
            if why := _distrust(link, own):
                return Place(folder, top, None, why)
            return Place(folder, top, _read(own, _common(own)), "")
    return Place(folder, folder, None, "")


def read_bounded(path: Path, limit: int) -> bytes | None:
    """Read a regular file of at most `limit` bytes; None for anything else, and when that fails."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > limit:
            return None
        try:
            return file.read(limit)
        except OSError:
            return None


def _git_directory(link: Path) -> Path | None:
    if link.is_dir():
        return link
    content = read_bounded(link, SMALL)
    if content is None or not content.startswith(b"gitdir: "):
        return None
    return _beside(link.parent, content.removeprefix(b"gitdir: "))


def _beside(folder: Path, line: bytes) -> Path | None:
    """Join the path that a file of git's names, absolute or relative to a folder."""
    name = line.rstrip(b"\r\n")
    if not name or b"\0" in name:
        return None
    return Path(os.path.normpath(folder / os.fsdecode(name)))


def _real(path: Path) -> Path:
    """Unlike `Path.resolve` it takes a loop of links for an ordinary name."""
    return Path(os.path.realpath(path))


def _common(own: Path) -> Path:
    """Linked work trees share the directory that their `commondir` names."""
    content = read_bounded(own / "commondir", SMALL)
    return (content and _beside(own, content)) or own


def _is_git_directory(own: Path, common: Path) -> bool:
    return os.path.lexists(own / "HEAD") and (common / "objects").is_dir() and (common / "refs").is_dir()


def _distrust(link: Path, own: Path) -> str:
    """Why this `.git` is not believed; empty when it is."""
    if link.is_symlink():
        return "its .git is a symbolic link"
    if link.is_dir():
        return ""
    real = _real(own)
    back = read_bounded(own / "gitdir", SMALL)
    named = _beside(own, back) if back else None
    if named is not None and os.path.lexists(named) and os.path.realpath(named) == os.path.realpath(link):
        return ""
    modules = (parent / ".git" / "modules" for parent in _real(link.parent).parents)
    if any(real.is_relative_to(place) for place in modules):
        return ""
    return f"its .git file names {shown(os.fsencode(own))}, which does not name it in return"


def _read(own: Path, common: Path) -> Repository:
    branch, head, why = DEFAULT_BRANCH, None, ""
    name = b"HEAD"
    for _ in range(SYMREFS):
        content = _ref(own if name == b"HEAD" else common, name)
        if content is None or not content.startswith(b"ref:"):
            break
        name = content.removeprefix(b"ref:").strip()
        branch = os.fsdecode(name.removeprefix(b"refs/heads/"))
    if content is not None and _OBJECT_ID.fullmatch(content):
        head = content.decode()
    elif content is not None or name == b"HEAD":
        why = "its HEAD cannot be read"
    elif (common / "reftable").exists():
        why = "its references are kept in a reftable"
    if head is not None:
        head, why = _complete(common, head)
    return Repository(own, common, head, branch, why)


def _complete(common: Path, head: str) -> tuple[str | None, str]:
    """Whether the history behind a commit can be handed on, as far as a look at file names tells."""
    if read_bounded(common / "shallow", PACKED_REFS):
        return None, "it is a shallow clone (`git fetch --unshallow` completes it)"
    if _real(common / "objects") != _real(common) / "objects":
        return None, "its objects lie behind a symbolic link"
    return head, ""


def _ref(directory: Path, name: bytes) -> bytes | None:
    """Read what a ref holds: an object id, or `ref: ` and another ref's name."""
    if name != b"HEAD" and (not _REF.fullmatch(name) or b".." in name):
        return None
    path = directory / os.fsdecode(name)
    if _real(path.parent) != _real(directory) / os.fsdecode(name.rpartition(b"/")[0]):
        return None
    content = read_bounded(path, SMALL)
    if content is not None:
        return content.strip()
    return None if name == b"HEAD" else _packed(directory, name)


def _packed(directory: Path, name: bytes) -> bytes | None:
    for line in (read_bounded(directory / "packed-refs", PACKED_REFS) or b"").splitlines():
        object_id, _, found = line.partition(b" ")
        if found == name:
            return object_id
    return None
