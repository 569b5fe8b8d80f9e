"""Which files of a folder go along: git is asked about ignore rules, the files we look at ourselves.

Git reads a copy of the index and the ignore rules as data; every path that it names only takes something away from
what our own look at the folder finds, so a forged index can hide files but bring none in.
"""

import contextlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace

from sandbox.workspace.host_git import GitFailed, HostGit
from sandbox.workspace.limits import WorkspaceLimits
from sandbox.workspace.repository import Place, read_bounded
from sandbox.workspace.survey import Survey, survey
from sandbox.workspace.text import named
from sandbox.workspace.threads import in_thread

__all__ = ["Listing", "list_folder"]

INDEX_LIMIT = 512 * 1_048_576
EXCLUDE_LIMIT = 1_048_576
# With these attributes `git apply` compares a patch with other bytes than those that lie on disk.
CONVERTING = ("filter", "ident", "working-tree-encoding")
APPLY_RAW = "GIT_DIR=/dev/null GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1 git apply"
_UNTOUCHED = (b"unspecified", b"unset")


@dataclass(frozen=True)
class Listing:
    """The files, the ignore rules that stand in no .gitignore, and what the user should know."""

    found: Survey
    exclude: bytes
    notices: tuple[str, ...]


async def list_folder(git: HostGit, place: Place, environ: Mapping[str, str], limits: WorkspaceLimits) -> Listing:
    """List `place.folder`; `git` has an empty repository of ours, which gets the index and the rules."""
    exclude = await _rules(git, place, environ)
    (git.directory / "info" / "exclude").write_bytes(exclude)
    await _take_index(git, place)
    if place.prefix and await _is_ignored(git, place):
        # Whoever names an ignored folder wants what is in it; the rules that hide it would hide that too.
        git = replace(git, work_tree=place.folder)
        git.index.unlink(missing_ok=True)
    ignored, submodules = await _ask(git)
    stop = threading.Event()
    found = await in_thread(
        lambda: survey(place.folder, ignored=ignored, submodules=submodules, limits=limits, stopped=stop.is_set),
        stop.set,
    )
    return Listing(found, exclude, await _conversions(git, found))


async def _rules(git: HostGit, place: Place, environ: Mapping[str, str]) -> bytes:
    """Put the user's rules first: in one file the later line wins, and the repository's own are the stronger ones."""
    users = await git.users_ignore_file(environ)
    own = b""
    with contextlib.suppress(OSError):
        own = users.read_bytes()[:EXCLUDE_LIMIT] if users and users.is_file() else b""
    common = place.repository.common if place.repository else None
    repositorys = read_bounded(common / "info" / "exclude", EXCLUDE_LIMIT) if common else b""
    return own + b"\n" + (repositorys or b"") + b"\n"


async def _take_index(git: HostGit, place: Place) -> None:
    """Let what is tracked go along though a rule ignores it; the index says so, and without a usable one HEAD."""
    repository = place.repository
    if repository is None:
        return
    if index := read_bounded(repository.own / "index", INDEX_LIMIT):
        git.index.write_bytes(index)
        if (await git.ended("ls-files", "-z", output=0)).exit_code == 0:
            return
        git.index.unlink()
    if repository.head is not None:
        with contextlib.suppress(GitFailed):
            await git.run("read-tree", repository.head)


async def _is_ignored(git: HostGit, place: Place) -> bool:
    top = replace(git, folder=place.top)
    return (await top.ended("check-ignore", "-q", "-z", "--stdin", stdin=place.prefix.rstrip(b"/"))).exit_code == 0


async def _ask(git: HostGit) -> tuple[frozenset[bytes], frozenset[bytes]]:
    """Ignored paths, whole folders as one, and the paths of submodules; both relative to the folder."""
    rules = ("--others", "--ignored", "--exclude-standard", "--directory")
    ignored = (await git.run("ls-files", "-z", *rules)).split(b"\0")
    staged = (await git.run("ls-files", "-z", "--stage")).split(b"\0")
    submodules = (entry.partition(b"\t")[2] for entry in staged if entry.startswith(b"160000 "))
    return frozenset(ignored) - {b""}, frozenset(submodules)


async def _conversions(git: HostGit, found: Survey) -> tuple[str, ...]:
    names = b"".join(file.path + b"\0" for file in found.files if file.mode != b"120000")
    answer = (await git.run("check-attr", "-z", "--stdin", *CONVERTING, stdin=names)).split(b"\0")
    converted = {path for path, value in zip(answer[0::3], answer[2::3], strict=False) if value not in _UNTOUCHED}
    if not converted:
        return ()
    notice = (
        f"Git converts these files here (attributes {', '.join(CONVERTING)}), and they go along as they lie on disk: "
        f"{named(converted)}. Should a patch to one of them not apply, apply it with: {APPLY_RAW}."
    )
    return (notice,)
