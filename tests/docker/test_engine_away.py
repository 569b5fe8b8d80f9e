"""The engine ends and its containers go on: over a shared socket nobody notices, over an exec it is made up for."""

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from acp_runtime.clock import ManualClock
from acp_runtime.core.model import Limits, TaskState
from acp_runtime.core.status import Status
from acp_runtime.manager.docker_launcher import DockerLauncher
from acp_runtime.service import Runtime
from sandbox.spec import LABEL
from tests import engine
from tests.contract.conftest import PARENT, Place, config_for, label, make_repo, mark
from tests.docker.closure import closure_image
from tests.faults.storm.own_engine import OwnEngine, own_engine

pytestmark = [
    pytest.mark.docker,
    pytest.mark.requirement("D08.12"),
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),  # docker-py's, that an engine refused
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: an engine of its own"),
]

TASK = "[[updates:400]][[say:one]][[wait:go]][[updates:400]][[say:two]]"
GRACE_MS = round(Limits().loss_told * 1000)
NUMBERS = "".join(f"{number}\n" for number in range(400))


@pytest.fixture
def own() -> Iterator[OwnEngine]:
    with own_engine(closure_image(), live_restore=True) as started:
        yield started


def make_place(root: Path, sockets: str) -> Place:
    make_repo(root / "repo")
    config = replace(config_for(root, closure_image()), sockets=sockets)
    place = Place("own", root, config, lambda: DockerLauncher(config, os.environ, labels=label(root)), "python3")
    place.kind("scripted")
    return place


def let_go(container: str) -> None:
    """Make the file that the agent waits for, without the engine: as a process of the container sees its files."""
    for each in Path("/proc").glob("[0-9]*/cgroup"):
        with suppress(OSError):  # it has ended meanwhile
            if container in each.read_text():
                (each.parent / "root/workspace/go").touch()
                return
    raise AssertionError("nobody runs in the container")


async def reached_one(place: Place, runtime: Runtime) -> tuple[str, str]:
    """Spawn, and return the ids of subagent and container once the agent waits."""
    view = await runtime.spawn(PARENT, place.request(TASK))
    await place.until(runtime, view.id, lambda each: each.newest.result.endswith("one"))
    (container,) = await asyncio.to_thread(engine.containers, f"{LABEL}test={mark(place.root)}")
    return view.id, container


async def said(runtime: Runtime, subagent: str) -> str:
    rows = (await runtime.transcript(PARENT, subagent)).entries
    return "".join(row.text for row in rows if row.kind == "agent_message_chunk")


async def told(runtime: Runtime) -> str:
    """Return what is told now, and acknowledge it."""
    async with runtime.turn(PARENT) as turn:
        assert len(turn.nudges) <= 1, turn.text
        return turn.text if turn.nudges else ""


async def told_next(place: Place, runtime: Runtime) -> str:
    async with asyncio.timeout(place.bound):
        while True:
            tick = runtime.tick
            if words := await told(runtime):
                return words
            await runtime.changed(tick)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_over_a_shared_socket_a_task_ends_and_is_told_while_no_engine_answers(
    own: OwnEngine, tmp_path_factory: pytest.TempPathFactory, number: signal.Signals
) -> None:
    place = make_place(tmp_path_factory.mktemp("p"), "auto")
    async with place.runtime() as runtime:
        subagent, container = await reached_one(place, runtime)
        await asyncio.to_thread(own.end, number)
        let_go(container)
        view = await place.ended(runtime, subagent)
        assert (view.newest.state, view.attempt) == (TaskState.COMPLETED, 1), view.newest.cause
        assert await said(runtime, subagent) == f"{NUMBERS}one{NUMBERS}two"
        assert " completed. " in await told(runtime)
        await runtime.send(PARENT, subagent, "[[say:three]]")
        view = await place.ended(runtime, subagent)
        assert view.newest.result == "three", "a next task needs no engine either"
        await asyncio.to_thread(own.start)
        await runtime.stop(PARENT, subagent, finished=True)
        assert await runtime.work(PARENT, subagent) is not None


async def test_over_an_exec_a_task_goes_on_and_nothing_of_it_is_lost_or_told_before_its_end(
    own: OwnEngine, tmp_path_factory: pytest.TempPathFactory
) -> None:
    place = make_place(tmp_path_factory.mktemp("p"), "exec")
    async with place.runtime() as runtime:
        subagent, container = await reached_one(place, runtime)
        await asyncio.to_thread(own.end, signal.SIGKILL)
        await place.until(runtime, subagent, lambda each: each.status is Status.LOST)
        let_go(container)
        assert await told(runtime) == ""
        await asyncio.to_thread(own.start)
        view = await place.ended(runtime, subagent)
        assert (view.newest.state, view.attempt) == (TaskState.COMPLETED, 1), view.newest.cause
        assert await said(runtime, subagent) == f"{NUMBERS}one{NUMBERS}two"
        assert " completed. " in await told(runtime)
        await runtime.stop(PARENT, subagent, finished=True)


async def test_a_loss_is_told_when_it_outlasts_its_grace_and_so_is_the_return(
    own: OwnEngine, tmp_path_factory: pytest.TempPathFactory
) -> None:
    place = make_place(tmp_path_factory.mktemp("p"), "exec")
    place.clock = clock = ManualClock()
    async with place.runtime() as runtime:
        subagent, container = await reached_one(place, runtime)
        await asyncio.to_thread(own.end, signal.SIGKILL)
        await place.until(runtime, subagent, lambda each: each.status is Status.LOST)
        clock.advance(GRACE_MS - 1)
        assert await told(runtime) == ""
        clock.advance(1)
        assert " is out of reach" in await told_next(place, runtime)
        await asyncio.to_thread(own.start)
        assert " recovered" in await told_next(place, runtime)
        await asyncio.to_thread(let_go, container)
        assert " completed. " in await told_next(place, runtime)
        view = await runtime.status(PARENT, subagent)
        assert (view.newest.state, view.attempt) == (TaskState.COMPLETED, 1), view.newest.cause
        await runtime.stop(PARENT, subagent, finished=True)
