"""What calls of models used: who is charged, what the sums hold, and what becomes of them with their subagent."""

import pytest

from acp_runtime.clock import ManualClock
from acp_runtime.core.inputs import (
    DeadlinePassed,
    Halted,
    PromptAnswered,
    PromptBroke,
    Send,
    SessionReady,
    StopSubagent,
)
from acp_runtime.core.metering import Call, CallEnd, Usage
from acp_runtime.core.model import Reason
from acp_runtime.store.store import Store
from tests.integration.store.conftest import PARENT, Line, dump

USAGE = Usage(input=100, cached_input=50, cache_write=10, output=40, reasoning=30)


def call(line: Line, began: int, **fields: object) -> Call:
    usual = {"subagent": line.id, "began": began, "model": "m", "end": CallEnd.ANSWERED, "boot": "manual"}
    return Call(**(usual | fields))  # type: ignore[arg-type]


async def charged(store: Store) -> dict[str, int]:
    rows = await store.query("SELECT task, sum(calls) AS calls FROM spent GROUP BY task ORDER BY task")
    return {row["task"].rpartition(".")[2]: row["calls"] for row in rows}


@pytest.mark.requirement("D09.7")
async def test_a_call_is_charged_to_the_task_that_ran_when_it_began(store: Store, clock: ManualClock) -> None:
    line = await Line.begin(store, clock)
    starting = clock.now()
    clock.advance(1_000)
    await line.take(SessionReady(1, "s", "agent", "1"))
    first = clock.now()
    clock.advance(1_000)
    await line.take(Send("second"))
    clock.advance(1_000)
    still_first = clock.now()
    clock.advance(1_000)
    await line.take(PromptAnswered(1, f"{line.id}.t1", "end_turn", 1))
    clock.advance(1_000)
    second = clock.now()
    clock.advance(1_000)
    await line.take(PromptAnswered(1, f"{line.id}.t2", "end_turn", 1))
    clock.advance(1_000)
    moments = (starting, first, still_first, second, clock.now())
    await store.book([call(line, moment) for moment in moments], "1 0")
    assert await charged(store) == {"": 2, "t1": 2, "t2": 1}


async def test_a_date_that_is_set_meanwhile_charges_no_other_task(store: Store, clock: ManualClock) -> None:
    line = await Line.begin(store, clock)
    await line.take(SessionReady(1, "s", "agent", "1"), Send("second"))
    clock.advance(1_000)
    first = clock.now()
    clock.advance(1_000)
    await line.take(PromptAnswered(1, f"{line.id}.t1", "end_turn", 1))
    clock.jump(-3_600_000)
    clock.advance(1_000)
    second = clock.now()
    clock.advance(1_000)
    await line.take(PromptAnswered(1, f"{line.id}.t2", "end_turn", 1))
    await store.book([call(line, first), call(line, second), call(line, second, boot="another")], "1 0")
    assert await charged(store) == {"": 1, "t1": 1, "t2": 1}


async def test_a_task_that_was_put_back_is_charged_with_the_calls_of_each_start(
    store: Store, clock: ManualClock
) -> None:
    line = await Line.begin(store, clock)
    await line.take(SessionReady(1, "s", "agent", "1"))
    first = clock.now()
    clock.advance(1_000)
    await line.take(PromptBroke(1, f"{line.id}.t1", "the model answered 503"))
    clock.advance(60_000)
    await line.take(DeadlinePassed())
    await store.book([call(line, first), call(line, clock.now())], "1 0")
    assert await charged(store) == {"t1": 2}


SUMS = (
    ("told in full", {"usage": USAGE, "cost": 9}, {"calls": 1, "input": 100, "output": 40, "cost": 9}),
    ("no price", {"usage": USAGE}, {"calls": 1, "unpriced": 1, "output": 40, "cost": 0}),
    ("nothing told", {"estimate": 70}, {"unknown": 1, "unpriced": 1, "estimate": 70, "input": 0}),
    (
        "nothing told of a model with a price",
        {"estimate": 70, "cost": 0, "estimate_cost": 5},
        {"unknown": 1, "unpriced": 0, "estimate_cost": 5, "cost": 0},
    ),
    (
        "broken off",
        {"end": CallEnd.BROKEN, "usage": USAGE, "cost": 9, "estimate": 7},
        {"unknown": 1, "unpriced": 0, "input": 100, "cost": 9},
    ),
    ("answered with an error", {"end": CallEnd.FAILED}, {"calls": 1, "failed": 1, "unknown": 0, "unpriced": 0}),
    ("over budget", {"end": CallEnd.OVER_BUDGET, "why": "spent"}, {"refused": 1, "unpriced": 0}),
    ("refused", {"end": CallEnd.REFUSED, "why": "spent"}, {"calls": 1, "refused": 1, "unknown": 0, "unpriced": 0}),
)


@pytest.mark.requirement("D09.7")
@pytest.mark.parametrize(("fields", "sums"), [each[1:] for each in SUMS], ids=[each[0] for each in SUMS])
async def test_the_sums_say_what_they_do_not_hold(
    store: Store, clock: ManualClock, fields: dict[str, object], sums: dict[str, int]
) -> None:
    line = await Line.begin(store, clock)
    await store.book([call(line, clock.now(), **fields)], "1 0")
    (row,) = await store.query("SELECT * FROM spent")
    assert {name: row[name] for name in sums} == sums


async def test_calls_are_no_news_for_the_readers_of_their_subagent(store: Store, clock: ManualClock) -> None:
    line = await Line.begin(store, clock)
    tick, before = store.tick, await store.events(line.id, 0, None)
    await store.book([call(line, clock.now(), usage=USAGE)], "1 0")
    assert (store.tick, await store.events(line.id, 0, None)) == (tick, before)


async def test_what_was_used_is_deleted_with_its_subagent_and_a_late_call_is_dropped(
    store: Store, clock: ManualClock
) -> None:
    line = await Line.begin(store, clock)
    await store.book([call(line, clock.now(), usage=USAGE)], "1 0")
    await line.take(StopSubagent(Reason.STOPPED_BY_PARENT, "parent", "enough"), Halted(1, confirmed=True))
    turn = await store.begin_turn(PARENT, "mcp", "t")
    await store.commit_turn(turn.token)
    await store.remove(line.id, by="parent")
    await store.book([call(line, clock.now(), usage=USAGE)], "1 0")
    assert await store.query("SELECT * FROM spent") == []
    assert await store.query("SELECT * FROM event WHERE stream LIKE '%' || ?", line.id) == []
    live = await dump(store)
    await store.rebuild()
    assert await dump(store) == live
