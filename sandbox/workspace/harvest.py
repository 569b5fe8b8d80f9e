"""The agent's work as a patch: what lies in the work volume, against what was brought in.

Promises: nothing that the agent did to its clone matters (hooks, filters, attributes, rewritten history, a removed or
replaced `.git`): git runs on the manager's own repository with a fresh index, and takes the work volume for a folder
of files. What stays behind is named. The patch is complete, or there is an error; the volumes stay as they are.
Repositories that the agent made inside the work go along as files, without their history.
"""

import re
from dataclasses import dataclass

from sandbox.errors import WorkspaceError
from sandbox.workspace.found import REPOSITORY_MODE, Found, sections
from sandbox.workspace.guest import Completed, Guest
from sandbox.workspace.obeyed import cautions
from sandbox.workspace.text import last_line, named, size

__all__ = ["Work", "take_out"]

DOING = "Taking the work out of the sandbox"
KEPT = "the work is kept in the sandbox's volume: have the agent remove what is not needed, or raise the limit"
NAMES_LIMIT = 256 * 1_048_576
RETRIES = 20  # files that git cannot take in, each found by one try
NESTED = 50  # repositories inside the work, each costs one call
BIGGEST = 3  # files that an error names
RENAMES, NO_RENAMES = "-M", "--no-renames"


@dataclass(frozen=True, kw_only=True)
class Work:
    """What the agent changed, `tree` being git's name for the result.

    `patch` is for `git apply`, and empty when nothing changed. `files`, `insertions` and `deletions` count as
    `git diff --numstat` does, binary files without lines; `diffstat` is plain ASCII text of up to 200 files;
    `notices` are sentences for the user: what stays behind, and what to look at before applying.
    """

    patch: bytes
    tree: str
    files: int
    insertions: int
    deletions: int
    diffstat: str
    notices: tuple[str, ...]


# A pipe called .gitignore would keep git waiting for ever, and a patch could not hold it anyway.
_LOOK = r"""
export GIT_DIR="$repo" GIT_WORK_TREE="$work" GIT_INDEX_FILE="$repo/harvest"
find . -path ./.git -prune -o -type p '(' -name .gitignore -o -name .gitattributes ')' -exec rm -f '{}' + || true
rm -f "$GIT_INDEX_FILE" "$GIT_INDEX_FILE.lock"
git read-tree refs/heads/base
git diff-files -z --raw
printf '\0'
git ls-files -z --others --exclude-standard
printf '\0'
git ls-files -z --others --ignored --exclude-standard --directory
printf '\0'
find . -path ./.git -prune -o -type f -size "+$1c" -print0 || true
"""

_NESTED = """
export GIT_DIR="$repo" GIT_WORK_TREE="$work/$1" GIT_INDEX_FILE="$repo/none"
cd "$GIT_WORK_TREE"
git ls-files -z --others --exclude-standard
"""

_REMOVE = """
export GIT_DIR="$repo" GIT_WORK_TREE="$work" GIT_INDEX_FILE="$repo/harvest"
git update-index -z --force-remove --stdin
"""

_ADD = """
export GIT_DIR="$repo" GIT_WORK_TREE="$work" GIT_INDEX_FILE="$repo/harvest"
git update-index -z --add --stdin
git ls-files -z --cached
"""
_NOT_ADDED = re.compile(rb"fatal: Unable to process path (.*)\n", re.DOTALL)
_NOT_OPENED = re.compile(rb"could not open directory '([^\n]*)")  # a long message has no end
# Git prints a name's control characters as `?`.
_AS_PRINTED = bytes(ord("?") if (code < 32 and code not in b"\t\n") or code == 127 else code for code in range(256))

# Renames read better. But git writes their names without a prefix, so where there is one they are none.
_DIFF = """
export GIT_DIR="$repo" GIT_INDEX_FILE="$repo/harvest"
prefix=$(git config workspace.prefix)
renames=$1
test -z "$prefix" || renames=--no-renames
diff() { git diff-index --cached "$renames" "$@" refs/heads/base; }
"""

_COUNT = r"""
tree=$(git write-tree)
printf '%s\0\0' "$tree"
diff -z --raw --no-renames --abbrev=64
printf '\0'
diff -z --numstat
printf '\0'
diff --stat=100 --stat-count=200
printf 'end\0'
"""

_PATCH = """
diff --patch --binary --full-index --src-prefix="a/$prefix" --dst-prefix="b/$prefix"
"""

_SIZES = """
git --git-dir="$repo" cat-file --batch-check='%(objectsize)'
"""


async def take_out(guest: Guest) -> Work:
    """Make the patch; may be called as often as wanted, also while the agent runs. Raises WorkspaceError."""
    found = await _look(guest)
    await _into_nested(guest, found)
    await _stage(guest, found)
    counted = _required(await guest.script(_DIFF + _COUNT, RENAMES, doing=DOING, limit_bytes=NAMES_LIMIT))
    (tree,), raw, numbers, (stat,) = sections(counted.stdout, 4)
    changes = dict(zip(raw[1::2], raw[0::2], strict=True))
    if any(change.split(b" ")[1] == REPOSITORY_MODE for change in changes.values()):
        raise WorkspaceError(f"{DOING} failed, because folders were replaced meanwhile; try again.")
    files, insertions, deletions = _count(numbers)
    return Work(
        patch=await _patch(guest, changes),
        tree=tree.decode(),
        files=files,
        insertions=insertions,
        deletions=deletions,
        diffstat=stat.removesuffix(b"end").decode("ascii", errors="replace"),
        notices=(*found.notices(), *cautions(changes)),
    )


async def _look(guest: Guest) -> Found:
    bound = guest.limits.content_bytes
    seen = _required(await guest.script(_LOOK, str(bound), doing=DOING, cwd=guest.work, limit_bytes=NAMES_LIMIT))
    changed, others, ignored, large = sections(seen.stdout, 4)
    found = Found(ignored=ignored, closed=_not_opened(seen))
    found.take_changes(changed)
    found.take_others(others)
    if too_large := {path.removeprefix(b"./") for path in large} & found.add:
        raise WorkspaceError(f"{named(too_large)} is larger than {size(bound)}, so there is no patch; {KEPT}.")
    return found


async def _into_nested(guest: Guest, found: Found) -> None:
    """List the files of repositories inside the work, by their own ignore rules; they may hold further ones."""
    for number, folder in enumerate(found.nested):  # grows on the way
        path = folder.decode(errors="replace")
        if number >= NESTED or path.encode() != folder:
            found.closed.append(folder)
            continue
        listed = await guest.script(_NESTED, path, doing=DOING, cwd=guest.work, limit_bytes=NAMES_LIMIT)
        found.closed += (folder + name for name in _not_opened(listed))
        found.take_others(folder + name for name in sections(_required(listed).stdout, 1)[0])


async def _stage(guest: Guest, found: Found) -> None:
    """Bring the index from the snapshot to what lies in the work volume; what cannot be added is noted."""
    if found.remove:
        _required(await guest.script(_REMOVE, doing=DOING, cwd=guest.work, stdin=_joined(found.remove)))
    for _ in range(RETRIES):
        paths = _joined(found.add)
        added = await guest.script(_ADD, doing=DOING, cwd=guest.work, stdin=paths, limit_bytes=NAMES_LIMIT)
        if added.exit_code == 0:
            found.refused += found.add.difference(_required(added).stdout.split(b"\0"))
            return
        told = _NOT_ADDED.search(added.stderr)
        culprits = {path for path in found.add if told and path.translate(_AS_PRINTED) == told[1]}
        if not culprits:
            _required(added)
        found.add -= culprits
        found.closed += culprits
    raise WorkspaceError(f"{DOING} failed on {RETRIES} files, among them {named(found.closed)}; {KEPT}.")


async def _patch(guest: Guest, changes: dict[bytes, bytes]) -> bytes:
    if not changes:
        return b""
    bound = guest.limits.patch_bytes
    # `git apply` does not see that a renamed link goes away, and refuses what comes in its place.
    lost_link = any(change.startswith(b":120000 ") and b" 120000 " not in change[7:] for change in changes.values())
    made = await guest.script(_DIFF + _PATCH, NO_RENAMES if lost_link else RENAMES, doing=DOING, limit_bytes=bound)
    if not made.truncated:
        return _required(made).stdout
    objects = [change.split(b" ")[column] for change in changes.values() for column in (2, 3)]
    answer = await guest.script(_SIZES, doing=DOING, stdin=b"\n".join(objects) + b"\n", limit_bytes=NAMES_LIMIT)
    sizes = [int(word) if (word := line.split()[-1]).isdigit() else 0 for line in answer.stdout.splitlines()]
    weights = dict(zip(changes, map(max, sizes[0::2], sizes[1::2]), strict=True))
    biggest = sorted(weights, key=weights.__getitem__, reverse=True)[:BIGGEST]
    largest = ", ".join(f"{named([path])} ({size(weights[path])})" for path in biggest)
    raise WorkspaceError(f"The patch is larger than {size(bound)}; the largest files in it are {largest}; {KEPT}.")


def _count(numbers: list[bytes]) -> tuple[int, int, int]:
    """Files, lines in, lines out; a rename's two names stand alone, without a tab after two columns."""
    rows = [row.split(b"\t") for row in numbers if re.match(rb"(\d+|-)\t(\d+|-)\t", row)]
    lines = [[int(word) if word.isdigit() else 0 for word in row[:2]] for row in rows]
    return len(rows), sum(line[0] for line in lines), sum(line[1] for line in lines)


def _not_opened(completed: Completed) -> list[bytes]:
    return [told.rpartition(b"': ")[0] or told for told in _NOT_OPENED.findall(completed.stderr)]


def _joined(paths: set[bytes]) -> bytes:
    return b"".join(path + b"\0" for path in sorted(paths))


def _required(completed: Completed) -> Completed:
    if completed.truncated:
        raise WorkspaceError(f"{DOING} failed, because there are too many names; {KEPT}.")
    if completed.exit_code != 0:
        raise WorkspaceError(f"{DOING} failed: {last_line(completed.stderr)}; {KEPT}.")
    return completed
