"""An agent that died while no manager was there: its journal tells why, and what it was never given."""

import asyncio
import os

import pytest

from acp_runtime.clock import SystemClock
from acp_runtime.core.decide import decide
from acp_runtime.core.events import Event
from acp_runtime.core.inputs import Input, PromptAnswered, PromptLaid, Send
from acp_runtime.core.model import TaskState
from acp_runtime.store.store import Store
from sandbox.engine import Engine
from sandbox.judgement import Standing
from sandbox.ownership import Owner
from sandbox.reaper import Reaper
from tests import engine
from tests.contract.conftest import PARENT, Place, mark
from tests.contract.test_adoption import ANSWERED, container, inside, killed
from tests.histories import fold

pytestmark = [
    pytest.mark.docker,
    pytest.mark.parametrize("place", ["docker"], indirect=True),
    pytest.mark.requirement("D08.5"),
]

ACCEPTED = "import struct; print(struct.unpack_from('>Q', open('/journal/1/state', 'rb').read(), 8 + 4 * 8)[0])"
SECOND = "[[say:second]]"


async def test_an_agent_that_ended_because_no_manager_came_is_told_as_that(place: Place) -> None:
    subagent = await killed(place, "[[say:one]][[hang]]", "one", ttl=2.0)
    with engine.client() as client:
        await asyncio.to_thread(client.api.wait, container(place), timeout=place.bound)
    async with place.runtime() as runtime:
        view = await place.ended(runtime, subagent)
        assert (view.newest.state, view.newest.result) == (TaskState.INTERRUPTED, "one")
        assert "no manager came" in view.newest.cause


async def reaped_by_another(place: Place) -> None:
    """Have the reaper of another store look over the engine."""

    async def log(_subagents: frozenset[str]) -> dict[str, Standing]:
        return {}

    connected = await Engine.connect(os.environ)
    try:
        await Reaper(engine=connected, owner=Owner.of_this_process(mark(place.root), 1), log=log).run()
    finally:
        await connected.close()


@pytest.mark.parametrize("reaped", [True, pytest.param(False, marks=pytest.mark.long)])
async def test_what_was_finished_is_told_though_the_holder_was_killed_and_another_store_reaped_its_container(
    place: Place, reaped: bool
) -> None:
    subagent = await killed(place, "[[say:one]][[wait:go]][[say:two]]", "one")
    inside(place, "touch go")
    inside(place, ANSWERED, user="0")
    inside(place, "pkill -KILL holder", user="0")
    if reaped:
        await reaped_by_another(place)
    assert len(engine.containers(f"io.acp-subagents.test={mark(place.root)}")) == (not reaped)
    async with place.runtime() as runtime:
        view = await place.ended(runtime, subagent)
        assert (view.newest.state, view.newest.result) == (TaskState.COMPLETED, "onetwo"), view.newest.cause


async def recorded(place: Place, subagent: str, *inputs: Input) -> None:
    """Have the log of a manager that was killed hold more than it came to."""
    clock = SystemClock()
    async with Store.open(place.root / "store" / "store.db", clock) as store:
        left = await store.load(subagent)
        assert left is not None
        state, log = left.state, list[Event]()
        for given in inputs:
            events, _ = decide(state, given, clock.now())
            state, log = fold(state, events), [*log, *events]
        await store.commit(subagent, left.state, left.version, log)


async def test_a_prompt_that_was_laid_out_and_never_written_is_given_to_the_next_agent(place: Place) -> None:
    """The manager was killed, and the agent with it, between the log's word of the prompt and its writing."""
    subagent = await killed(place, "[[say:one]]", "one")
    inside(place, ANSWERED, user="0")
    accepted = int(engine.execute(container(place), "python3", "-c", ACCEPTED, user="0"))
    answered, laid = PromptAnswered(1, f"{subagent}.t1", "end_turn", 0), PromptLaid(1, f"{subagent}.t2", 999, accepted)
    await recorded(place, subagent, answered, Send(SECOND), laid)
    engine.kill(container(place))
    async with place.runtime() as runtime:
        view = await place.until(runtime, subagent, lambda each: bool(each.requests) or each.newest.state.over)
        assert view.newest.state is TaskState.QUEUED, view.newest.cause
        await runtime.answer(PARENT, subagent, view.requests[0].id, "continue")
        view = await place.ended(runtime, subagent)
        assert (view.newest.state, view.newest.result, view.attempt) == (TaskState.COMPLETED, "second", 2)
