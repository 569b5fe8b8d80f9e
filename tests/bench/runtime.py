"""A whole subagent through `Runtime`: from the spawn to a ready session, and from the stop to its confirmed end."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from acp_runtime.config import Config
from acp_runtime.manager.launcher import Launcher
from acp_runtime.service import Runtime, SpawnRequest
from acp_runtime.session.catalogue import AgentKind, Catalogue
from acp_runtime.views import SubagentView
from tests.bench.channels import SCRIPT
from tests.bench.measure import Figure, Place

PARENT = "bench"
BOUND = 60.0  # seconds, for one step of one subagent
ENOUGH = 30.0


class BenchError(Exception):
    """A subagent did not do what is to be measured."""


@dataclass(frozen=True)
class Stage:
    """Where subagents run, and what they are told. `label` is how the figures call the agent.

    `stubborn` is a task during which it obeys nothing; empty where there is none.
    """

    place: Place
    label: str
    launcher: Launcher
    config: Config
    request: SpawnRequest
    stubborn: str = ""


def scripted(config: Config, python: str) -> Config:
    """Add the scripted agent to a configuration, run by that Python."""
    kind = AgentKind("scripted", (python, "-c", SCRIPT.read_text(encoding="utf-8")))
    return replace(config, catalogue=Catalogue({**config.catalogue.kinds, kind.name: kind}, "bench"))


@dataclass
class Lives:
    """The milliseconds of the lives on one stage; `first` finds out what the later ones know."""

    first: float
    ready: list[float] = field(default_factory=list)
    stopped: list[float] = field(default_factory=list)
    defied: list[float] = field(default_factory=list)


async def lives(stages: Sequence[Stage], folder: Path, times: int) -> list[Figure]:
    """Start and stop a subagent on each stage in turn, a first time and then `times` times.

    On a busy machine it is fewer times, but at least once: none is begun after `ENOUGH` seconds.
    """
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as stack:
        runtimes = [await stack.enter_async_context(_opened(stage, folder)) for stage in stages]
        pairs = list(zip(runtimes, stages, strict=True))
        found = [Lives(first=(await _live(runtime, stage))[0]) for runtime, stage in pairs]
        enough = loop.time() + ENOUGH
        for number in range(times):
            if number and loop.time() > enough:
                break
            for (runtime, stage), taken in zip(pairs, found, strict=True):
                ready, stopped = await _live(runtime, stage)
                taken.ready.append(ready)
                taken.stopped.append(stopped)
                if stage.stubborn:
                    taken.defied.append(await _defied(runtime, stage))
    return [figure for stage, taken in zip(stages, found, strict=True) for figure in _figures(stage, taken)]


def _figures(stage: Stage, taken: Lives) -> list[Figure]:
    what = f"{stage.label}: spawn to session ready"
    figures = [
        Figure(f"{what}, first in a process", "ms", stage.place, (taken.first,)),
        Figure(what, "ms", stage.place, tuple(taken.ready)),
        Figure(f"{stage.label}: stop, with its work exported", "ms", stage.place, tuple(taken.stopped)),
    ]
    defied = Figure(f"{stage.label}: the same while it obeys nothing", "ms", stage.place, tuple(taken.defied))
    return [*figures, defied] if taken.defied else figures


@asynccontextmanager
async def _opened(stage: Stage, folder: Path) -> AsyncIterator[Runtime]:
    name = f"{stage.place}-{stage.label}"
    opened = Runtime.open(folder / name / "store.db", launcher=stage.launcher, config=stage.config)
    async with opened as runtime:
        yield runtime


async def _live(runtime: Runtime, stage: Stage) -> tuple[float, float]:
    """Return the milliseconds of one start and one stop."""
    loop = asyncio.get_running_loop()
    begin = loop.time()
    subagent = (await runtime.spawn(PARENT, stage.request)).id
    await _ready(runtime, subagent)
    ready = loop.time() - begin
    view = (await runtime.wait(PARENT, [subagent], seconds=BOUND)).views[0]
    if view.newest.state != "completed":
        raise BenchError(f"The task in {stage.label} is {view.newest.state}, not completed: {view.newest.cause}.")
    begin = loop.time()
    await runtime.stop(PARENT, subagent, finished=True)
    return ready * 1000, (loop.time() - begin) * 1000


async def _defied(runtime: Runtime, stage: Stage) -> float:
    """Return the milliseconds of one stop of an agent that answers no cancel."""
    loop = asyncio.get_running_loop()
    subagent = (await runtime.spawn(PARENT, replace(stage.request, task=stage.stubborn))).id
    await _ready(runtime, subagent)
    begin = loop.time()
    await runtime.stop(PARENT, subagent, finished=True)
    return (loop.time() - begin) * 1000


async def _ready(runtime: Runtime, subagent: str) -> SubagentView:
    async with asyncio.timeout(BOUND):
        while True:
            tick = runtime.tick
            view = await runtime.status(PARENT, subagent)
            if view.session_id is not None:
                return view
            if view.status.over:
                raise BenchError(f"The start failed: {view.cause}.")
            await runtime.changed(tick)
