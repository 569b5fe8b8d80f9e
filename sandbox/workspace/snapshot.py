"""A folder of the host at one moment: a commit, and the pack that carries it for a sandbox to unpack.

Promises: the folder and its repository are only read; nothing that lies in them is executed, or configures anything
that runs; nothing outside of them goes along. The commit's tree is what lies on disk, byte for byte: what is tracked
and what no rule ignores. It stands on HEAD's history when that can be had whole, else it is one commit without
parents, and a notice says why.

A folder inside a repository, not at its top, is taken alone: without the rest of the repository and without history,
but under its ignore rules. `prefix` then makes the patch fit at the repository's top as well as in the folder.
"""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from sandbox.errors import CommandTimeout, WorkspaceError
from sandbox.workspace.host_git import GitFailed, HostGit, create_repository, find_git
from sandbox.workspace.importing import SNAPSHOT_REF, Import
from sandbox.workspace.limits import WorkspaceLimits
from sandbox.workspace.listing import Listing, list_folder
from sandbox.workspace.process import OutputFile
from sandbox.workspace.repository import DEFAULT_BRANCH, Place, locate
from sandbox.workspace.survey import Survey
from sandbox.workspace.text import last_line, shown, size
from sandbox.workspace.threads import pieces

__all__ = ["Snapshot", "take_snapshot"]

BRANCH_LENGTH = 200  # a file name has 255 bytes
OVERHEAD = 1.1  # a pack of what cannot be compressed, over its content


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """What was taken. `pack` is a file in the scratch folder, and as that the caller's to remove.

    head      the folder's own commit that `base_commit` stands on, or is; None without history
    branch    what the branch in the sandbox is to be called
    exclude   the ignore rules that stand in no .gitignore: the user's own and the repository's
    prefix    where the folder lies in its repository, with a slash at the end; empty at the top, and without one
    notices   one sentence each, for the user: what does not go along, and why
    """

    folder: Path
    is_git: bool
    head: str | None
    base_commit: str
    base_tree: str
    object_format: str
    branch: str
    prefix: str
    exclude: bytes
    pack: Path
    files: int
    content_bytes: int
    notices: tuple[str, ...]


async def take_snapshot(
    folder: Path,
    scratch: Path,
    *,
    environ: Mapping[str, str],
    limits: WorkspaceLimits | None = None,
    tell: Callable[[str], None] = lambda _sentence: None,
) -> Snapshot:
    """Take in `folder`; what is written goes to `scratch`, an existing folder outside of it.

    `environ` gives PATH, and HOME with the user's own ignore rules. `tell` hears how much it is before it is read.
    Raises WorkspaceError; then, as when cancelled, nothing is left in `scratch`.
    """
    bounds = limits or WorkspaceLimits()
    program, path = find_git(environ)
    place = locate(_existing(folder))
    work = Path(tempfile.mkdtemp(prefix="workspace-", dir=scratch))
    git = HostGit(program, path, work / "first.git", place.top, place.folder, bounds.seconds)
    try:
        return await _take(git, place, environ, bounds, tell)
    except CommandTimeout as error:
        shutil.rmtree(work, ignore_errors=True)
        raise WorkspaceError(f"{error} Give a smaller folder, or raise the limit of seconds.") from error
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise


def _existing(folder: Path) -> Path:
    where = shown(os.fsencode(folder))
    if not os.path.lexists(folder):
        raise WorkspaceError(f"The workspace {where} does not exist; give an existing folder.")
    if not folder.is_dir():
        raise WorkspaceError(f"The workspace {where} is not a folder; give the folder that holds it.")
    if not os.access(folder, os.R_OK | os.X_OK):
        raise WorkspaceError(f"The workspace {where} cannot be read by this user; change its permissions.")
    return folder.resolve()


async def _take(
    git: HostGit, place: Place, environ: Mapping[str, str], limits: WorkspaceLimits, tell: Callable[[str], None]
) -> Snapshot:
    repository = place.repository
    head = repository.head if repository and not place.prefix else None
    object_format = repository.object_format if repository else "sha1"
    borrowed = repository.common / "objects" if repository and head else None
    create_repository(git.directory, object_format=object_format, borrowed=borrowed)
    listing = await list_folder(git, place, environ, limits)
    tell(f"files in the workspace: {len(listing.found.files):,} ({size(listing.found.content_bytes)})")
    notices = _about_history(place)
    packed = None
    if head is not None:
        try:
            packed = await _pack(git, listing.found, head, limits.history_bytes)
        except (GitFailed, CommandTimeout, _TooLarge) as error:
            notices.append(f"The history is left out, because it could not be packed: {error}")
            head = None
    if packed is None:
        git = replace(git, directory=git.directory.with_name("second.git"))
        create_repository(git.directory, object_format=object_format, borrowed=None)
        packed = await _pack(git, listing.found, None, int(limits.content_bytes * OVERHEAD))
    return await _described(git, place, listing, packed, head=head, notices=notices)


@dataclass(frozen=True)
class _Packed:
    commit: str
    tree: str
    pack: Path


class _TooLarge(WorkspaceError):  # noqa: N818
    pass


async def _pack(git: HostGit, found: Survey, parent: str | None, limit: int) -> _Packed:
    """Commit the files and pack what the commit needs; `parent` itself is the commit when it has the same files."""
    stream = pieces(Import(git.folder, found, parent).chunks())
    async with contextlib.aclosing(stream):
        await git.run("fast-import", "--quiet", "--done", "--date-format=now", stdin=stream)
    commit, tree = (await git.run("rev-parse", SNAPSHOT_REF, f"{SNAPSHOT_REF}^{{tree}}")).decode().split()
    if parent is not None and (await git.run("rev-parse", f"{parent}^{{tree}}")).decode().strip() == tree:
        commit = parent
    path = git.directory.parent / "workspace.pack"
    with path.open("wb") as file:
        ended = await git.ended(
            "pack-objects", "--revs", "--stdout", "--delta-base-offset", "--quiet",
            stdin=commit.encode() + b"\n", output=OutputFile(file, limit),
        )  # fmt: skip
    if ended.truncated:
        raise _TooLarge(f"it is larger than {size(limit)}.")
    if ended.exit_code != 0:
        raise GitFailed(f"git pack-objects failed on {shown(os.fsencode(git.folder))}: {last_line(ended.stderr)}.")
    return _Packed(commit, tree, path)


async def _described(
    git: HostGit, place: Place, listing: Listing, packed: _Packed, *, head: str | None, notices: list[str]
) -> Snapshot:
    repository, found = place.repository, listing.found
    branch = repository.branch if repository else DEFAULT_BRANCH
    prefix = os.fsdecode(place.prefix)
    if not prefix.isprintable():
        top, prefix = shown(os.fsencode(place.top)), ""
        notices.append(f"The folder's name is not plain text: apply a patch in {top} with git apply --directory.")
    snapshot = Snapshot(
        folder=place.folder,
        is_git=repository is not None and not place.prefix,
        head=head,
        base_commit=packed.commit,
        base_tree=packed.tree,
        object_format="sha256" if len(packed.commit) == 64 else "sha1",
        branch=branch if await _usable(git, branch) else DEFAULT_BRANCH,
        prefix=prefix,
        exclude=listing.exclude,
        pack=packed.pack,
        files=len(found.files),
        content_bytes=found.content_bytes,
        notices=(*notices, *listing.notices, *found.left_out.notices()),
    )
    for name in ("first.git", "second.git"):
        shutil.rmtree(packed.pack.with_name(name), ignore_errors=True)
    return snapshot


async def _usable(git: HostGit, branch: str) -> bool:
    if not branch.isprintable() or len(branch.encode()) > BRANCH_LENGTH:
        return False
    return (await git.ended("check-ref-format", "--branch", branch)).exit_code == 0


def _about_history(place: Place) -> list[str]:
    why = place.why or (place.repository.why if place.repository else "")
    if place.prefix:
        top = shown(os.fsencode(place.top))
        return [f"The folder lies inside the repository {top}: only the folder is taken, without history."]
    return [f"The history is left out, because {why}."] if why else []
