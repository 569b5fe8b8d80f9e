"""Turns of parents. Over a store that refuses to write they go on, with nothing told or with the same told again."""

import logging
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager

from acp_runtime.callers import Caller, admitted, owner_of, turning_parent
from acp_runtime.clock import Clock
from acp_runtime.core.errors import StoreError, StoreOwned
from acp_runtime.core.turns import Form, Origin
from acp_runtime.manager.supervisor import Supervisor
from acp_runtime.service.bounds import word
from acp_runtime.service.reading import Reading
from acp_runtime.service.waking import wakeups
from acp_runtime.store.outbox import UNTOLD, TurnContext
from acp_runtime.store.store import Store
from acp_runtime.views import NudgeView, Wakeup

log = logging.getLogger(__name__)


async def begun(parent: str, beginning: Awaitable[TurnContext]) -> TurnContext:
    """Return the turn, or one that tells nothing: what is to be told stays for the next. Raises `StoreOwned`."""
    try:
        return await beginning
    except StoreOwned:
        raise
    except StoreError as error:
        log.warning("a turn of %s could not be stored, and tells nothing: %s", parent, error)
        return TurnContext(UNTOLD, "", ())


@contextmanager
def acknowledging(what: str) -> Iterator[None]:
    """Let something end whose acknowledgement cannot be stored: what was shown is shown again."""
    try:
        yield
    except StoreError as error:
        log.warning("%s could not be acknowledged, what it showed will be shown again: %s", what, error)


class Turnable:
    """The part of a `Runtime` that tells parents what is new, and hears that they have seen it."""

    _store: Store
    _supervisor: Supervisor
    _reading: Reading
    _clock: Clock

    async def begin_turn(
        self,
        caller: Caller,
        door: str,
        turn_id: str,
        *,
        origin: Origin = Origin.USER,
        form: Form = Form.BLOCK,
    ) -> TurnContext:
        """Return the roster and the nudges for one turn of a parent; the same turn id gives the same bytes.

        `origin` says who began the turn: its user, a wake-up, or an answer to a tool, of which one without a nudge is
        not stored. A turn that the disk refuses tells nothing. Raises `Rejected`: no_turns for the operator;
        invalid for a door or an id that is blank or too long.
        """
        parent = turning_parent("turn", caller)
        door, turn_id = word("door", door), word("turn_id", turn_id)
        return await begun(parent, self._store.begin_turn(parent, door, turn_id, origin=origin, form=form))

    async def commit_turn(self, token: str, *, only: tuple[str, ...] | None = None) -> None:
        """Acknowledge a turn, or `only` some of its nudges. Idempotent. Raises `Rejected` (unknown_turn)."""
        await self._store.commit_turn(token, only=only)

    @asynccontextmanager
    async def turn(self, caller: Caller, door: str = "python") -> AsyncIterator[TurnContext]:
        """One turn of a parent: commits on a clean exit; after an exception the nudges are offered again."""
        context = await self.begin_turn(caller, door, secrets.token_hex(8))
        yield context
        with acknowledging("a turn"):
            await self.commit_turn(context.token)

    async def wakeups(self, caller: Caller) -> AsyncGenerator[Wakeup]:
        """Say each time that there is something new to tell an idle parent; goes on until its reader leaves.

        Nothing is said any more after too many turns in a row that wake-ups began (`OutboxRules.wakes`), until the
        parent's user begins one. What is not read here is told at the parent's next turn all the same.
        """
        async with aclosing(wakeups(self._store, self._clock, turning_parent("wake-up", caller))) as told:
            async for wakeup in told:
                yield wakeup

    async def due(self, caller: Caller) -> Wakeup:
        """Return what would wake a parent now: nothing, too, after too many turns that only wake-ups began."""
        found = await self._store.wakeable(turning_parent("wake-up", caller))
        return Wakeup(found.nudges)

    async def nudges(
        self, caller: Caller, *, state: str | None = None, limit: int = 100, ids: tuple[str, ...] | None = None
    ) -> list[NudgeView]:
        """Return nudges, of `ids` where given, and how far they got, newest first; the operator sees all parents'."""
        return await self._reading.nudges(caller, state=state, limit=limit, ids=ids)

    async def revive(self, caller: Caller, nudge: str) -> None:
        """Offer a dead letter again. Raises `Rejected` (not_dead)."""
        await self._store.revive(owner_of(caller), nudge)

    async def alias(self, parent: str, alias: str) -> None:
        """Let a parent be called by another name too: its host has given its session a new id. Idempotent.

        Raises `Rejected` (alias_taken) for a name that another parent has as its alias.
        """
        await self._store.alias(admitted(parent), admitted(alias))
        await self._supervisor.rename()
