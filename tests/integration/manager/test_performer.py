"""The hands of an actor: what is cancelled or changed while they are in the middle of it."""

import asyncio
import time
from collections.abc import Callable

import pytest

from acp_runtime.callers import OPERATOR
from acp_runtime.clock import SystemClock
from acp_runtime.core.confinement import Confinement, Egress
from acp_runtime.core.effects import Inspect, Prompt
from acp_runtime.core.errors import StoreOwned
from acp_runtime.core.events import TaskEnded
from acp_runtime.core.inputs import AnswerRequest, CancelTask, ChannelClosed, LoginExpired, Send
from acp_runtime.core.logins import AGAIN
from acp_runtime.core.model import Limits, TaskState
from acp_runtime.core.status import Status
from acp_runtime.manager.actor import Actor
from acp_runtime.manager.launcher import LaunchRequest
from acp_runtime.manager.performer import Performer
from acp_runtime.presets import Network, Preset
from acp_runtime.store.store import Store
from tests.integration.manager.conftest import BOUND, PARENT, BareAgent, Ground, until, write_lock
from tests.integration.manager.test_actor import Stage
from tests.integration.manager.test_take_up import ID, READY, KeptInput, left_behind


class Watched(KeptInput):
    """Tells when it was closed, or a prompt was written to it."""

    def __init__(self, accepted: int) -> None:
        super().__init__(accepted)
        self.over = self.prompted

    async def close(self) -> None:
        self.over.set()


def web(*rules: str) -> Preset:
    return Preset("web", "", Confinement(), Network.EGRESS, egress=Egress(rules))


@pytest.mark.parametrize("back", [True, False], ids=["gateway-is-back", "gateway-stays-away"])
async def test_a_task_that_is_cancelled_before_its_agent_has_it_is_not_given_to_it(ground: Ground, back: bool) -> None:
    """It waits for its gateway; a cancel that overtakes it would not end it, and cost the agent its life."""
    ground.clock, ground.presets, ground.permits = SystemClock(), (web("example.org"),), asyncio.Event()
    async with ground.runtime() as runtime:
        view = await runtime.spawn(PARENT, ground.request("[[write:given|x]][[hang]]", preset="web"))
        async with asyncio.timeout(BOUND):
            await ground.permitting.wait()
        if back:
            actor = runtime._supervisor.actor(view.id)
            assert actor is not None
            cancelling = asyncio.create_task(actor.ask(CancelTask(f"{view.id}.t1", "parent", "enough")))
            while actor.state.tasks[0].state is not TaskState.CANCELLING:  # noqa: ASYNC110 - so that both come at once
                await asyncio.sleep(0)
            ground.permits.set()
            await cancelling
        else:
            await runtime.cancel(PARENT, view.id)
        view = await until(runtime, view.id, lambda each: each.newest.state.over)
        assert (view.status, view.newest.state) == (Status.IDLE, TaskState.CANCELLED)
        ground.permits.set()
        await runtime.send(PARENT, view.id, "[[say:next]]")
        view = await until(runtime, view.id, lambda each: each.newest.number == 2 and each.newest.state.over)
        assert (view.newest.state, view.newest.result) == (TaskState.COMPLETED, "next")
    assert not (ground.folder / "given").exists()


async def test_a_cancel_that_came_too_late_for_its_task_keeps_none_from_the_next(ground: Ground) -> None:
    """The agent fails its task while the cancel is written down; a stop asks it to end the next one all the same."""
    ground.clock, go = SystemClock(), ground.folder / "go"
    async with ground.runtime() as runtime:
        view = await runtime.spawn(PARENT, ground.request(f"[[wait:{go}]][[error:-32000|no]]"))
        await until(runtime, view.id, lambda each: each.status is Status.RUNNING)
        actor = runtime._supervisor.actor(view.id)
        assert actor is not None
        assert actor.performer is not None
        with write_lock(ground.path):
            cancelling = asyncio.create_task(actor.ask(CancelTask(f"{view.id}.t1", "parent", "enough")))
            await asyncio.sleep(0)
            go.touch()
            async with asyncio.timeout(BOUND):
                while any(isinstance(each, Prompt) for each in actor.performer._tasks):  # noqa: ASYNC110 - tells nobody
                    await asyncio.sleep(0.01)
        await cancelling
        await until(runtime, view.id, lambda each: each.newest.state is TaskState.CANCELLED)
        await runtime.send(PARENT, view.id, "[[say:at it]][[hang-politely]]")
        await until(runtime, view.id, lambda each: each.newest.result == "at it")
        await runtime.stop(PARENT, view.id)
        ended = [row.event for row in await runtime._store.events(view.id, 0, None) if isinstance(row.event, TaskEnded)]
    assert [each.stop_reason for each in ended] == [None, "cancelled"], "the agent was asked, and answered"


async def test_what_winds_up_behind_a_cancelled_task_does_not_cancel_the_next(ground: Ground) -> None:
    """Its files are counted in a container: to give that up, and remove it, takes longer than the next task waits."""
    ground.clock, ground.counts, ground.gives_up = SystemClock(), asyncio.Event(), asyncio.Event()
    async with ground.runtime() as runtime:
        view = await runtime.spawn(PARENT, ground.request("[[say:one]]"))
        async with asyncio.timeout(BOUND):
            await ground.counting.wait()
        await runtime.send(PARENT, view.id, "[[say:two]]")
        await runtime.cancel(PARENT, view.id)
        await until(runtime, view.id, lambda each: each.tasks[0].state is TaskState.CANCELLED)
        ground.counts.set()
        view = await until(runtime, view.id, lambda each: each.newest.number == 2 and each.newest.state.over)
        assert (view.newest.state, view.newest.result) == (TaskState.COMPLETED, "two")
        ground.gives_up.set()


async def test_a_start_that_cannot_part_from_the_attempt_before_is_tried_again(ground: Ground) -> None:
    """A failure of ours there would else leave a subagent that is starting until the deadline of its sandbox."""
    ground.clock, ground.leave_fails = SystemClock(), OSError(5, "the run directory cannot be removed")
    limits = Limits(cancel_grace=0.1, restarts=2, backoff=0.01)
    async with ground.runtime() as runtime:
        view = await runtime.spawn(PARENT, ground.request("[[say:at it]][[hang]]", limits=limits))
        await until(runtime, view.id, lambda each: each.newest.result == "at it")
        await runtime.cancel(PARENT, view.id)
        view = await until(runtime, view.id, lambda each: each.status is Status.IDLE)
        assert (view.attempt, ground.leave_fails) == (3, None)


async def test_a_rule_that_goes_while_an_earlier_change_is_on_its_way_is_taken_away(ground: Ground) -> None:
    ground.clock, ground.presets = SystemClock(), (web("example.org"),)
    told: list[tuple[str, ...]] = []
    more = asyncio.Event()

    def way_of(request: LaunchRequest) -> Callable[[], None]:
        def permitted() -> None:
            egress = request.egress()
            assert egress is not None
            told.append(egress.rules)
            more.set()

        return permitted

    ground.way_of = way_of
    async with ground.runtime() as runtime:
        view = await runtime.spawn(PARENT, ground.request("[[say:at it]][[hang-politely]]", preset="web"))
        await until(runtime, view.id, lambda each: each.newest.result == "at it")
        ground.permits = asyncio.Event()
        ground.presets = (web("example.org", "example.net"),)
        await runtime.reload(OPERATOR)
        async with asyncio.timeout(BOUND):
            await ground.permitting.wait()
            assert "example.net" in str(told[-1])
            ground.presets = (web("example.org"),)
            await runtime.reload(OPERATOR)
            ground.permits.set()
            while "example.net" in str(told[-1]):
                more.clear()
                await more.wait()


async def test_an_actor_that_has_lost_its_store_gives_no_task_to_an_agent(ground: Ground) -> None:
    """The next owner could not know of it, and would give it again."""
    await left_behind(ground, READY, ChannelClosed(1, "eof"))
    ground.swept = False
    async with Store.open(ground.path, ground.clock) as store:
        committed = await store.load(ID)
        assert committed is not None
        built = Stage(ground, store, Actor(committed, store=store, clock=ground.clock))
        built.start()
        await store.query("UPDATE meta SET value = 9 WHERE key = 'epoch'")
        with pytest.raises(StoreOwned):
            await built.actor.ask(Send("x"))
        await built.ended()
        assert built.task is not None
        assert isinstance(built.task.exception(), StoreOwned)
        channel = Watched(accepted=500)
        ground.adopted = BareAgent(ground, channel)
        performer = Performer(built.around)
        async with asyncio.timeout(BOUND):
            performer.perform(Inspect(1))
            await asyncio.wait(performer._tasks.values())
            performer.perform(Prompt(1, f"{ID}.t1"))
            await channel.over.wait()
        await performer.release()
    assert channel.written == b""


async def test_a_task_that_is_queued_again_and_started_at_once_is_given_to_its_agent_again(ground: Ground) -> None:
    """The answer of its first prompt and the login that it waited for are stored one right after the other."""
    ground.clock, ground.counts, go = SystemClock(), asyncio.Event(), ground.folder / "go"
    ground.counts.set()
    loop, busy = asyncio.get_running_loop(), True

    def hog() -> None:
        """Have each turn of the loop take longer than a commit."""
        time.sleep(0.03)
        if busy:
            loop.call_soon(hog)

    async with ground.runtime() as runtime:
        view = await runtime.spawn(PARENT, ground.request(f"[[wait:{go}]]"))
        await until(runtime, view.id, lambda each: each.status is Status.RUNNING)
        actor = runtime._supervisor.actor(view.id)
        assert actor is not None
        await actor.ask(LoginExpired(1, "no key"))
        async with asyncio.timeout(BOUND):
            with write_lock(ground.path):
                go.touch()
                await ground.counting.wait()
                for _ in range(20):  # until its answer waits for the lock in the store's thread
                    await asyncio.sleep(0)
                answering = asyncio.create_task(actor.ask(AnswerRequest("l1", AGAIN, "parent")))
                await asyncio.sleep(0)
                hog()
            await answering
        busy = False
        view = await until(runtime, view.id, lambda each: each.newest.state.over)
        assert view.newest.state is TaskState.COMPLETED
