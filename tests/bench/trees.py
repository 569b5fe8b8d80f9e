"""What the end of a tree costs: one stop, of agents that obey, from the leaves up."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Final

from acp_runtime.callers import Leader
from acp_runtime.core.admission import Admission
from acp_runtime.core.lineage import Orchestration
from acp_runtime.core.status import Status
from acp_runtime.service import Runtime
from tests.bench.measure import Figure
from tests.bench.runtime import BOUND, PARENT, Stage

AGENTS: Final = 10
HANGING: Final = "[[hang-politely]]"


async def trees(stage: Stage, folder: Path, *, times: int) -> list[Figure]:
    """Stop one that leads two that lead the others, all at work."""
    many = Admission(per_parent=AGENTS, total=4 * AGENTS)
    deep = Orchestration(max_spawn_depth=3, max_concurrent_children=AGENTS)
    config = replace(stage.config, admission=many, orchestration=deep)
    async with Runtime.open(folder / "trees" / "store.db", launcher=stage.launcher, config=config) as runtime:
        taken = tuple([await _cascade(runtime, stage) for _ in range(times)])
    return [Figure(f"stop of a tree of {AGENTS} obeying agents", "ms", "local", taken)]


async def _cascade(runtime: Runtime, stage: Stage) -> float:
    leads = replace(stage.request, task=HANGING, role="orchestrator")
    top = await runtime.spawn(PARENT, leads)
    middle = [await runtime.spawn(Leader(top.id), leads) for _ in range(2)]
    for number in range(AGENTS - 3):
        await runtime.spawn(Leader(middle[number % 2].id), replace(stage.request, task=HANGING))
    async with asyncio.timeout(BOUND):
        tick = runtime.tick
        while any(view.status is not Status.RUNNING for view in await runtime.tree(PARENT)):
            await runtime.changed(tick)
            tick = runtime.tick
    begin = asyncio.get_running_loop().time()
    await runtime.stop(PARENT, top.id, finished=True)
    return (asyncio.get_running_loop().time() - begin) * 1000
