"""The event log with its projections: the only thing that is written, and what is read back from it."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from acp_runtime.clock import Clock
from acp_runtime.core.errors import Rejected
from acp_runtime.core.events import Event
from acp_runtime.core.evolve import evolve
from acp_runtime.core.model import Subagent
from acp_runtime.core.turns import SubagentRead, TurnCommitted
from acp_runtime.store.codec import decode, encode, storable
from acp_runtime.store.db import Database
from acp_runtime.store.outbox import TurnContext, draft_turn, known_turn
from acp_runtime.store.projections import Row, fold, fold_parent, rebuild


@dataclass(frozen=True, slots=True)
class Committed:
    """The result of a commit: the subagent's state and stream version after it."""

    state: Subagent
    version: int


class Store:
    """One store, owned by this process until `close`. Commits are serialised; readers are woken after each."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._changed = asyncio.Condition()
        self.tick = 0

    @classmethod
    @asynccontextmanager
    async def open(cls, path: Path, clock: Clock) -> AsyncIterator["Store"]:
        """Own the store at `path` inside the block. Raises the `StoreError`s of `Database.open`."""
        database = await Database.open(path)
        try:
            yield cls(database, clock)
        finally:
            await database.close()

    @property
    def epoch(self) -> int:
        """The number of this ownership; a later owner has a higher one."""
        return self._database.epoch

    @property
    def id(self) -> str:
        """The store's own name, made with it: eight hexadecimal digits."""
        return self._database.store_id

    async def commit(self, stream: str, before: Subagent | None, version: int, events: Sequence[Event]) -> Committed:
        """Append a subagent's events after `version` and project them, durably and at once.

        Raises `StoreConflict` when the stream has moved on (another writer) and other `StoreError`s when the disk
        refuses; nothing is kept then.
        """

        def work(connection: sqlite3.Connection) -> Subagent:
            return fold(connection, before, self._append(connection, stream, version, events))

        state = await self._database.write(work)
        await self._wake()
        return Committed(state, version + len(events))

    def _append(self, connection: sqlite3.Connection, stream: str, version: int, events: Sequence[Event]) -> list[Row]:
        wall = self._clock.wall().isoformat(timespec="milliseconds").replace("+00:00", "")
        rows = []
        for offset, event in enumerate(events, start=1):
            # What is folded is what the next owner will read, so that memory, projections and log say the same.
            kind, data, kept = encode(event)
            cursor = connection.execute(
                "INSERT INTO event (stream, version, kind, data, wall, boot, epoch) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (stream, version + offset, kind, data, wall, self._clock.boot, self.epoch),
            )
            rows.append(Row(cursor.lastrowid or 0, stream, version + offset, kept, wall, self._clock.boot))
        return rows

    async def begin_turn(self, parent: str, door: str, turn_id: str) -> TurnContext:
        """Return what this turn shows; nudges in it are claimed by the door. Idempotent by (parent, turn_id)."""
        parent, door, turn_id = storable(parent), storable(door), storable(turn_id)

        def work(connection: sqlite3.Connection) -> TurnContext:
            known = known_turn(connection, parent, turn_id)
            if known is not None:
                return known
            now, boot = self._clock.now(), self._clock.boot
            event = draft_turn(connection, parent=parent, door=door, turn_id=turn_id, now=now, boot=boot)
            self._append_parent(connection, parent, event)
            return TurnContext(event.token, event.text, event.nudges)

        return await self._database.write(work)

    async def commit_turn(self, token: str) -> None:
        """Acknowledge a turn: its nudges are never shown again. Idempotent; raises `Rejected` for an unknown token."""
        token = storable(token)

        def work(connection: sqlite3.Connection) -> None:
            row = connection.execute("SELECT parent, committed_seq FROM turn WHERE token = ?", (token,)).fetchone()
            if row is None:
                raise Rejected("unknown_turn", f"no turn has the token {token!r}; use the one that begin_turn returned")
            if row["committed_seq"] is None:
                event = TurnCommitted(at=self._clock.now(), token=token, parent=row["parent"])
                self._append_parent(connection, row["parent"], event)

        await self._database.write(work)

    async def read_up_to(self, parent: str, subagent: str) -> int:
        """Return how far a parent has read a subagent's log; 0 when it never did."""
        rows = await self.query("SELECT read_seq FROM cursor WHERE parent = ? AND subagent = ?", parent, subagent)
        return int(rows[0]["read_seq"]) if rows else 0

    async def mark_read(self, parent: str, subagent: str, seq: int) -> None:
        """Record that a parent has read a subagent's log up to `seq`."""
        parent, subagent = storable(parent), storable(subagent)

        def work(connection: sqlite3.Connection) -> None:
            event = SubagentRead(at=self._clock.now(), parent=parent, subagent=subagent, seq=seq)
            self._append_parent(connection, parent, event)

        await self._database.write(work)

    def _append_parent(self, connection: sqlite3.Connection, parent: str, event: Event) -> None:
        stream = f"parent:{parent}"
        last = connection.execute("SELECT coalesce(max(version), 0) FROM event WHERE stream = ?", (stream,)).fetchone()
        for row in self._append(connection, stream, last[0], [event]):
            fold_parent(connection, row)

    async def load(self, subagent: str) -> Committed | None:
        """Return a subagent as its log tells it, or None when the log does not know it."""
        rows = await self.events(subagent, since=0, limit=None)
        state: Subagent | None = None
        for row in rows:
            state = evolve(state, row.event)
        return Committed(state, rows[-1].version) if state is not None else None

    async def spans_boots(self, stream: str) -> bool:
        """Return whether a stream holds readings of another boot's clock."""
        found = await self.query("SELECT 1 FROM event WHERE stream = ? AND boot <> ? LIMIT 1", stream, self._clock.boot)
        return bool(found)

    async def events(self, stream: str, since: int, limit: int | None) -> list[Row]:
        """Return the events of one stream with `seq > since`, oldest first."""

        def work(connection: sqlite3.Connection) -> list[Row]:
            found = connection.execute(
                "SELECT seq, stream, version, kind, data, wall, boot FROM event WHERE stream = ? AND seq > ? "
                "ORDER BY seq LIMIT ?",
                (storable(stream), since, -1 if limit is None else limit),
            )
            return [Row(raw[0], raw[1], raw[2], decode(raw[3], raw[4]), raw[5], raw[6]) for raw in found]

        return await self._database.read(work)

    async def query(self, sql: str, *values: Any) -> list[dict[str, Any]]:
        """Return the rows of a SELECT over the projections."""
        (rows,) = await self.queries((sql, values))
        return rows

    async def queries(self, *asked: tuple[str, tuple[Any, ...]]) -> list[list[dict[str, Any]]]:
        """Return the rows of several SELECTs, all as of one moment: no commit comes between them."""

        def work(connection: sqlite3.Connection) -> list[list[dict[str, Any]]]:
            return [[dict(row) for row in connection.execute(sql, _storable(values))] for sql, values in asked]

        return await self._database.read(work)

    async def rebuild(self) -> None:
        """Make every projection again from the log, in one transaction."""
        await self._database.write(rebuild)

    async def _wake(self) -> None:
        async with self._changed:
            self.tick += 1
            self._changed.notify_all()

    async def changed(self, tick: int) -> None:
        """Return when a subagent's events were committed after `tick` was read. Unbounded: the caller bounds it."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.tick > tick)


def _storable(values: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(storable(each) if isinstance(each, str) else each for each in values)
