"""A real store on a real disk, and the ways to fill it and to look behind it."""

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from acp_runtime.clock import ManualClock
from acp_runtime.core.decide import decide
from acp_runtime.core.inputs import Input, Spawn
from acp_runtime.store.rebuild import TABLES
from acp_runtime.store.store import Committed, Store
from tests.histories import spawn

PARENT = "p"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "store.db"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(now=1_000)


@pytest.fixture
async def store(path: Path, clock: ManualClock) -> AsyncIterator[Store]:
    async with Store.open(path, clock) as opened:
        yield opened


class Line:
    """One subagent in a store: commits what its inputs decide, as its actor would."""

    def __init__(self, store: Store, clock: ManualClock) -> None:
        self._store = store
        self._clock = clock
        self.committed: Committed

    @classmethod
    async def begin(cls, store: Store, clock: ManualClock, given: Spawn | None = None) -> "Line":
        self = cls(store, clock)
        given = given or spawn()
        events, _ = decide(None, given, clock.now())
        self.committed = await store.commit(given.id, None, 0, events)
        return self

    @property
    def id(self) -> str:
        return self.committed.state.id

    async def take(self, *inputs: Input) -> None:
        for given in inputs:
            state, version = self.committed.state, self.committed.version
            events, _ = decide(state, given, self._clock.now())
            if events:
                self.committed = await self._store.commit(self.id, state, version, events)


async def dump(store: Store) -> dict[str, list[dict[str, Any]]]:
    """Return every row of every projection, and every word that can be searched."""
    await store.query("CREATE VIRTUAL TABLE IF NOT EXISTS temp.words USING fts5vocab(main, search, instance)")
    tables = {table: await store.query(f"SELECT * FROM {table} ORDER BY 1, 2") for table in TABLES}
    return tables | {"search": await store.query("SELECT * FROM words")}


def look(path: Path, sql: str, *values: object) -> list[tuple[Any, ...]]:
    """Read behind the store's back, with a connection of its own."""
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return connection.execute(sql, values).fetchall()
    finally:
        connection.close()
