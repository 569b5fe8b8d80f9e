"""One owner at a time, known by its pid; whoever was replaced writes nothing more."""

import asyncio
import fcntl
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

import pytest

from acp_runtime.clock import ManualClock
from acp_runtime.core.errors import StoreError, StoreOwned, StoreTooNew
from acp_runtime.core.inputs import Send
from acp_runtime.store.db import SCHEMA_VERSION
from acp_runtime.store.store import Store
from tests.integration.store.conftest import Line, look

BOUND = 30.0
OWN = """
import asyncio, sys
from pathlib import Path
from acp_runtime.clock import ManualClock
from acp_runtime.store.store import Store

async def main():
    async with Store.open(Path(sys.argv[1]), ManualClock()) as store:
        print(store.epoch, flush=True)
        await asyncio.to_thread(sys.stdin.read)

asyncio.run(main())
"""


@contextmanager
def owner(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that owns the store until its input ends."""
    argv = [sys.executable, "-c", OWN, str(path)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().strip().isdigit()
            yield process
        finally:
            process.kill()


def behind(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


def spoil(path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(b"this is not a database, whatever it is called" * 100)


def threads() -> list[str]:
    return [each.name for each in threading.enumerate() if each.name.startswith("store")]


async def test_a_second_owner_is_refused_and_told_the_pid_of_the_first(path: Path, clock: ManualClock) -> None:
    with owner(path) as process:
        with pytest.raises(StoreOwned, match=f"owned by the running process {process.pid};"):
            async with Store.open(path, clock):
                pass
        assert process.poll() is None


async def test_a_store_has_one_owner_also_within_one_process(path: Path, clock: ManualClock) -> None:
    async with Store.open(path, clock):
        with pytest.raises(StoreOwned, match=f"process {os.getpid()};"):
            async with Store.open(path, clock):
                pass
    async with Store.open(path, clock) as store:
        assert store.epoch == 2


async def test_an_owner_that_is_cancelled_while_it_closes_keeps_nobody_out(path: Path, clock: ManualClock) -> None:
    held = threading.Event()
    stack = AsyncExitStack()
    store = await stack.enter_async_context(Store.open(path, clock))
    reading = asyncio.ensure_future(store._database.read(lambda _: held.wait(BOUND)))
    closing = asyncio.create_task(stack.aclose())
    while store._database._lock >= 0:  # noqa: ASYNC110 - nobody is told
        await asyncio.sleep(0)
    closing.cancel()
    held.set()
    await asyncio.wait((closing, reading))
    assert closing.cancelled()
    async with Store.open(path, clock) as store:
        assert store.epoch == 2


async def test_a_killed_owner_leaves_nothing_that_keeps_the_next_out(path: Path, clock: ManualClock) -> None:
    with owner(path) as process:
        process.kill()
        process.wait()
        async with Store.open(path, clock) as store:
            assert store.epoch == 2


async def test_each_owner_has_a_higher_epoch_and_the_store_keeps_its_name(path: Path, clock: ManualClock) -> None:
    seen = []
    for _ in range(3):
        async with Store.open(path, clock) as store:
            seen.append((store.epoch, store.id))
    assert [epoch for epoch, _ in seen] == [1, 2, 3]
    assert len({name for _, name in seen}) == 1
    assert len(seen[0][1]) == 8


async def test_an_owner_that_was_passed_writes_nothing_at_all(store: Store, clock: ManualClock, path: Path) -> None:
    line = await Line.begin(store, clock)
    turn = await store.begin_turn("p", "python", "t1")
    behind(path, "UPDATE meta SET value = CAST(value AS INTEGER) + 1 WHERE key = 'epoch'")
    before = look(path, "SELECT count(*) FROM event")
    writes = (
        line.take(Send("x")),
        store.begin_turn("p", "python", "t2"),
        store.commit_turn(turn.token),
        store.mark_read("p", line.id, 1),
        store.rebuild(),
    )
    for write in writes:
        with pytest.raises(StoreOwned, match=r"was taken over \(epoch 2, this process has 1\)"):
            await write
    assert look(path, "SELECT count(*) FROM event") == before
    assert await store.load(line.id) == line.committed


async def test_every_event_carries_the_epoch_of_its_owner(path: Path, clock: ManualClock) -> None:
    for number in range(3):
        async with Store.open(path, clock) as store:
            await store.begin_turn("p", "python", f"t{number}")
    assert look(path, "SELECT epoch FROM event ORDER BY seq") == [(1,), (2,), (3,)]


async def test_a_newer_schema_is_refused_by_name_and_left_as_it_is(path: Path, clock: ManualClock) -> None:
    async with Store.open(path, clock):
        pass
    behind(path, f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    for _ in range(2):
        with pytest.raises(StoreTooNew, match=f"has schema {SCHEMA_VERSION + 1}, this version knows {SCHEMA_VERSION}"):
            async with Store.open(path, clock):
                pass
    assert look(path, "SELECT value FROM meta WHERE key = 'epoch'") == [("1",)]


async def test_a_file_that_is_no_database_is_told_with_its_path(path: Path, clock: ManualClock) -> None:
    spoil(path)
    for _ in range(2):
        with pytest.raises(StoreError, match=r"store\.db cannot be opened: file is not a database; move it away"):
            async with Store.open(path, clock):
                pass


async def test_a_folder_that_cannot_be_made_is_told_with_its_path(tmp_path: Path, clock: ManualClock) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"cannot be used: .*; choose another folder"):
        async with Store.open(tmp_path / "file" / "store.db", clock):
            pass


async def test_an_open_that_fails_after_the_lock_gives_the_lock_back(path: Path, clock: ManualClock) -> None:
    async with Store.open(path, clock):
        pass
    behind(path, "CREATE TRIGGER full BEFORE UPDATE ON meta BEGIN SELECT raise(ABORT, 'disk is full'); END")
    for _ in range(3):
        with pytest.raises(StoreError, match="disk is full"):
            async with Store.open(path, clock):
                pass
    assert threads() == []
    with (path.parent / "store.db.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


async def test_a_store_that_is_closed_says_so(path: Path, clock: ManualClock) -> None:
    async with Store.open(path, clock) as store:
        line = await Line.begin(store, clock)
    for use in (line.take(Send("x")), store.load(line.id), store.begin_turn("p", "d", "t"), store.query("SELECT 1")):
        with pytest.raises(StoreError, match=r"store\.db is closed"):
            await use


async def test_what_was_begun_before_the_close_is_finished(path: Path, clock: ManualClock) -> None:
    async with Store.open(path, clock) as store:
        line = await Line.begin(store, clock)
        writes = [asyncio.ensure_future(store.begin_turn("p", "d", f"t{number}")) for number in range(20)]
        await asyncio.wait([writes[0]], timeout=30)
    done = await asyncio.gather(*writes, return_exceptions=True)
    kept = [each for each in done if not isinstance(each, BaseException)]
    assert all(isinstance(each, StoreError) for each in done if isinstance(each, BaseException))
    assert look(path, "SELECT count(*) FROM turn") == [(len(kept),)]
    assert line.committed.version == 3
