"""The log: what was committed is read back, in order, by one owner, whatever text is in it."""

import asyncio
import stat
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from acp_runtime.clock import ManualClock
from acp_runtime.core.errors import StoreError
from acp_runtime.core.events import RequestClosed, RequestOpened, SessionOpened, TaskQueued, TranscriptAdded
from acp_runtime.core.inputs import Asked, ChannelClosed, Heard, PromptAnswered, Send, SessionReady
from acp_runtime.core.model import Order
from acp_runtime.core.request import Option
from acp_runtime.core.transcript import MessageEntry
from acp_runtime.store.store import Store
from tests.histories import REJECT, spawn
from tests.integration.manager.conftest import BOUND, write_lock
from tests.integration.store.conftest import Line, look

READY = SessionReady(1, "s", "agent", "1")


async def test_what_was_committed_is_read_back_equal_and_in_order(store: Store, clock: ManualClock) -> None:
    line = await Line.begin(store, clock)
    clock.advance(5)
    await line.take(READY, Heard(1, (MessageEntry("agent", "hi"),)), PromptAnswered(1, f"{line.id}.t1", "end_turn", 1))
    rows = await store.events(line.id, 0, None)
    assert [row.version for row in rows] == list(range(1, len(rows) + 1))
    assert [row.seq for row in rows] == sorted({row.seq for row in rows})
    assert {row.boot for row in rows} == {clock.boot}
    loaded = await store.load(line.id)
    assert loaded == line.committed


async def test_a_cursor_goes_on_where_it_stood(store: Store, clock: ManualClock) -> None:
    line, other = await Line.begin(store, clock), await Line.begin(store, clock, spawn("bg-0000000001"))
    for _ in range(5):
        await line.take(Send("more"))
        await other.take(Send("more"))
    whole = await store.events(line.id, 0, None)
    paged, since = [], 0
    while page := await store.events(line.id, since, 2):
        assert len(page) <= 2
        paged += page
        since = page[-1].seq
    assert paged == whole
    assert {row.stream for row in whole} == {line.id}


async def test_a_subagent_that_the_log_does_not_know_is_none(store: Store) -> None:
    assert await store.load("bg-ffffffffff") is None
    assert await store.events("bg-ffffffffff", 0, None) == []


async def test_a_writer_whose_stream_has_moved_on_is_refused_and_nothing_of_it_is_kept(
    store: Store, clock: ManualClock, path: Path
) -> None:
    line = await Line.begin(store, clock)
    stale = line.committed
    await line.take(Send("mine"))
    event = TaskQueued(at=1, task_id=f"{line.id}.t2", number=2, text="theirs")
    with pytest.raises(StoreError):
        await store.commit(line.id, stale.state, stale.version, [event])
    assert [row[0] for row in look(path, "SELECT text FROM task ORDER BY number")] == ["first", "mine"]
    await line.take(Send("again"))


async def test_a_commit_with_a_bad_event_in_it_keeps_none_of_its_events(
    store: Store, clock: ManualClock, path: Path
) -> None:
    line = await Line.begin(store, clock)
    state, version = line.committed.state, line.committed.version
    good = TaskQueued(at=1, task_id=f"{line.id}.t2", number=2, text="good")
    opened = SessionOpened(at=1, attempt=1, session_id="s", agent_name="", agent_version="")
    with pytest.raises(Exception, match="the lifecycle table has no SessionOpened"):
        await store.commit(line.id, state, version, [good, opened, opened])
    assert look(path, "SELECT count(*) FROM task") == [(1,)]
    assert (await store.load(line.id)) == line.committed


async def test_many_writers_at_once_get_distinct_numbers(store: Store, clock: ManualClock) -> None:
    lines = await asyncio.gather(*(Line.begin(store, clock, spawn(f"bg-{number:010d}")) for number in range(10)))
    await asyncio.gather(*(line.take(*[Send("x")] * 10) for line in lines))
    rows = [row for line in lines for row in await store.events(line.id, 0, None)]
    assert len({row.seq for row in rows}) == len(rows)
    for line in lines:
        assert await store.load(line.id) == line.committed


async def test_text_that_no_file_can_hold_is_stored_and_read_back_as_the_state_has_it(
    store: Store, clock: ManualClock
) -> None:
    """State, projections and log say the same: what is in memory is what the next owner will read."""
    bad = "lone \ud800 surrogate"
    given = replace(spawn(task=bad), purpose=bad, order=Order(agent="a", workspace=f"/w/{bad}"))
    line = await Line.begin(store, clock, given)
    await line.take(
        SessionReady(1, bad, bad, bad),
        Send(bad),
        Asked(1, "1-1", bad, (replace(REJECT, name=bad), Option(bad, bad, bad))),
        Heard(1, (MessageEntry("agent", bad, bad),)),
        PromptAnswered(1, f"{line.id}.t1", bad, 1, bad),
        ChannelClosed(1, bad),
    )
    assert await store.load(line.id) == line.committed
    kept = {type(row.event): row.event for row in await store.events(line.id, 0, None)}
    assert kept[TranscriptAdded] == TranscriptAdded(
        at=1_000, task_id=f"{line.id}.t1", entry=MessageEntry("agent", "lone ? surrogate", "lone ? surrogate")
    )
    assert {RequestOpened, RequestClosed, SessionOpened} <= set(kept) | {RequestClosed}
    (row,) = await store.query("SELECT purpose, workspace, session_id FROM subagent")
    assert set(row.values()) == {"lone ? surrogate", "/w/lone ? surrogate"}


async def test_a_caller_may_ask_with_text_that_no_file_can_hold(store: Store) -> None:
    bad = "\ud800"
    assert await store.load(bad) is None
    assert await store.query("SELECT * FROM subagent WHERE id = ?", bad) == []
    turn = await store.begin_turn(bad, bad, bad)
    assert await store.begin_turn(bad, bad, bad) == turn
    await store.commit_turn(turn.token)
    await store.mark_read(bad, bad, 1)


async def test_readers_are_woken_by_each_commit(store: Store, clock: ManualClock) -> None:
    line = await Line.begin(store, clock)
    tick = store.tick
    waiting = asyncio.ensure_future(store.changed(tick))
    await line.take(Send("x"))
    async with asyncio.timeout(30):
        await waiting
    assert store.tick == tick + 1
    async with asyncio.timeout(30):
        await store.changed(tick)


async def test_readers_are_woken_by_what_its_writer_does_not_wait_for_any_more(store: Store, path: Path) -> None:
    tick, begun = store.tick, threading.Event()
    store._database._connection.set_trace_callback(lambda sql: begun.set() if sql.startswith("BEGIN") else None)
    with write_lock(path):
        writing = asyncio.create_task(store.begin_turn("p", "mcp", "t"))
        assert await asyncio.to_thread(begun.wait, BOUND), "it never waits for the lock in the store's thread"
        writing.cancel()
        await asyncio.wait([writing])
    async with asyncio.timeout(BOUND):
        await store.changed(tick)
        assert await store.query("SELECT turn_id FROM turn") == [{"turn_id": "t"}]


async def test_everything_on_disk_is_its_owners_alone(path: Path, clock: ManualClock) -> None:
    async with Store.open(path, clock) as store:
        await Line.begin(store, clock)
        modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in path.parent.iterdir()}
        assert modes == dict.fromkeys(("store.db", "store.db-wal", "store.db-shm", "store.db.lock"), 0o600)
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


async def test_a_commit_that_returned_is_on_the_disk(store: Store, path: Path) -> None:
    """FULL: the write-ahead log is synced at each commit, so a power cut loses nothing that was acknowledged."""
    (mode,) = await store.query("PRAGMA journal_mode")
    (synchronous,) = await store.query("PRAGMA synchronous")
    assert (mode["journal_mode"], synchronous["synchronous"]) == ("wal", 2)


async def test_a_full_disk_is_told_and_heals(store: Store, clock: ManualClock, path: Path) -> None:
    line = await Line.begin(store, clock)
    (pages,) = await store.query("PRAGMA page_count")
    await store.query(f"PRAGMA max_page_count = {pages['page_count']}")
    with pytest.raises(StoreError, match=r"store\.db could not be written: database or disk is full"):
        await line.take(Send("x" * 100_000))
    before = line.committed
    assert await store.load(line.id) == before
    await store.query("PRAGMA max_page_count = 1000000")
    await line.take(Send("x" * 100_000))
    assert await store.load(line.id) == line.committed
    assert look(path, "PRAGMA integrity_check") == [("ok",)]
