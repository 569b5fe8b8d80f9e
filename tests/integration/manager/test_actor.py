"""The actor: whatever its callers, its disk and its agent do, nothing seen is lost and nobody waits for ever."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager

import pytest

from acp_runtime.core.decide import decide
from acp_runtime.core.errors import Rejected, StoreConflict, StoreError, StoreOwned, SubagentsError
from acp_runtime.core.events import StopRequested, TaskQueued, TranscriptAdded
from acp_runtime.core.inputs import (
    CancelTask,
    Heard,
    PromptAnswered,
    Send,
    SessionReady,
    StopSubagent,
)
from acp_runtime.core.model import Limits, Order, Reason
from acp_runtime.core.transcript import MessageEntry
from acp_runtime.manager.actor import Actor
from acp_runtime.manager.bookkeeper import Bookkeeper
from acp_runtime.manager.launcher import LaunchRequest
from acp_runtime.manager.leading import Leading
from acp_runtime.manager.performer import Surroundings
from acp_runtime.store.store import Store
from tests.histories import spawn
from tests.integration.manager.conftest import BOUND, Ground, log_says, write_lock
from tests.ledger import check_log

STOP = StopSubagent(Reason.STOPPED_BY_PARENT, "parent", "enough")
SAID = Heard(1, (MessageEntry("agent", "word "),))


class Stage:
    """An actor in a store, over an agent that never gets past its start."""

    def __init__(self, ground: Ground, store: Store, actor: Actor) -> None:
        self.store = store
        self.actor = actor
        kind = ground.kinds["scripted"]

        def request(attempt: int) -> LaunchRequest:
            order = Order(agent="scripted", workspace=str(ground.folder))
            return LaunchRequest(
                "store", actor.state.id, attempt, kind, order, ground.folder, lambda _sentence: None, "token"
            )

        self.around = Surroundings(
            launcher=ground,
            request=request,
            state=lambda: actor.state,
            tell=actor.tell,
            store=actor.ask,
            settled=Bookkeeper(store, ground.path).settled,
            lead=Leading(store, ground.clock, lambda _: actor, wakes=lambda: 0),
            epoch=store.epoch,
            version="test",
        )
        self.task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self.task = asyncio.create_task(self.actor.run(self.around))

    async def ended(self) -> None:
        assert self.task is not None
        async with asyncio.timeout(BOUND):
            await asyncio.wait([self.task])

    async def log(self) -> list[object]:
        return [row.event for row in await self.store.events(self.actor.state.id, 0, None)]


@asynccontextmanager
async def stage(ground: Ground, limits: Limits | None = None) -> AsyncIterator[Stage]:
    ground.starts = asyncio.Event()
    async with Store.open(ground.path, ground.clock) as store:
        given = spawn(limits=limits)
        committed = await store.commit(given.id, None, 0, decide(None, given, ground.clock.now())[0])
        built = Stage(ground, store, Actor(committed, store=store, clock=ground.clock))
        try:
            yield built
        finally:
            if built.task is not None:
                built.task.cancel()
                await asyncio.wait([built.task])


async def asked(call: Awaitable[None]) -> "asyncio.Task[None]":
    """Return a call that stands in the actor's inbox."""
    task = asyncio.ensure_future(call)
    await asyncio.sleep(0)
    return task  # type: ignore[return-value]


async def test_a_caller_that_gave_up_on_a_rejected_command_harms_nobody(ground: Ground) -> None:
    async with stage(ground) as built:
        gone = await asked(built.actor.ask(CancelTask("no such task", "parent", "why")))
        gone.cancel()
        await asyncio.wait([gone])
        built.start()
        async with asyncio.timeout(BOUND):
            await built.actor.ask(Send("second"))
        assert built.actor.state.task_count == 2
        assert not built.actor.over.is_set()


async def test_a_flood_of_input_does_not_hold_a_deadline_off(ground: Ground) -> None:
    async with stage(ground, Limits(sandbox=5.0)) as built:
        ground.clock.advance(5_000)

        async def flood() -> None:
            for _ in range(60):
                await built.actor.ask(SAID)

        built.start()
        async with asyncio.timeout(BOUND):
            await asyncio.gather(flood(), flood(), flood())
        events = await built.log()
        stop = next(number for number, event in enumerate(events) if isinstance(event, StopRequested))
        before = [event for event in events[:stop] if isinstance(event, TranscriptAdded)]
        assert len(before) <= 12, f"{len(before)} inputs went before a deadline that was due"


async def test_what_came_in_before_a_deadline_was_looked_at_goes_first(ground: Ground) -> None:
    """A manager that was stopped for an hour finds the answer and the deadline: the answer counts."""
    async with stage(ground, Limits(task=5.0)) as built:
        calls = [
            await asked(built.actor.ask(SessionReady(1, "s", "agent", "1"))),
            await asked(built.actor.ask(SAID)),
            await asked(built.actor.ask(PromptAnswered(1, "bg-0000000000.t1", "end_turn", 1))),
        ]
        ground.clock.advance(3_600_000)
        built.start()
        async with asyncio.timeout(BOUND):
            await asyncio.gather(*calls)
        (row,) = await built.store.query("SELECT state FROM task")
        assert row == {"state": "completed"}


async def test_what_was_seen_is_kept_until_the_disk_takes_it(ground: Ground) -> None:
    async with stage(ground) as built:
        built.start()
        await ground.begun.wait()
        (pages,) = await built.store.query("PRAGMA page_count")
        await built.store.query(f"PRAGMA max_page_count = {pages['page_count']}")
        big = Heard(1, (MessageEntry("agent", "x" * 100_000),))
        with log_says("trying again") as said:
            hearing = await asked(built.actor.ask(big))
            await said.wait()
        assert not hearing.done()
        await built.store.query("PRAGMA max_page_count = 1000000")
        ground.clock.advance(1_000)
        async with asyncio.timeout(BOUND):
            await hearing
        assert any(isinstance(event, TranscriptAdded) for event in await built.log())


async def test_a_command_is_not_kept_for_a_disk_that_refuses_it(ground: Ground) -> None:
    async with stage(ground) as built:
        built.start()
        await ground.begun.wait()
        (pages,) = await built.store.query("PRAGMA page_count")
        await built.store.query(f"PRAGMA max_page_count = {pages['page_count']}")
        with pytest.raises(StoreError, match="full"):
            await built.actor.ask(Send("x" * 100_000))
        assert built.actor.state.task_count == 1


async def test_a_stream_that_another_writer_moved_on_is_not_tried_for_ever(ground: Ground) -> None:
    async with stage(ground) as built:
        built.start()
        await ground.begun.wait()
        state = built.actor.state
        await built.store.commit(state.id, state, 3, [TaskQueued(at=1, task_id="other", number=2, text="x")])
        built.actor.tell(STOP)
        await built.ended()
        assert built.task is not None
        assert isinstance(built.task.exception(), StoreConflict)


async def test_nobody_waits_for_an_actor_that_was_cancelled_in_mid_commit(ground: Ground) -> None:
    async with stage(ground) as built:
        built.start()
        await ground.begun.wait()
        with write_lock(ground.path):
            first, second = await asked(built.actor.ask(Send("a"))), await asked(built.actor.ask(Send("b")))
            await asyncio.sleep(0)
            assert built.task is not None
            built.task.cancel()
            await asyncio.wait([built.task], timeout=BOUND)
        async with asyncio.timeout(BOUND):
            answers = await asyncio.gather(first, second, return_exceptions=True)
        assert all(isinstance(answer, SubagentsError) for answer in answers), answers


async def test_an_actor_that_ended_early_accepts_nothing(ground: Ground) -> None:
    """A command that is not stored must not look as if it were."""
    async with stage(ground) as built:
        built.start()
        await ground.begun.wait()
        assert built.task is not None
        built.task.cancel()
        await built.ended()
        assert built.actor.over.is_set()
        for command in (Send("late"), STOP):
            with pytest.raises(Rejected) as caught:
                await built.actor.ask(command)
            assert caught.value.kind == "not_running"


async def test_a_stop_of_a_subagent_that_is_over_is_no_mistake(ground: Ground) -> None:
    async with stage(ground) as built:
        built.start()
        await built.actor.ask(STOP)
        await built.ended()
        await built.actor.ask(STOP)
        with pytest.raises(Rejected, match="no longer running"):
            await built.actor.ask(Send("late"))
        check_log(await built.log())  # type: ignore[arg-type]


async def test_the_end_of_an_actor_is_told_also_when_its_clean_up_fails(ground: Ground) -> None:
    async with stage(ground) as built:

        async def broken(_request: LaunchRequest) -> bool:
            raise OSError("the engine said something nobody expected")

        ground.sweep = broken  # type: ignore[method-assign]
        built.start()
        await ground.begun.wait()
        assert built.task is not None
        built.task.cancel()
        await built.ended()
        assert built.actor.over.is_set()


async def test_an_owner_that_was_replaced_stops_its_actor_and_leaves_its_agent_alone(ground: Ground) -> None:
    async with stage(ground) as built:
        built.start()
        await ground.begun.wait()
        await built.store.query("UPDATE meta SET value = 9 WHERE key = 'epoch'")
        with pytest.raises(StoreOwned):
            await built.actor.ask(Send("x"))
        built.actor.tell(STOP)
        await built.ended()
        assert built.task is not None
        assert isinstance(built.task.exception(), StoreOwned)
        assert ground.told == ["launch"]
