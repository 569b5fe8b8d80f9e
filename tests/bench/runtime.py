"""A whole subagent through `Runtime`: from the spawn to a ready session, and from the stop to its confirmed end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
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
    """Where subagents run, and what they are told. `label` is how the figures call the agent."""

    place: Place
    label: str
    launcher: Launcher
    config: Config
    request: SpawnRequest


def scripted(config: Config, python: str) -> Config:
    """Add the scripted agent to a configuration, run by that Python."""
    kind = AgentKind("scripted", (python, "-c", SCRIPT.read_text(encoding="utf-8")))
    return replace(config, catalogue=Catalogue({**config.catalogue.kinds, kind.name: kind}, "bench"))


async def lives(stage: Stage, folder: Path, times: int) -> list[Figure]:
    """Start and stop a subagent `times` times, after a first one that finds out what the later ones know.

    On a busy machine it is fewer times, but at least once: none is begun after `ENOUGH` seconds.
    """
    loop = asyncio.get_running_loop()
    ready: list[float] = []
    stopped: list[float] = []
    async with _opened(stage, folder) as runtime:
        first, _ = await _live(runtime, stage)
        enough = loop.time() + ENOUGH
        while not ready or (len(ready) < times and loop.time() < enough):
            begun, ended = await _live(runtime, stage)
            ready.append(begun)
            stopped.append(ended)
    what = f"{stage.label}: spawn to session ready"
    return [
        Figure(f"{what}, first in a process", "ms", stage.place, (first,)),
        Figure(what, "ms", stage.place, tuple(ready)),
        Figure(f"{stage.label}: stop, with its work exported", "ms", stage.place, tuple(stopped)),
    ]


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
    view = await runtime.wait(PARENT, subagent, seconds=BOUND)
    if view.newest.state != "completed":
        raise BenchError(f"The task in {stage.label} is {view.newest.state}, not completed: {view.newest.cause}.")
    begin = loop.time()
    await runtime.stop(PARENT, subagent, finished=True)
    return ready * 1000, (loop.time() - begin) * 1000


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
