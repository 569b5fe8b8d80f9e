"""What agents used, as their parents and the operator are told: live, by task, subagent, parent and model."""

import asyncio
from dataclasses import replace

import pytest

from acp_runtime.callers import OPERATOR
from acp_runtime.clock import SystemClock
from acp_runtime.core.errors import Rejected
from acp_runtime.core.metering import Call, CallEnd, Usage
from acp_runtime.gateway.ledger import Ledger
from acp_runtime.gateway.place import folder_beside
from acp_runtime.gateway.records import call_record
from acp_runtime.manager.bookkeeper import MOST_MODELS, Bookkeeper
from acp_runtime.store.store import Store
from acp_runtime.views import Spending, UsageView
from tests.histories import spawn
from tests.integration.manager.conftest import BOUND, PARENT, Ground, log_says, until, write_lock
from tests.integration.store.conftest import Line

USAGE = Usage(input=100, cached_input=50, cache_write=10, output=40, reasoning=30)
SPENT = Spending(1, 0, 0, 0, 0, 200, 100, 50, 10, 40, 30, 0.25)
OTHER = "other parent"


def a_call(subagent: str, **fields: object) -> Call:
    clock = SystemClock()
    call = Call(subagent, clock.now(), "m", CallEnd.ANSWERED, USAGE, cost=250_000_000, boot=clock.boot)
    return replace(call, **fields)  # type: ignore[arg-type]


def written(ground: Ground, *calls: Call) -> None:
    """Have a gateway write calls down."""
    folder = folder_beside(ground.path)
    folder.mkdir(exist_ok=True)
    ledger = Ledger(folder)
    for call in calls:
        ledger.append({"subagent": call.subagent, "call": call_record(call)})
    ledger.close()


@pytest.mark.requirement("D09.7")
async def test_what_a_task_used_is_known_when_its_end_is_told(ground: Ground) -> None:
    ground.clock = SystemClock()
    async with ground.runtime() as runtime:
        view = await runtime.spawn(PARENT, ground.request("[[ask]]"))
        view = await until(runtime, view.id, lambda each: bool(each.requests))
        assert view.spent == view.newest.spent == Spending()
        written(ground, a_call(view.id))
        await runtime.answer(PARENT, view.id, view.requests[0].id, "opt-0")
        view = await until(runtime, view.id, lambda each: each.settled)
        assert (view.spent, view.newest.spent) == (SPENT, SPENT)
        (listed,) = await runtime.list_subagents(PARENT)
        assert (listed.spent, listed.newest.spent) == (SPENT, SPENT)


@pytest.mark.requirement("D09.7")
async def test_usage_is_told_apart_by_what_is_asked_for_and_to_whom_it_belongs(ground: Ground) -> None:
    ground.clock = SystemClock()
    async with ground.runtime() as runtime:
        one = await runtime.spawn(PARENT, ground.request("[[say:x]]"))
        two = await runtime.spawn(OTHER, ground.request("[[say:x]]"))
        for view in (one, two):
            await until_settled(runtime, view)
        written(
            ground,
            a_call(one.id, began=0),
            a_call(one.id, model="n", cost=None),
            a_call(two.id, usage=None, cost=None, estimate=9),
            a_call(two.id, model="", end=CallEnd.REFUSED, usage=None, cost=None),
        )
        await settled(runtime)
        unpriced = replace(SPENT, unpriced_calls=1, cost_usd=None)
        told = Spending(calls=2, refused_calls=1, unknown_calls=1, unpriced_calls=1, cost_usd=None)
        both = Spending(2, 0, 0, 0, 1, 400, 200, 100, 20, 80, 60, 0.25)
        first, second = (
            UsageView(both, PARENT, one.id, one.name),
            UsageView(told, OTHER, two.id, two.name),
        )
        assert await runtime.usage(OPERATOR) == [first, second]
        assert await runtime.usage(PARENT) == [first]
        assert await runtime.usage(OPERATOR, subagent=two.id) == [second]
        assert await runtime.usage(OPERATOR, by="parent") == [UsageView(both, PARENT), UsageView(told, OTHER)]
        by_model = {row.model: row.spent for row in await runtime.usage(OPERATOR, by="model")}
        assert by_model["n"] == unpriced
        assert by_model["m"] == replace(SPENT, calls=2, unknown_calls=1, unpriced_calls=1)
        by_task = {row.task: row.spent for row in await runtime.usage(PARENT, by="task")}
        assert by_task == {None: both}
        with pytest.raises(Rejected, match="Unknown background subagent"):
            await runtime.usage(PARENT, subagent=two.id)


async def until_settled(runtime, view) -> None:
    async with asyncio.timeout(BOUND):
        await runtime.wait(view.parent, [view.id], seconds=BOUND)


async def settled(runtime) -> None:
    await runtime._supervisor.bookkeeper.settled()


async def test_calls_that_could_not_be_booked_at_once_are_booked_before_the_end_of_their_task_is_told(
    ground: Ground,
) -> None:
    ground.clock = SystemClock()
    async with ground.runtime() as runtime:
        view = await runtime.spawn(PARENT, ground.request("[[ask]]"))
        view = await until(runtime, view.id, lambda each: bool(each.requests))
        with write_lock(ground.path), log_says("could not be booked yet") as heard:
            written(ground, a_call(view.id))
            await heard.wait()
        await runtime.answer(PARENT, view.id, view.requests[0].id, "opt-0")
        view = await until(runtime, view.id, lambda each: each.settled)
        assert view.newest.spent == SPENT


async def test_a_flood_of_calls_and_of_invented_models_fills_no_disk(ground: Ground) -> None:
    async with Store.open(ground.path, ground.clock) as store:
        line = await Line.begin(store, ground.clock, spawn())
        flood = [
            a_call(line.id, model=f"invented-{number}", end=CallEnd.FAILED, usage=None, cost=None)
            for number in range(500)
        ]
        written(ground, *flood, *(a_call(line.id, cost=3) for _ in range(400)))
        async with Bookkeeper(store, ground.path).open() as keeper:
            await keeper.settled()
        rows = await store.query("SELECT model, calls, failed, input, cost FROM spent ORDER BY calls DESC")
        assert len(rows) == MOST_MODELS + 1
        assert rows[0] == {"model": "", "calls": 850, "failed": 450, "input": 40_000, "cost": 1_200}
        (events,) = await store.query("SELECT count(*) AS calls FROM event WHERE kind = 'model_called'")
        assert events["calls"] <= MOST_MODELS + 4


async def test_a_call_is_booked_once_whichever_manager_reads_it(ground: Ground) -> None:
    async with Store.open(ground.path, ground.clock) as store:
        line = await Line.begin(store, ground.clock, spawn())
    for count in (1, 2, 3):
        async with Store.open(ground.path, ground.clock) as store:
            async with Bookkeeper(store, ground.path).open() as keeper:
                await keeper.settled()
                written(ground, a_call(line.id))
                await keeper.settled()
            assert [row["calls"] for row in await store.query("SELECT calls FROM spent")] == [count]


async def test_a_call_is_booked_once_though_who_waits_for_it_is_cancelled_at_any_moment(ground: Ground) -> None:
    async with Store.open(ground.path, ground.clock) as store:
        line = await Line.begin(store, ground.clock, spawn())
        keeper = Bookkeeper(store, ground.path)
        heard: list[Call] = []
        keeper.hear = heard.append
        for moment in range(60):
            written(ground, a_call(line.id))
            waiting = asyncio.create_task(keeper.settled())
            await asyncio.wait({waiting}, timeout=moment * 0.0001)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
        await keeper.settled()
        assert [row["calls"] for row in await store.query("SELECT calls FROM spent")] == [60]
        assert len(heard) == 60


async def test_what_is_no_record_of_a_call_is_passed_over(ground: Ground) -> None:
    async with Store.open(ground.path, ground.clock) as store:
        line = await Line.begin(store, ground.clock, spawn())
        written(ground, a_call(line.id))
        (path,) = folder_beside(ground.path).iterdir()
        with path.open("ab") as file:
            file.write(b'{"subagent": "x", "call": {"model": 7}}\n[]\n\xff\n{"way": "tunnel"}\n{"torn')
        written(ground, a_call(line.id))
        await Bookkeeper(store, ground.path).settled()
        assert [row["calls"] for row in await store.query("SELECT calls FROM spent")] == [2]
