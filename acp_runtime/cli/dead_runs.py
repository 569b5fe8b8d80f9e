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
from acp_runtime.service import Runtime

BOUND_SECONDS: Final = 60.0


async def take_up_dead_runs(
    config: Config, launcher: Callable[[], Launcher], *, parent: str, say: Callable[[str], None]
) -> None:
    """Take up every dead run of this user; one that cannot be ended now, or whose work stays inside, is left."""
    for folder in sorted((config.state_dir / "runs").glob("run-*")):
        if (folder / "store.db").exists():
            with contextlib.suppress(StoreError, TimeoutError):
                await _take_up(folder, config, launcher(), parent, say)


async def _take_up(folder: Path, config: Config, launcher: Launcher, parent: str, say: Callable[[str], None]) -> None:
    async with Runtime.open(folder / "store.db", launcher=launcher, config=config) as runtime:
        left = [view.id for view in await runtime.list_subagents(parent)]
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
        path = config.state_dir / "patches" / f"{view.name}-{view.id}.patch"
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.write_bytes(work.patch)
        say(f"what the killed run had done is in {path}")
    return view.confirmed and (work is not None or view.session_id is None)
