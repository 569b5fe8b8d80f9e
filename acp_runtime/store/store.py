"""The event log with its projections: the only thing that is written, and what is read back from it.

Wherever a parent is named, one of its aliases will do. What is about turns of parents stands in `turning`.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from acp_runtime.clock import Clock
from acp_runtime.core.admission import Admission, Share, Taken
from acp_runtime.core.events import Event
from acp_runtime.core.evolve import evolve
from acp_runtime.core.metering import Call
from acp_runtime.core.model import Subagent
from acp_runtime.core.timers import milliseconds
from acp_runtime.core.turns import OutboxRules, SubagentRead
from acp_runtime.store import books, retention
from acp_runtime.store.admission import check_admission
from acp_runtime.store.awake import left_at, note, older
from acp_runtime.store.codec import decode, encode, storable, storable_value
from acp_runtime.store.db import Database
from acp_runtime.store.disk import need_room
from acp_runtime.store.outbox import wall_text
from acp_runtime.store.ownership import put_launcher, put_lease
from acp_runtime.store.parents import forgotten, read_up_to, resolve
from acp_runtime.store.projections import Row, fold
from acp_runtime.store.rebuild import rebuild
from acp_runtime.store.retention import Ended, Figures
from acp_runtime.store.search import Found, search
from acp_runtime.store.shares import taken
from acp_runtime.store.turning import ParentTurns

_ROWS: Final = "SELECT seq, stream, version, kind, data, wall, boot FROM event WHERE stream = ?"


@dataclass(frozen=True, slots=True)
class Committed:
    """The result of a commit: the subagent's state and stream version after it."""

    state: Subagent
    version: int


class Store(ParentTurns):
    """One store, owned by this process until `close`. Commits are serialised; readers are woken after each."""

    def __init__(self, database: Database, clock: Clock, rules: OutboxRules) -> None:
        self._database = database
        self._clock = clock
        self._rules = rules
        self._changed = asyncio.Condition()
        self.tick = 0

    @classmethod
    @asynccontextmanager
    async def open(
        cls, path: Path, clock: Clock, rules: OutboxRules | None = None, *, supplant: bool = False
    ) -> AsyncIterator["Store"]:
        """Own the store at `path` inside the block; with `supplant` also when its owner has let its lease lapse.

        Nudges whose parents took no turn for too long become dead letters. Raises what `Database.open` raises.
        """
        database = await Database.open(path, supplant_at=(clock.boot, clock.now()) if supplant else None)
        try:
            self = cls(database, clock, rules or OutboxRules())
            await self.bury()
            yield self
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

    async def renew_lease(self, seconds: float) -> None:
        """Promise to renew again within `seconds`; who does not may be replaced. Raises `StoreOwned` when it was."""
        boot, now = self._clock.boot, self._clock.now()

        def work(connection: sqlite3.Connection) -> None:
            note(connection, boot, now)
            put_lease(connection, (boot, now + milliseconds(seconds)))

        await self._database.write(work)

    async def run_by(self, launcher: str) -> None:
        """Note how the agents of this store are run. Raises `OtherLauncher` while open ones were run in another way."""
        await self._database.write(lambda connection: put_launcher(connection, launcher))

    # ---- the log

    async def commit(
        self,
        stream: str,
        before: Subagent | None,
        version: int,
        events: Sequence[Event],
        *,
        admit: Admission | None = None,
    ) -> Committed:
        """Append a subagent's events after `version` and project them, durably and at once.

        With `admit` the subagent takes a place first, in the same transaction. Raises `Rejected` (limit_reached,
        parent_ended, budget_reached), `StoreConflict` when the stream has moved on (another writer), `StoreFull` when
        the disk has no room, and for one more subagent already when it has little, and other `StoreError`s; nothing is
        kept then.
        """
        if admit is not None:
            await asyncio.to_thread(need_room, self._database.path)

        def work(connection: sqlite3.Connection) -> Subagent:
            if admit is not None:
                asking = before if before is not None else evolve(None, events[0])
                check_admission(connection, admit, asking, self._moment(), born=before is None)
            return fold(connection, before, self._append(connection, stream, version, events))

        state = await self._write_and_wake(work)
        return Committed(state, version + len(events))

    def _append(self, connection: sqlite3.Connection, stream: str, version: int, events: Sequence[Event]) -> list[Row]:
        wall = wall_text(self._clock.wall())
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

    def _append_alone(self, connection: sqlite3.Connection, stream: str, event: Event) -> Row:
        """Append to a stream that has no one writer."""
        last = connection.execute("SELECT coalesce(max(version), 0) FROM event WHERE stream = ?", (stream,)).fetchone()
        return self._append(connection, stream, last[0], [event])[0]

    async def load(self, subagent: str) -> Committed | None:
        """Return a subagent as its log tells it, or None when the log does not know it."""
        rows = await self.events(subagent, since=0, limit=None)
        state: Subagent | None = None
        for row in rows:
            state = evolve(state, row.event)
        return Committed(state, rows[-1].version) if state is not None else None

    async def left_at(self, stream: str) -> int | None:
        """Return how far the clock had come of the boot in which a stream was left; None where it is this one."""
        return await self._database.read(lambda connection: left_at(connection, stream, self._clock.boot))

    async def events(self, stream: str, since: int, limit: int | None) -> list[Row]:
        """Return the events of one stream with `seq > since`, oldest first."""

        def work(connection: sqlite3.Connection) -> list[Row]:
            found = connection.execute(
                f"{_ROWS} AND seq > ? ORDER BY seq LIMIT ?", (storable(stream), since, -1 if limit is None else limit)
            )
            return list(map(_row, found))

        return await self._database.read(work)

    async def newest(self, stream: str, limit: int, *, task: str | None = None) -> list[Row]:
        """Return the newest events of one stream, or those of one task in it, oldest first."""

        def work(connection: sqlite3.Connection) -> list[Row]:
            found = connection.execute(
                f"{_ROWS} AND (? IS NULL OR json_extract(data, '$.task_id') = ?) ORDER BY seq DESC LIMIT ?",
                (storable(stream), task, storable_value(task), limit),
            )
            return list(map(_row, found))[::-1]

        return await self._database.read(work)

    # ---- subagents

    async def forgotten(self, parent: str | None, subagent: str) -> bool:
        """Return whether a subagent's log was deleted: a cursor into it has expired. None asks for any parent's."""
        subagent = storable(subagent)
        return await self._database.read(lambda connection: forgotten(connection, storable_value(parent), subagent))

    async def taken(self, subagent: str, shares: Sequence[Share]) -> tuple[Taken, ...]:
        """Return how far the tree and the parent of a subagent have come, in the order of `shares`; () if unknown."""

        def work(connection: sqlite3.Connection) -> tuple[Taken, ...]:
            rows = connection.execute("SELECT above FROM kin WHERE subagent = ? ORDER BY up", (storable(subagent),))
            parents = tuple(str(row["above"]) for row in rows)
            now = self._moment()
            return tuple(taken(connection, each, subagent, parents, now) for each in shares if parents)

        return await self._database.read(work)

    async def search(self, parent: str | None, query: str, *, limit: int = 20) -> list[Found]:
        """Return tasks in which the words of a query stand, best first; None searches those of all parents."""
        query = storable(query)
        return await self._database.read(lambda connection: search(connection, storable_value(parent), query, limit))

    async def prune(
        self, parent: str | None, *, older_than: float, dry_run: bool = False, only: AbstractSet[str] | None = None
    ) -> tuple[Ended, ...]:
        """Delete whole logs of what ended more than `older_than` seconds ago and has nothing to tell any more.

        Nudges that wait for parents that took no turn for too long become dead letters, which stay as long again. Time
        counts while the machine is awake. Returns what was, or with `dry_run` would be deleted, at most
        `retention.MAX_AT_ONCE`; volumes of what is `kept` are the caller's to discard first, who names in `only` what
        may go. None prunes for all parents. Others read and write between one log and the next.
        """
        parent, step = storable_value(parent), self._database.read if dry_run else self._database.write

        def look(connection: sqlite3.Connection) -> tuple[int, tuple[str, ...]]:
            before = older(connection, self._clock.boot, self._clock.now(), older_than)
            return before, retention.deletable(connection, parent, before)

        def one(connection: sqlite3.Connection, subagent: str) -> Ended | None:
            if not retention.deletable(connection, parent, before, only=subagent):
                return None  # it was started again since
            ended = retention.ended(connection, subagent)
            if not dry_run:
                self._forget(connection, ended, "retention")
            return ended

        if not dry_run:
            await self.bury()
        before, found = await self._database.read(look)
        steps = [await step(partial(one, subagent=each)) for each in found if only is None or each in only]
        if not dry_run:
            await self._write_and_wake(lambda connection: retention.forget_turns(connection, before))
            while await self._database.read(retention.give_back):
                pass
        return tuple(filter(None, steps))

    async def remove(self, subagent: str, *, by: str) -> None:
        """Delete the whole log of one ended subagent. Raises `Rejected` (still_open, not_acknowledged)."""

        def work(connection: sqlite3.Connection) -> None:
            self._forget(connection, retention.removable(connection, storable(subagent), by=by), by)

        await self._write_and_wake(work)

    def _forget(self, connection: sqlite3.Connection, ended: Ended, by: str) -> None:
        fact = retention.forget(connection, ended, by=by, now=self._clock.now())
        self._append_parent(connection, ended.parent, fact)

    async def figures(self, parent: str | None) -> Figures:
        """Return what the store holds of a parent, or of all for None, and how large it is."""
        return await self._database.read(lambda connection: retention.figures(connection, storable_value(parent)))

    async def read_up_to(self, parent: str, subagent: str) -> int:
        """Return how far a parent has read a subagent's log; 0 when it never did."""
        parent, subagent = storable(parent), storable(subagent)
        return await self._database.read(lambda connection: read_up_to(connection, parent, subagent))

    async def mark_read(self, parent: str, subagent: str, seq: int) -> None:
        """Record that a parent has read a subagent's log up to `seq`."""
        parent, subagent = storable(parent), storable(subagent)

        def work(connection: sqlite3.Connection) -> None:
            owner = resolve(connection, parent)
            event = SubagentRead(at=self._clock.now(), parent=owner, subagent=subagent, seq=seq)
            self._append_parent(connection, owner, event)

        await self._database.write(work)

    # ---- calls of models

    async def book(self, calls: Sequence[Call], place: str) -> None:
        """Charge tasks and subagents with calls of models, up to a place in the ledger. Wakes nobody: it is no news."""
        now = self._clock.now()
        await self._database.write(lambda connection: books.book(connection, calls, place, self._append_alone, now))

    # ---- the rest

    async def query(self, sql: str, *values: Any) -> list[dict[str, Any]]:
        """Return the rows of a SELECT over the projections."""
        (rows,) = await self.queries((sql, values))
        return rows

    async def queries(self, *asked: tuple[str, tuple[Any, ...]]) -> list[list[dict[str, Any]]]:
        """Return the rows of several SELECTs, all as of one moment: no commit comes between them."""

        def work(connection: sqlite3.Connection) -> list[list[dict[str, Any]]]:
            return [
                [dict(row) for row in connection.execute(sql, tuple(storable_value(each) for each in values))]
                for sql, values in asked
            ]

        return await self._database.read(work)

    async def rebuild(self) -> None:
        """Make every projection again from the log, in one transaction."""
        await self._database.write(rebuild)

    async def changed(self, tick: int) -> None:
        """Return when something was committed after `tick` was read. Unbounded: the caller bounds it."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.tick > tick)


def _row(raw: sqlite3.Row) -> Row:
    return Row(raw["seq"], raw["stream"], raw["version"], decode(raw["kind"], raw["data"]), raw["wall"], raw["boot"])
