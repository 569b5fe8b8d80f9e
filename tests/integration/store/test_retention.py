"""What has ended and was told is deleted whole after a while; nothing that is still to be told, and never a silence."""

import asyncio
import sqlite3
from pathlib import Path

import pytest

from acp_runtime.clock import ManualClock
from acp_runtime.core.errors import Rejected
from acp_runtime.core.ids import OPERATORS_OWN
from acp_runtime.core.inputs import (
    Halted,
    Heard,
    PromptAnswered,
    ResumeSubagent,
    SessionReady,
    StepBegan,
    StopSubagent,
)
from acp_runtime.core.model import Order, Reason, Step
from acp_runtime.core.transcript import MessageEntry
from acp_runtime.core.turns import Origin, OutboxRules
from acp_runtime.store import retention
from acp_runtime.store.store import Store
from tests.histories import spawn
from tests.integration.store.conftest import PARENT, Line, dump

READY = SessionReady(1, "s", "agent", "1")
DAY = 86_400


async def ended(
    store: Store, clock: ManualClock, ident: str, *, parent: str = PARENT, exported: bool = True, said: str = "done"
) -> Line:
    """Return a subagent that has ended after a task that its parent is to be told of."""
    order = Order(agent="scripted", workspace="/w", keep=False)
    line = await Line.begin(store, clock, spawn(ident, parent=parent, order=order))
    await line.take(READY, Heard(1, (MessageEntry("agent", said),)), PromptAnswered(1, f"{ident}.t1", "end_turn", 1))
    await line.take(StopSubagent(Reason.FINISHED, "parent", "done"), Halted(1, confirmed=True, exported=exported))
    return line


async def told(store: Store, turn: str, parent: str = PARENT) -> None:
    await store.commit_turn((await store.begin_turn(parent, "mcp", turn)).token)


async def pruned(store: Store, days: int = 7) -> list[str]:
    return [each.id for each in await store.prune(None, older_than=days * DAY)]


async def test_a_log_goes_some_days_after_its_end_and_only_once_it_was_told(store: Store, clock: ManualClock) -> None:
    line = await ended(store, clock, "bg-0000000001")
    other = await Line.begin(store, clock, spawn("bg-0000000002"))
    clock.advance(6 * DAY * 1000)
    assert await pruned(store, 5) == [], "its parent was not told yet"
    await told(store, "t1")
    assert await pruned(store, 7) == [], "it ended six days ago"
    assert await pruned(store, 5) == [line.id]
    assert await store.events(line.id, 0, None) == []
    for table in ("subagent", "task", "nudge", "request", "cursor"):
        rows = await store.query(f"SELECT * FROM {table}")
        assert all(other.id in row.values() for row in rows), table
    assert await store.search(None, "first") != []
    assert [hit.subagent for hit in await store.search(None, line.id)] == []


async def test_what_was_deleted_is_gone_for_a_rebuild_too(store: Store, clock: ManualClock) -> None:
    for number in range(4):
        line = await ended(store, clock, f"bg-{number:010d}")
        await store.mark_read(PARENT, line.id, line.committed.version)
        await told(store, f"t{number}")
    await told(store, "wake")
    clock.advance(8 * DAY * 1000)
    await ended(store, clock, "bg-0000000009")
    await told(store, "late")
    assert len(await pruned(store)) == 4
    live = await dump(store)
    assert len(live["forgotten"]) == 4
    assert len(live["turn"]) == 1
    await store.rebuild()
    assert await dump(store) == live


async def test_a_nudge_that_was_told_is_not_told_again_after_its_turn_was_deleted(
    store: Store, clock: ManualClock
) -> None:
    line = await Line.begin(store, clock)
    await line.take(READY, PromptAnswered(1, f"{line.id}.t1", "end_turn", 1))
    await told(store, "t1")
    clock.advance(90 * DAY * 1000)
    await told(store, "t2")
    assert await pruned(store) == []
    await store.rebuild()
    assert (await store.begin_turn(PARENT, "mcp", "t3")).nudges == ()


async def test_who_woke_a_parent_is_known_after_its_old_turns_went(store: Store, clock: ManualClock) -> None:
    await told(store, "t1")
    for number in range(3):
        await store.begin_turn(PARENT, "mcp", f"wake {number}", origin=Origin.WAKE)
    clock.advance(90 * DAY * 1000)
    await pruned(store)
    live = await dump(store)
    assert [row["wakes"] for row in live["parent"]] == [3]
    await store.rebuild()
    assert await dump(store) == live


async def test_a_dry_run_deletes_nothing_and_names_the_same(store: Store, clock: ManualClock) -> None:
    line = await ended(store, clock, "bg-0000000001")
    await told(store, "t1")
    clock.advance(8 * DAY * 1000)
    before = await dump(store)
    (would,) = await store.prune(None, older_than=7 * DAY, dry_run=True)
    assert await dump(store) == before
    assert (would.id, would.parent, would.events, would.kept) == (line.id, PARENT, line.committed.version, False)
    assert would.size > 100
    assert await store.prune(None, older_than=7 * DAY) == (would,)


@pytest.mark.parametrize(("logs", "size"), [(40, 1), (1, 400_000)], ids=["many logs", "a large one"])
async def test_others_write_while_much_is_pruned(
    store: Store, clock: ManualClock, monkeypatch: pytest.MonkeyPatch, logs: int, size: int
) -> None:
    monkeypatch.setattr(retention, "PAGES_AT_ONCE", 1)
    for number in range(logs):
        line = await ended(store, clock, f"bg-{number:010d}", parent=OPERATORS_OWN, said="x" * size)
    clock.advance(8 * DAY * 1000)
    line, meanwhile = await Line.begin(store, clock, spawn("bg-1111111111")), 0
    pruning = asyncio.create_task(store.prune(None, older_than=7 * DAY))
    while not pruning.done():
        await line.take(StepBegan(1, (Step.INITIALIZE, Step.SESSION)[meanwhile % 2]))
        meanwhile += 1
    assert len(await pruning) == logs
    assert meanwhile > 12, "a commit waits for one log, or for a few pages"


async def test_who_was_started_again_while_others_were_pruned_keeps_its_log(store: Store, clock: ManualClock) -> None:
    order = Order(agent="scripted", workspace="/w", keep=True)
    for number in range(40):
        line = await Line.begin(store, clock, spawn(f"bg-{number:010d}", parent=OPERATORS_OWN, order=order))
        await line.take(READY, StopSubagent(Reason.FINISHED, "parent", "done"), Halted(1, confirmed=True))
    clock.advance(8 * DAY * 1000)
    pruning = asyncio.create_task(store.prune(None, older_than=7 * DAY))
    while not await store.forgotten(None, "bg-0000000000"):
        pass
    await line.take(ResumeSubagent("again", "parent"))
    assert [each.id for each in await pruning] == [f"bg-{number:010d}" for number in range(39)]
    assert await store.load(line.id) is not None


async def test_a_parent_prunes_its_own_alone(store: Store, clock: ManualClock) -> None:
    await ended(store, clock, "bg-0000000001", parent="one")
    await ended(store, clock, "bg-0000000002", parent="two")
    await told(store, "t", "one")
    await told(store, "t", "two")
    clock.advance(DAY * 1000)
    assert [each.id for each in await store.prune("one", older_than=1.0)] == ["bg-0000000001"]
    assert [each.id for each in await store.prune("two", older_than=1.0, dry_run=True)] == ["bg-0000000002"]


async def test_what_the_operator_spawned_goes_untold_since_nobody_is_there_to_be_told(
    store: Store, clock: ManualClock
) -> None:
    await ended(store, clock, "bg-0000000001", parent=OPERATORS_OWN)
    await ended(store, clock, "bg-0000000002", parent="one")
    clock.advance(6 * DAY * 1000)
    assert await pruned(store) == [], "it ended six days ago"
    assert await pruned(store, 5) == ["bg-0000000001"]


async def test_work_that_could_not_be_taken_out_keeps_its_log(store: Store, clock: ManualClock) -> None:
    await ended(store, clock, "bg-0000000001", exported=False)
    await told(store, "t1")
    clock.advance(90 * DAY * 1000)
    assert await pruned(store) == []


async def test_volumes_that_may_be_left_are_named(store: Store, clock: ManualClock) -> None:
    order = Order(agent="scripted", workspace="/w", keep=True)
    line = await Line.begin(store, clock, spawn(order=order))
    await line.take(READY, StopSubagent(Reason.FINISHED, "parent", "done"), Halted(1, confirmed=True))
    await told(store, "t1")
    clock.advance(90 * DAY * 1000)
    assert [each.kept for each in await store.prune(None, older_than=1.0, dry_run=True)] == [True]


async def test_a_dead_letter_does_not_keep_its_log_for_ever(path: Path, clock: ManualClock) -> None:
    async with Store.open(path, clock, OutboxRules(absent=DAY)) as store:
        await ended(store, clock, "bg-0000000001")
        clock.advance(8 * DAY * 1000)
        assert await pruned(store) == [], "its letter has died this moment and is to be seen"
        assert (await store.figures(None)).nudges_dead == 1
        clock.advance(7 * DAY * 1000 + 1)
        assert await pruned(store) == ["bg-0000000001"]


async def test_a_cursor_into_a_deleted_log_is_answered(store: Store, clock: ManualClock) -> None:
    line = await ended(store, clock, "bg-0000000001")
    await told(store, "t1")
    await store.mark_read(PARENT, line.id, 3)
    assert not await store.forgotten(PARENT, line.id)
    await store.remove(line.id, by="parent")
    live = await dump(store)
    await store.rebuild()
    assert await dump(store) == live, "a mark of reading brings nothing back"
    await store.alias(PARENT, "p again")
    assert await store.forgotten(PARENT, line.id)
    assert await store.forgotten("p again", line.id)
    assert await store.forgotten(None, line.id)
    assert not await store.forgotten("another", line.id), "a foreign one is as unknown as ever"


async def test_what_has_not_ended_cannot_be_removed(store: Store, clock: ManualClock) -> None:
    line = await Line.begin(store, clock)
    with pytest.raises(Rejected, match="amber-fox has not ended; stop it first") as caught:
        await store.remove(line.id, by="parent")
    assert caught.value.kind == "still_open"
    with pytest.raises(Rejected, match="Unknown background subagent: bg-ff"):
        await store.remove("bg-ff", by="parent")


async def test_only_a_parent_itself_may_remove_what_it_was_not_told(store: Store, clock: ManualClock) -> None:
    line = await ended(store, clock, "bg-0000000001")
    with pytest.raises(Rejected, match="nudges that its parent has not acknowledged") as caught:
        await store.remove(line.id, by="operator")
    assert caught.value.kind == "not_acknowledged"
    await store.remove(line.id, by="parent")
    assert await store.load(line.id) is None


async def test_what_was_deleted_gives_its_room_back(path: Path, clock: ManualClock) -> None:
    async with Store.open(path, clock) as store:
        line = await Line.begin(store, clock, spawn(task="x" * 900_000))
        await line.take(READY, StopSubagent(Reason.FINISHED, "parent", "done"), Halted(1, confirmed=True))
        await told(store, "t1")
        clock.advance(DAY * 1000)
        before = await store.figures(None)
        await store.prune(None, older_than=1.0)
        after = await store.figures(None)
        assert (before.subagents, before.open_subagents, before.nudges_open) == (1, 0, 0)
        assert (after.subagents, after.free) == (0, 0)
        assert after.size < before.size - 1_000_000
    assert sqlite3.connect(path).execute("PRAGMA auto_vacuum").fetchall() == [(2,)]


async def test_figures_are_of_the_caller_alone(store: Store, clock: ManualClock) -> None:
    await ended(store, clock, "bg-0000000001", parent="one")
    line = await Line.begin(store, clock, spawn("bg-0000000002", parent="two"))
    one, two, both = await store.figures("one"), await store.figures("two"), await store.figures(None)
    assert (one.subagents, one.open_subagents, one.nudges_open) == (1, 0, 1)
    assert (two.subagents, two.open_subagents, two.nudges_open) == (1, 1, 0)
    assert two.events == line.committed.version
    assert (both.subagents, both.nudges_open) == (2, 1)


@pytest.mark.requirement("D05.8")
@pytest.mark.parametrize("days", [400, -400])
async def test_a_wall_clock_that_jumps_deletes_nothing_and_keeps_nothing_for_ever(
    store: Store, clock: ManualClock, days: int
) -> None:
    """What is deleted takes its volumes and its exported work along: a wrong date must not do that."""
    line = await ended(store, clock, "bg-0000000001")
    await told(store, "t1")
    clock.jump(days * DAY * 1000)
    await told(store, "t2")
    before = await dump(store)
    assert await pruned(store) == []
    assert await dump(store) == before
    clock.advance(7 * DAY * 1000 + 1)
    assert await pruned(store) == [line.id]
