"""Runs whose process was killed: their work is saved, and what they left on the engine and on disk is removed.

A run's folder whose store nobody owns is a dead run's. The agent that was left is stopped: nobody waits for it.
"""

import asyncio
import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

from acp_runtime.config import Config
from acp_runtime.core.errors import StoreError
from acp_runtime.manager.launcher import Launcher
from acp_runtime.manager.work import keep_patch
from acp_runtime.service import Runtime

BOUND_SECONDS: Final = 60.0


async def take_up_dead_runs(
    config: Config, launcher: Callable[[], Launcher], *, parent: str, say: Callable[[str], None]
) -> None:
    """Take up every dead run of this user; one that cannot be ended or saved now is left, with its work."""
    for folder in sorted((config.state_dir / "runs").glob("run-*")):
        if (folder / "store.db").exists():
            with contextlib.suppress(StoreError, OSError):
                await _take_up(folder, config, launcher(), parent, say)


async def _take_up(folder: Path, config: Config, launcher: Launcher, parent: str, say: Callable[[str], None]) -> None:
    async with Runtime.open(folder / "store.db", launcher=launcher, config=config) as runtime:
        # Those that are being stopped too, and those that ended: not all of it may have been done.
        known = await runtime.list_subagents(parent, ended=True)
        left = [view.id for view in known if view.exported]
        if left:
            say("an earlier run was killed: saving its work and removing its container")
        saved = [await _saved(runtime, parent, subagent, config, say) for subagent in left]
    if left and all(saved):
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


async def _saved(runtime: Runtime, parent: str, subagent: str, config: Config, say: Callable[[str], None]) -> bool:
    async with asyncio.timeout(BOUND_SECONDS):
        view = await runtime.stop(parent, subagent, reason="the run was killed")
    work = await runtime.work(parent, subagent)
    if work is not None and work.patch:
        path = keep_patch(config.state_dir, view.name, view.id, work.patch)
        say(f"what the killed run had done is in {path}")
    if not view.exported:
        say(f"its work could not be taken out; it is in the volumes with the label io.acp-subagents.subagent={view.id}")
    return view.confirmed and view.exported and (work is not None or view.session_id is None)
