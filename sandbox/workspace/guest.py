"""The inside of a workspace sandbox: two volumes, `base` which the agent never sees and `work` which is the agent's.

`base` holds a bare repository with the snapshot; all that is needed to take the work out again lies there, so a later
manager can do it. `work` gets a clone of its own: history, one branch, no remote, no borrowed objects.

Promise: what happens here is decided by `base` and by these commands. Git runs hardened, on the repository in `base`;
the agent's clone is written once and after that only looked at as a folder of files.
"""

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sandbox.errors import CommandTimeout, WorkspaceError
from sandbox.workspace.hardened import RAW_ATTRIBUTES, hardened_environment
from sandbox.workspace.importing import CHUNK
from sandbox.workspace.limits import WorkspaceLimits
from sandbox.workspace.snapshot import Snapshot
from sandbox.workspace.text import last_line
from sandbox.workspace.threads import pieces

__all__ = ["Completed", "Guest", "Runner", "bring_in"]

LITTLE = 65_536


class Completed(Protocol):
    """How a command ended; without an exit code when its sandbox went away under it."""

    @property
    def exit_code(self) -> int | None: ...
    @property
    def stdout(self) -> bytes: ...
    @property
    def stderr(self) -> bytes: ...
    @property
    def truncated(self) -> bool: ...


class Runner(Protocol):
    """Runs a command where the volumes are; raises CommandTimeout when it takes longer than `timeout` seconds."""

    async def run(
        self,
        argv: Sequence[str],
        *,
        cwd: str,
        env: Mapping[str, str],
        stdin: bytes | AsyncIterator[bytes] | None,
        limit_bytes: int,
        timeout: float,  # noqa: ASYNC109 - the runner enforces it, also inside of a container
    ) -> Completed: ...


@dataclass(frozen=True)
class Guest:
    """Where the two volumes are mounted, as the runner's commands see them."""

    runner: Runner
    limits: WorkspaceLimits
    base: str = "/base"
    work: str = "/workspace"

    async def script(
        self,
        text: str,
        *arguments: str,
        doing: str,
        cwd: str | None = None,
        stdin: bytes | AsyncIterator[bytes] | None = None,
        limit_bytes: int = LITTLE,
    ) -> Completed:
        """Run shell text; it finds the repository in `$repo`, the clone in `$work` and `arguments` in `$1` on.

        The text is always one of our constants: what others chose goes in as an argument or as input. Raises
        WorkspaceError with `doing` in its sentence when it takes too long; a status other than 0 is the caller's.
        """
        env = {**hardened_environment(), "repo": f"{self.base}/repo.git", "work": self.work}
        try:
            return await self.runner.run(
                ["sh", "-euc", text, "sh", *arguments],
                cwd=cwd or self.base,
                env=env,
                stdin=stdin,
                limit_bytes=limit_bytes,
                timeout=self.limits.seconds,
            )
        except CommandTimeout as error:
            bound = f"{self.limits.seconds:g} s"
            raise WorkspaceError(f"{doing} had not ended after {bound}; raise the limit of seconds.") from error


_UNPACK = """
umask 022
git init --quiet --bare --template= --object-format="$1" "$repo"
git --git-dir="$repo" index-pack --stdin
"""

_CHECK_OUT = """
umask 022
commit=$1 branch=$2 format=$3 prefix=$4 attributes=$5
mkdir -p "$repo/info"
cat > "$repo/info/exclude"
printf '%s' "$attributes" > "$repo/info/attributes"
git --git-dir="$repo" config workspace.prefix "$prefix"
git --git-dir="$repo" update-ref refs/heads/base "$commit"
git init --quiet --template= --object-format="$format" "$work"
mkdir -p "$work/.git/info"
cp "$repo/info/exclude" "$repo/info/attributes" "$work/.git/info/"
cp -R "$repo/objects/." "$work/.git/objects/"
cd "$work"
export GIT_DIR="$work/.git" GIT_WORK_TREE="$work"
git config user.name agent
git config user.email agent@localhost
git symbolic-ref HEAD "refs/heads/$branch"
git update-ref "refs/heads/$branch" "$commit"
git read-tree -m -u HEAD
git rev-parse "HEAD^{tree}"
"""


async def bring_in(guest: Guest, snapshot: Snapshot) -> None:
    """Unpack a snapshot into two empty volumes: the repository in `base`, a clone with its files in `work`.

    Raises WorkspaceError when the sandbox's git refuses it, or something else comes out than was taken in.
    """
    doing = f"Bringing {snapshot.files} files into the sandbox"
    async with contextlib.aclosing(_read(snapshot.pack)) as pack:
        _require(await guest.script(_UNPACK, snapshot.object_format, doing=doing, stdin=pack), doing)
    checked_out = await guest.script(
        _CHECK_OUT,
        snapshot.base_commit,
        snapshot.branch,
        snapshot.object_format,
        snapshot.prefix,
        RAW_ATTRIBUTES.decode(),
        doing=doing,
        stdin=snapshot.exclude,
    )
    _require(checked_out, doing)
    if checked_out.stdout.decode().strip() != snapshot.base_tree:
        raise WorkspaceError(f"{doing} gave other content than was taken; the sandbox's volumes must be empty before.")


def _require(completed: Completed, doing: str) -> None:
    if completed.exit_code != 0:
        raise WorkspaceError(f"{doing} failed: {last_line(completed.stderr)}; is there room on the engine's disk?")


def _read(path: Path) -> AsyncGenerator[bytes, None]:
    def blocks() -> Generator[bytes, None, None]:
        with path.open("rb") as file:
            while block := file.read(CHUNK):
                yield block

    return pieces(blocks())
