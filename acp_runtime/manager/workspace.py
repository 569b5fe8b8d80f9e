"""A folder of the host on its way into a sandbox and back, in the runtime's words. Used by both launchers."""

import asyncio
import logging
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from acp_runtime.manager.launcher import LaunchError, LaunchRequest, Work
from acp_runtime.manager.work import write_work
from sandbox.claimed import claimed
from sandbox.errors import SandboxError
from sandbox.workspace import Guest, Snapshot, take_out, take_snapshot

log = logging.getLogger(__name__)

SCRATCH: Final = "scratch"  # the folder of the cache for workspaces on their way in, each in one with the prefix
SCRATCH_PREFIX: Final = "snapshot-"


@asynccontextmanager
async def snapshot(request: LaunchRequest, scratch: Path, environ: Mapping[str, str]) -> AsyncIterator[Snapshot]:
    """Take the order's folder in; its pack is gone after the block. What is left out is told to `progress`.

    Raises the `WorkspaceError`s of `take_snapshot`.
    """
    with claimed(scratch, SCRATCH_PREFIX) as held:
        folder = Path(request.order.workspace)
        taken = await take_snapshot(folder, held, environ=environ, tell=request.progress)
        try:
            for notice in taken.notices:
                request.progress(notice)
            yield taken
        finally:
            await asyncio.to_thread(shutil.rmtree, taken.pack.parent, ignore_errors=True)


async def measure(guest: Guest) -> int:
    """Return how many files differ from what was brought in. Raises `WorkspaceError`."""
    return (await take_out(guest)).files


async def export(guest: Guest, request: LaunchRequest) -> bool:
    """Write the work to the request's folder. Return False, having told why, when it cannot be taken out."""
    try:
        found = await take_out(guest)
    except SandboxError as error:
        tell_kept(request, str(error))
        return False
    work = Work(
        patch=found.patch,
        files=found.files,
        insertions=found.insertions,
        deletions=found.deletions,
        diffstat=found.diffstat,
        notices=found.notices,
    )
    try:
        await asyncio.to_thread(write_work, request.keep, request.subagent, work)
    except OSError as error:
        tell_kept(request, f"{request.keep} cannot be written: {error.strerror or error}")
        return False
    return True


def tell_kept(request: LaunchRequest, why: str) -> None:
    """Say that work stays where it is because it could not be taken out."""
    log.warning("the work of %s could not be taken out and is kept: %s", request.subagent, why)
    request.progress(f"the work of {request.subagent} could not be taken out and is kept where it is: {why}")


def missing_folder(request: LaunchRequest) -> LaunchError:
    sentence = f"the folder {request.order.cwd!r} is not in the workspace; name one that is there, or leave cwd out"
    return LaunchError("cwd_missing", sentence)


def nothing_kept(request: LaunchRequest) -> LaunchError:
    sentence = f"what {request.subagent} had stored is not there any more, so it cannot go on; spawn a new one"
    return LaunchError("nothing_kept", sentence)
