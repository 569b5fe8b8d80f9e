"""A parent with its tools, over a manager whose agents are processes in a folder."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from acp_runtime.clock import SystemClock
from acp_runtime.core.status import Status
from acp_runtime.service import Runtime
from acp_runtime.session.catalogue import AgentKind
from acp_runtime.tools import TOOLSETS, Defaults, Desk, Toolbox
from acp_runtime.views import SubagentView, WaitReason
from tests.integration.manager.conftest import BOUND, PARENT, SCRIPT, Ground, until

STRANGER = "stranger"


@dataclass
class Bench:
    """One parent at work: its runtime, its tools, and where it stands."""

    ground: Ground
    runtime: Runtime
    parent: str = PARENT
    changes: dict[str, Any] = field(default_factory=dict)

    @property
    def desk(self) -> Desk:
        defaults = Defaults(agent="scripted")
        return replace(Desk(self.runtime, self.parent, self.ground.folder, defaults), **self.changes)

    @property
    def tools(self) -> Toolbox:
        return Toolbox(self.desk, tuple(TOOLSETS))

    def another(self, parent: str) -> "Bench":
        return replace(self, parent=parent)

    async def call(self, name: str, **arguments: Any) -> dict[str, Any]:
        async with asyncio.timeout(BOUND):
            return await self.tools.call(name, arguments)

    async def spawn(self, task: str, **more: Any) -> dict[str, Any]:
        given = {"purpose": "a test", "initial_task": task, "cwd": "/workspace", **more}
        return await self.call("spawn_background_subagent", **given)

    async def done(self, ident: str) -> dict[str, Any]:
        """Wait for the end of its tasks and return its status."""
        waited = await self.call("wait_background_subagents", ids=[ident], mode="all")
        assert waited["reason"] == "ended", waited
        return await self.call("get_background_subagent_status", id=ident)

    async def until(self, ident: str, met: Callable[[SubagentView], bool]) -> SubagentView:
        return await until(self.runtime, ident, met)

    def file(self, name: str) -> Path:
        return self.ground.folder / name

    def say_go(self, name: str = "go") -> None:
        self.file(name).touch()


async def working(bench: Bench, file: str = "go", **more: Any) -> dict[str, Any]:
    """Spawn one that works until `say_go(file)`."""
    told = await bench.spawn(f"[[wait:{bench.file(file)}]][[say:{file} done]]", **more)
    await bench.until(told["id"], lambda view: view.status is Status.RUNNING and view.current_task is not None)
    return told


def refused(answer: dict[str, Any], kind: str) -> str:
    """Return the sentence of a refusal of this kind."""
    assert (answer["success"], answer["kind"]) == (False, kind), answer
    return str(answer["error"])


async def done(bench: Bench, task: str, **more: Any) -> SubagentView:
    view = await bench.runtime.spawn(PARENT, bench.ground.request(task, **more))
    waited = await bench.runtime.wait(PARENT, [view.id], seconds=BOUND)
    assert waited.reason is WaitReason.ENDED
    return waited.views[0]


@pytest.fixture
async def bench(ground: Ground) -> AsyncIterator[Bench]:
    ground.clock = SystemClock()
    async with ground.runtime() as runtime:
        yield Bench(ground, runtime)


@pytest.fixture
def runtime(bench: Bench) -> Runtime:
    return bench.runtime


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return Ground(tmp_path, kinds={"scripted": AgentKind("scripted", (sys.executable, str(SCRIPT)))})
