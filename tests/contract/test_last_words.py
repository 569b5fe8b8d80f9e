"""What an agent had finished is told though it is stopped before anybody heard of it again."""

import os
from collections.abc import Callable

import pytest

from acp_runtime.clock import ManualClock
from acp_runtime.core.model import TaskState
from acp_runtime.core.status import Status
from acp_runtime.manager.docker_launcher import DockerLauncher
from acp_runtime.service import Runtime
from acp_runtime.views import SubagentView
from tests.contract.conftest import BOTH_WAYS, EXEC_IN_LONG, PARENT, Place, label
from tests.contract.test_adoption import ANSWERED, inside, killed, said

pytestmark = [pytest.mark.docker, pytest.mark.requirement("D08.5")]

TASK = "[[say:one]][[wait:go]][[say:two]]"
SAID_LATE = "until grep -q late /journal/1/o-*; do sleep 0.05; done"
LOST_GRACE_MS = 300_000
OUT_OF_REACH = "for each in /run/holder.sock /run/holder/holder.sock; do mv $each $each.aside; done"


async def finished(place: Place) -> str:
    """Leave an agent whose task ended while no manager was there."""
    subagent = await killed(place, TASK, "one")
    inside(place, "touch go")
    inside(place, ANSWERED, user="0")
    return subagent


def endpoint_of_its_own(place: Place) -> Callable[[], None]:
    """Give the managers to come an engine that is away; return what brings it back."""
    host = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    if not host.startswith("unix://"):
        pytest.skip("the engine is not on a unix socket")
    endpoint = place.root / "engine.sock"
    environ = {**os.environ, "DOCKER_HOST": f"unix://{endpoint}"}
    place.make_launcher = lambda: DockerLauncher(place.config, environ, labels=label(place.root))
    return lambda: endpoint.symlink_to(host.removeprefix("unix://"))


async def given_up(place: Place, runtime: Runtime, subagent: str) -> None:
    """Let the time run out in which the agent may be out of reach."""
    await place.until(runtime, subagent, lambda each: each.status is Status.LOST)
    assert place.clock is not None
    place.clock.advance(LOST_GRACE_MS)
    await place.until(runtime, subagent, lambda each: each.status is Status.ERROR)


async def over(place: Place, runtime: Runtime, subagent: str) -> SubagentView:
    return await place.until(runtime, subagent, lambda each: each.newest.state.over)


@BOTH_WAYS
async def test_what_was_finished_is_told_when_the_engine_comes_back_too_late(place: Place) -> None:
    subagent = await finished(place)
    bring_back = endpoint_of_its_own(place)
    place.clock = ManualClock()
    async with place.runtime() as runtime:
        await given_up(place, runtime, subagent)
        bring_back()
        view = await over(place, runtime, subagent)
        assert (view.newest.state, view.newest.result) == (TaskState.COMPLETED, "onetwo"), view.newest.cause
        async with runtime.turn(PARENT) as turn:
            assert "onetwo" in turn.text
            assert "was given up" in turn.text


@EXEC_IN_LONG
@pytest.mark.parametrize("by", ["parent", "manager"])
async def test_what_was_finished_is_told_when_it_is_stopped_before_it_is_in_reach(place: Place, by: str) -> None:
    subagent = await finished(place)
    async with place.runtime() as runtime:
        if by == "parent":
            await runtime.stop(PARENT, subagent)
    async with place.runtime() as runtime:
        view = await runtime.status(PARENT, subagent)
        assert (view.newest.state, view.newest.result) == (TaskState.COMPLETED, "onetwo"), view.newest.cause
        assert view.confirmed
        async with runtime.turn(PARENT) as turn:
            assert "onetwo" in turn.text


@EXEC_IN_LONG
async def test_what_an_idle_agent_said_is_heard_when_it_is_stopped_before_it_is_in_reach(place: Place) -> None:
    subagent = await killed(place, "[[say:one]][[late:late|go]]", ".")
    inside(place, "touch go")
    inside(place, SAID_LATE, user="0")
    inside(place, OUT_OF_REACH, user="0")
    async with place.runtime() as runtime:
        await runtime.stop(PARENT, subagent)
        await place.until(runtime, subagent, lambda each: each.status is Status.STOPPED)
    async with place.runtime() as runtime:
        assert await said(runtime, subagent) == "onelate"
        assert (await runtime.status(PARENT, subagent)).confirmed


@EXEC_IN_LONG
@pytest.mark.parametrize("done", [True, False])
async def test_an_agent_that_lives_and_is_never_in_reach_is_heard_out_when_it_is_given_up(
    place: Place, done: bool
) -> None:
    subagent = await (finished(place) if done else killed(place, TASK, "one"))
    inside(place, OUT_OF_REACH, user="0")
    place.clock = ManualClock()
    async with place.runtime() as runtime:
        await given_up(place, runtime, subagent)
        view = await over(place, runtime, subagent)
        if done:
            assert (view.newest.state, view.newest.result) == (TaskState.COMPLETED, "onetwo"), view.newest.cause
        else:
            assert (view.newest.state, view.newest.result) == (TaskState.INTERRUPTED, "one")
            assert "the outcome is unknown" in view.newest.cause
