"""One truth: the projections follow from the log alone, whoever wrote it and whatever became of them."""

from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import pytest

from acp_runtime.clock import ManualClock
from acp_runtime.core.decide import decide
from acp_runtime.core.errors import StoreError
from acp_runtime.core.events import Event
from acp_runtime.core.inputs import Halted, PromptAnswered, Send, SessionReady, StopSubagent
from acp_runtime.core.metering import Call, CallEnd, Usage
from acp_runtime.core.model import Limits, Permissions, Reason
from acp_runtime.store.rebuild import TABLES
from acp_runtime.store.store import Store
from tests.histories import spawn, walk
from tests.integration.store.conftest import Line, dump
from tests.ledger import check_log

PARENTS = ("one", "two")


async def subagent(store: Store, random: Random, number: int) -> AsyncIterator[str]:
    """Live one random life, a commit at a time."""
    limits = random.choice([Limits(), Limits(idle=50.0, lifetime=9_000.0), Limits(queue=1, task=20.0)])
    first = spawn(
        f"bg-{number:010x}",
        parent=random.choice(PARENTS),
        limits=limits,
        permissions=random.choice((Permissions.ALLOW, Permissions.DENY)),
    )
    events, _ = decide(None, first, 0)
    committed = await store.commit(first.id, None, 0, events)
    for step in walk(random, first, 60):
        if step.events:
            committed = await store.commit(first.id, committed.state, committed.version, step.events)
            assert committed.state == step.after
        yield first.id


async def turns(store: Store, clock: ManualClock, random: Random) -> AsyncIterator[str]:
    """Two parents with two doors each: turns begun, some of them acknowledged, logs read."""
    tokens: list[str] = []
    for number in range(40):
        parent = random.choice([*PARENTS, "one again"])
        if number == 20:
            await store.alias("one", "one again")
        turn = await store.begin_turn(parent, random.choice(["mcp", "hook"]), f"t{number % 50}")
        tokens.append(turn.token)
        if random.random() < 0.4:
            await store.commit_turn(random.choice(tokens))
        if random.random() < 0.3:
            await store.mark_read(parent, f"bg-{random.randrange(8):010x}", random.randrange(300))
        clock.advance(random.randrange(400_000))
        yield parent


def a_call(random: Random, clock: ManualClock, subagent: str) -> Call:
    usage = Usage(random.randrange(900), random.randrange(9), random.randrange(9), random.randrange(90))
    model, end = random.choice(["a", "b", ""]), random.choice([*CallEnd])
    told = end is CallEnd.ANSWERED and random.random() < 0.8
    cost = random.choice([None, 7]) if told else None
    estimate = 0 if told else 5
    return Call(subagent, clock.now(), model, end, usage if told else None, estimate, cost, boot=clock.boot)


async def rich_history(store: Store, clock: ManualClock, random: Random) -> None:
    running = [subagent(store, random, number) for number in range(8)] + [turns(store, clock, random)]
    while running:
        life = random.choice(running)
        if await anext(life, None) is None:
            running.remove(life)
        if random.random() < 0.3:
            await store.book(
                [a_call(random, clock, f"bg-{random.randrange(9):010x}") for _ in range(random.randrange(3))], "1 0"
            )


@pytest.mark.parametrize("seed", [1, 3, 4])
async def test_a_rebuild_gives_what_the_live_writes_left(store: Store, clock: ManualClock, seed: int) -> None:
    await rich_history(store, clock, Random(seed))
    live = await dump(store)
    assert all(live[table] for table in TABLES if table not in ("forgotten", "bygone")), (
        "a table that stays empty proves nothing"
    )
    assert len({row["state"] for row in live["task"]}) >= 4
    assert len({row["state"] for row in live["nudge"]}) >= 2
    await store.rebuild()
    assert await dump(store) == live
    for row in live["subagent"]:
        events: list[Event] = [each.event for each in await store.events(row["id"], 0, None)]
        state = check_log(events)
        assert (row["lifecycle"], row["attempt"]) == (state.lifecycle, state.attempt)
        for task in state.tasks:
            (kept,) = (each for each in live["task"] if each["id"] == task.id)
            assert kept["state"] == task.state


async def test_projections_that_were_spoilt_are_made_again(store: Store, clock: ManualClock) -> None:
    await rich_history(store, clock, Random(7))
    live = await dump(store)
    for table in TABLES:
        await store.query(f"DELETE FROM {table}")
    assert await dump(store) != live
    await store.rebuild()
    assert await dump(store) == live


async def test_the_next_owner_goes_on_where_the_last_one_stopped(path: Path, clock: ManualClock) -> None:
    async with Store.open(path, clock) as store:
        line = await Line.begin(store, clock)
        await line.take(SessionReady(1, "s", "agent", "1"), Send("second"))
    async with Store.open(path, clock) as store:
        taken = Line(store, clock)
        loaded = await store.load(line.id)
        assert loaded == line.committed
        taken.committed = loaded
        await taken.take(PromptAnswered(1, f"{line.id}.t1", "end_turn", 1))
        live = await dump(store)
        await store.rebuild()
        assert await dump(store) == live


async def test_a_stop_with_work_waiting_ends_every_task_in_its_row_too(store: Store, clock: ManualClock) -> None:
    line = await Line.begin(store, clock)
    stop = StopSubagent(Reason.STOPPED_BY_OPERATOR, "operator", "enough")
    await line.take(SessionReady(1, "s", "agent", "1"), Send("two"), Send("three"), stop, Halted(1, confirmed=True))
    rows = await store.query("SELECT state, cause FROM task ORDER BY number")
    assert rows == [{"state": "cancelled", "cause": "enough"}] * 3
    assert len(await store.query("SELECT * FROM nudge")) == 3


async def test_a_log_that_cannot_be_read_leaves_the_projections_as_they_were(store: Store, clock: ManualClock) -> None:
    await Line.begin(store, clock)
    await store.query("INSERT INTO event VALUES (99, 'bg-x', 1, 'from_the_future', '{}', '', '', 1)")
    live = await dump(store)
    with pytest.raises(StoreError, match="'from_the_future' that this version does not know"):
        await store.rebuild()
    assert await dump(store) == live
