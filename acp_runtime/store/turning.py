"""The part of a store that holds the turns of parents, their other names, and what they are told.

Wherever a parent is named, one of its aliases will do.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import replace

from acp_runtime.clock import Clock
from acp_runtime.core.errors import Rejected
from acp_runtime.core.events import Event
from acp_runtime.core.plaintext import one_line
from acp_runtime.core.turns import Form, NudgesRevived, Origin, OutboxRules, ParentAliased, TurnCommitted
from acp_runtime.store import outbox
from acp_runtime.store.awake import note
from acp_runtime.store.codec import storable
from acp_runtime.store.db import Database, T
from acp_runtime.store.outbox import Asking, Moment, TurnContext
from acp_runtime.store.parents import fold_parent, resolve, stream_of
from acp_runtime.store.projections import Row


class ParentTurns:
    """Of one store. Every write here wakes its readers."""

    _database: Database
    _clock: Clock
    _rules: OutboxRules
    _changed: asyncio.Condition
    tick: int
    _append_alone: Callable[[sqlite3.Connection, str, Event], Row]

    async def begin_turn(
        self, parent: str, door: str, turn_id: str, *, origin: Origin = Origin.USER, form: Form = Form.BLOCK
    ) -> TurnContext:
        """Return what this turn shows; nudges in it are claimed by the door. Idempotent by (parent, turn_id).

        An answer's turn that tells no nudge is not stored, since each call of a tool has one: its token is `UNTOLD`.
        """
        parent, door, turn_id = storable(parent), storable(door), storable(turn_id)

        def work(connection: sqlite3.Connection) -> TurnContext:
            asking = Asking(resolve(connection, parent), door, turn_id, origin, form)
            known = outbox.known_turn(connection, asking.parent, turn_id)
            if known is not None:
                return known
            at = self._moment()
            if (died := outbox.worn_out(connection, asking, at, self._rules)) is not None:
                self._append_parent(connection, asking.parent, died)
            event = outbox.draft_turn(connection, asking, at, self._rules)
            if origin is Origin.ANSWER and not event.nudges:
                return TurnContext(outbox.UNTOLD, event.text, ())
            self._append_parent(connection, asking.parent, event)
            return TurnContext(event.token, event.text, event.nudges)

        return await self._write_and_wake(work)

    async def commit_turn(self, token: str, *, only: Sequence[str] | None = None) -> None:
        """Acknowledge a turn, or `only` some of its nudges: they are never shown again.

        Idempotent; raises `Rejected` for an unknown token.
        """
        token = storable(token)
        if token == outbox.UNTOLD:
            return

        def work(connection: sqlite3.Connection) -> None:
            row = connection.execute("SELECT parent, committed_seq FROM turn WHERE token = ?", (token,)).fetchone()
            if row is None:
                shown = one_line(token, 60)
                raise Rejected("unknown_turn", f"no turn has the token {shown!r}; use the one that begin_turn returned")
            if row["committed_seq"] is None:
                seen = None if only is None else tuple(map(storable, only))
                event = TurnCommitted(at=self._clock.now(), token=token, parent=row["parent"], only=seen)
                self._append_parent(connection, row["parent"], event)

        await self._write_and_wake(work)

    async def alias(self, parent: str, alias: str) -> None:
        """Let `alias` name `parent` too, with all that it owned itself. Idempotent.

        Raises `Rejected` (alias_taken) for a name that another parent has as its alias.
        """
        parent, alias = storable(parent), storable(alias)

        def work(connection: sqlite3.Connection) -> None:
            owner, known = resolve(connection, parent), resolve(connection, alias)
            if known == owner:
                return
            if known != alias:
                raise Rejected("alias_taken", f"{alias!r} is another name of another parent; use a name of its own")
            event = ParentAliased(at=self._clock.now(), parent=owner, alias=alias)
            self._append_parent(connection, owner, event)

        await self._write_and_wake(work)

    async def resolve(self, parent: str) -> str:
        """Return the parent that a name belongs to: the name itself where it is no alias."""
        return await self._database.read(lambda connection: resolve(connection, storable(parent)))

    async def wakeable(self, parent: str, *, wakes: int | None = None, held: bool = True) -> outbox.Wakeable:
        """Return the nudges that would wake a parent now; none once the loop guard holds, after `wakes` or as usual.

        With `held`, not those that a door holds.
        """
        rules = self._rules if wakes is None else replace(self._rules, wakes=wakes)

        def work(connection: sqlite3.Connection) -> outbox.Wakeable:
            return outbox.wakeable(connection, resolve(connection, storable(parent)), self._moment(), rules, held=held)

        return await self._database.read(work)

    async def bury(self) -> tuple[str, ...]:
        """Make dead letters of nudges whose parents took no turn for too long; return their ids."""
        return await self._write_and_wake(self._bury)

    def _bury(self, connection: sqlite3.Connection) -> tuple[str, ...]:
        note(connection, self._clock.boot, self._clock.now())
        facts = outbox.abandoned(connection, self._moment(), self._rules)
        for fact in facts:
            self._append_parent(connection, fact.parent, fact)
        return tuple(nudge for fact in facts for nudge in fact.nudges)

    async def revive(self, parent: str | None, nudge: str) -> None:
        """Offer a dead letter of a parent again, or of any for None. Raises `Rejected` (not_dead) for what is none."""

        def work(connection: sqlite3.Connection) -> None:
            row = connection.execute("SELECT parent, state FROM nudge WHERE id = ?", (storable(nudge),)).fetchone()
            foreign = row is not None and parent is not None and resolve(connection, storable(parent)) != row["parent"]
            if row is None or foreign or row["state"] != "dead":
                state = "unknown" if row is None or foreign else row["state"]
                shown = one_line(nudge, 60)
                raise Rejected("not_dead", f"the nudge {shown!r} is {state}; only a dead one can be offered again")
            event = NudgesRevived(at=self._clock.now(), parent=row["parent"], nudges=(nudge,))
            self._append_parent(connection, row["parent"], event)

        await self._write_and_wake(work)

    def _append_parent(self, connection: sqlite3.Connection, parent: str, event: Event) -> None:
        row = self._append_alone(connection, stream_of(parent), event)
        fold_parent(connection, row.event, seq=row.seq, wall=row.wall, boot=row.boot)

    def _moment(self) -> Moment:
        return Moment(self._clock.now(), self._clock.boot, self._clock.wall())

    async def _write_and_wake(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            result = await self._database.write(work)
        except asyncio.CancelledError:
            await self._wake()  # it is written all the same, unless it had not begun; who reads now reads behind it
            raise
        await self._wake()
        return result

    async def _wake(self) -> None:
        async with self._changed:
            self.tick += 1
            self._changed.notify_all()
