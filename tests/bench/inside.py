"""What a tool's call costs an agent: to the manager and back, out of a process and out of a container."""

import json
from dataclasses import replace
from pathlib import Path

from acp_runtime.core.lineage import Orchestration
from acp_runtime.service import Runtime
from acp_runtime.session.catalogue import AgentKind, Catalogue
from tests.agents.one_file import tooled_agent
from tests.bench.mcp import TOOL
from tests.bench.measure import Figure
from tests.bench.runtime import BOUND, PARENT, BenchError, Stage

SPAWN = {"purpose": "idle", "initial_task": "ready", "cwd": "/workspace"}
WAIT = {"mode": "all"}


async def calls_from_inside(stages: list[Stage], folder: Path, *, count: int) -> list[Figure]:
    """Record the calls of an orchestrator with one idle subagent on each stage."""
    return [await _calls(stage, folder / f"inside-{stage.place}" / "store.db", count) for stage in stages]


async def _calls(stage: Stage, store: Path, count: int) -> Figure:
    spawn, wait = json.dumps(SPAWN), json.dumps(WAIT)
    task = f"[[tool:spawn_background_subagent|{spawn}]][[tool:wait_background_subagents|{wait}]]"
    kinds = stage.config.catalogue.kinds
    tooled = AgentKind("tooled", tooled_agent(kinds["scripted"].argv[0]))
    catalogue = Catalogue({**kinds, tooled.name: tooled}, "bench")
    config = replace(stage.config, catalogue=catalogue, orchestration=Orchestration(max_spawn_depth=2))
    async with Runtime.open(store, launcher=stage.launcher, config=config) as runtime:
        request = replace(stage.request, agent=tooled.name, task=task, role="orchestrator")
        subagent = (await runtime.spawn(PARENT, request)).id
        await runtime.wait(PARENT, [subagent], seconds=BOUND)
        await runtime.send(PARENT, subagent, f"[[calls:{count + 1}|{TOOL}]]")
        view = (await runtime.wait(PARENT, [subagent], seconds=BOUND)).views[0]
        if view.newest.state != "completed":
            raise BenchError(f"The calls from inside are {view.newest.state}, not completed: {view.newest.cause}.")
        taken = json.loads(view.newest.result)[1:]  # the first one tells what it has not seen
        return Figure("a tool's call, by an agent", "ms", stage.place, tuple(taken))
