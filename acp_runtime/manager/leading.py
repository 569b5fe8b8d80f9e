"""What a manager does for subagents that lead others: it is the one that prompts them, so it tells them of theirs.

Promises: nobody that a subagent leads outlives its stop, the deepest end first, and a manager that takes over goes on
with that. What those that it leads have to tell stands behind its next prompt, and is acknowledged by the answer, with
what its tools told it until then; what was lost on its way to it is told again. An idle one is woken for news when none
of its own works any more, or one asks; not for ever (`wakes`).
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Protocol

from acp_runtime.clock import Clock
from acp_runtime.core.errors import Rejected, StoreError, StoreOwned
from acp_runtime.core.inputs import Send, StopSubagent
from acp_runtime.core.lineage import PREFIX, name_of
from acp_runtime.core.model import Lifecycle, Reason, Subagent, Task, TaskState
from acp_runtime.core.turns import Origin
from acp_runtime.store.admission import ALIVE
from acp_runtime.store.store import Store

if TYPE_CHECKING:
    from acp_runtime.manager.actor import Actor  # which is run among what this belongs to

log = logging.getLogger(__name__)


class Answered(Protocol):
    """Is called when a subagent has answered a prompt. `read`: it has read before what its tools told it."""

    def __call__(self, *, read: bool) -> Awaitable[None]: ...


DOOR: Final = "prompt"
AGAIN_MS: Final = 1_000
WAKE: Final = (
    "(From the manager: there is news of your subagents, see below. Go on with your task; when nothing is left to do, "
    "answer with its whole result.)"
)
_ORPHANS: Final = (
    f"SELECT led.id FROM subagent AS led LEFT JOIN subagent AS lead ON lead.id = substr(led.parent, {len(PREFIX) + 1}) "  # noqa: S608
    f"WHERE led.{ALIVE} AND led.parent LIKE '{PREFIX}%' AND coalesce(lead.lifecycle, 'failed') IN ('stopped', 'failed')"
)
_AT_WORK: Final = (
    "SELECT 1 FROM subagent JOIN task ON task.subagent = subagent.id "  # noqa: S608 - a constant
    f"WHERE subagent.parent = ? AND subagent.{ALIVE} AND task.ended_seq IS NULL LIMIT 1"
)
_ASKING: Final = "SELECT 1 FROM nudge WHERE parent = ? AND state = 'pending' AND kind = 'needs_input'"


class Leading:
    """All that lead others in one store; `actor` gives who lives, `wakes` what is configured by now."""

    def __init__(
        self, store: Store, clock: Clock, actor: Callable[[str], "Actor | None"], *, wakes: Callable[[], int]
    ) -> None:
        self._store = store
        self._clock = clock
        self._actor = actor
        self._wakes = wakes
        self._telling: dict[str, list[Answered]] = {}

    @contextmanager
    def telling(self, subagent: str, answered: Answered) -> Iterator[None]:
        """Call this, inside the block, each time that a subagent has answered a prompt."""
        sessions = self._telling.setdefault(subagent, [])
        sessions.append(answered)
        try:
            yield
        finally:
            sessions.remove(answered)
            if not sessions:
                del self._telling[subagent]

    async def disband(self, state: Subagent) -> None:
        """End all that a subagent leads. The caller sets the bound."""
        subagent, why = state.id, "" if state.stop is None else state.stop.cause
        while True:
            tick = self._store.tick
            rows = await self._store.query(f"SELECT id FROM subagent WHERE parent = ? AND {ALIVE}", name_of(subagent))  # noqa: S608
            if not rows:
                return
            found = [actor for row in rows if (actor := self._actor(row["id"])) is not None]
            for actor in found:
                actor.tell(StopSubagent(Reason.PARENT_ENDED, "manager", f"{subagent}, which led it, ended: {why}"))
            if found:
                await asyncio.gather(*(actor.over.wait() for actor in found))
            else:
                await self._store.changed(tick)

    async def end_orphans(self) -> None:
        """Begin the end of those whose leader has ended without them."""
        for row in await self._store.query(_ORPHANS):
            if (actor := self._actor(row["id"])) is not None:
                actor.tell(StopSubagent(Reason.PARENT_ENDED, "manager", "the subagent that led it had ended"))

    async def told(self, state: Subagent, task_id: str) -> str:
        """Return what stands behind a task in its prompt: who a subagent leads, and what is new of them."""
        task = state.task(task_id)
        if task is None or not state.order.lineage.leads:
            return ""
        origin = Origin.WAKE if task.woken else Origin.USER
        try:
            turn = await self._store.begin_turn(name_of(state.id), DOOR, _turn(task), origin=origin)
        except StoreOwned:
            raise
        except StoreError as error:
            log.warning("what is new for %s could not be stored, and is told later: %s", state.id, error)
            return ""
        return turn.text

    async def seen(self, state: Subagent, task_id: str, *, cancelled: bool) -> None:
        """Acknowledge all that a subagent was shown until it answered this prompt, in it and by its tools.

        One that was `cancelled` left its calls alone: what they told last is told again.
        """
        task = state.task(task_id)
        if task is None:
            return
        shown = "SELECT token FROM turn WHERE parent = ? AND turn_id = ? AND committed_seq IS NULL"
        try:
            turns = (name_of(state.id), _turn(task))
            for row in await self._store.query(shown, *turns) if state.order.lineage.leads else ():
                await self._store.commit_turn(row["token"])
            for answered in tuple(self._telling.get(state.id, ())):
                await answered(read=not cancelled)
        except StoreOwned:
            raise
        except StoreError as error:
            log.warning("what %s was told could not be acknowledged, and is told again: %s", state.id, error)

    async def watch(self, actor: "Actor") -> None:
        """Wake a subagent each time that it is idle and there is news of those that it leads, until cancelled."""
        parent = name_of(actor.state.id)
        while True:
            tick = self._store.tick
            try:
                again = await self._look(actor, parent)
            except StoreOwned:
                return
            except StoreError as error:
                log.warning("%s could not be woken, and is tried again: %s", actor.state.id, error)
                again = self._clock.now() + AGAIN_MS
            await woken(self._store, self._clock, tick, again)

    async def _look(self, actor: "Actor", parent: str) -> int | None:
        """Wake a subagent that is idle and has news; return when a claim runs out by which it has more."""
        if not (most := self._wakes()) or not _idle(actor.state):
            return None
        # What the answer of its prompt did not acknowledge never came to it; after a failure it is spared that.
        found = await self._store.wakeable(parent, wakes=most, held=_failed(actor.state))
        if found.nudges and await self._is_time(parent):
            await self._wake(actor)
        return found.again

    async def _is_time(self, parent: str) -> bool:
        return bool(await self._store.query(_ASKING, parent)) or not await self._store.query(_AT_WORK, parent)

    async def _wake(self, actor: "Actor") -> None:
        try:
            await actor.ask(Send(WAKE, woken=True))
        except Rejected as error:
            if error.kind != "not_running":  # it was stopped since it was found idle
                log.warning("%s could not be woken: %s", actor.state.id, error)


def _failed(state: Subagent) -> bool:
    return any(task.state is TaskState.FAILED for task in state.tasks[-1:])


def _turn(task: Task) -> str:
    return f"{task.id}.{task.deliveries}"


def _idle(state: Subagent) -> bool:
    return state.lifecycle is Lifecycle.READY and all(task.state.over for task in state.tasks)


async def woken(store: Store, clock: Clock, tick: int, again: int | None) -> None:
    """Return when something was committed after `tick` was read, or when a claim runs out at the moment `again`."""
    changed = asyncio.ensure_future(store.changed(tick))
    both = {changed} if again is None else {changed, asyncio.ensure_future(clock.until(again))}
    try:
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in both:
            each.cancel()
