"""One actor per subagent: take an input or a deadline, decide, commit the events, then act.

The actor is the only writer of its subagent's stream. Its inbox needs no limit of its own: every sender waits for its
input to be handled, or is one of the few tasks of the actor's performer.
"""

import asyncio
import logging
from collections import deque
from typing import Final

from acp_runtime.clock import Clock
from acp_runtime.core.decide import decide
from acp_runtime.core.errors import Rejected, StoreConflict, StoreError, StoreOwned
from acp_runtime.core.events import Event
from acp_runtime.core.inputs import Command, DeadlinePassed, Input, Observation, StopSubagent
from acp_runtime.core.model import Subagent
from acp_runtime.core.timers import next_deadline, outstanding
from acp_runtime.manager.performer import Performer
from acp_runtime.manager.surroundings import Surroundings
from acp_runtime.store.store import Committed, Store

log = logging.getLogger(__name__)

RETRY_MS: Final = 1_000

Answered = asyncio.Future[tuple[Event, ...]]
Item = tuple[Input, Answered | None]


class Actor:
    """Runs one subagent from its admission to its end."""

    def __init__(self, committed: Committed, *, store: Store, clock: Clock) -> None:
        self.state: Subagent = committed.state
        self._version = committed.version
        self._store = store
        self._clock = clock
        self._inbox: deque[Item] = deque()
        self._arrived = asyncio.Event()
        self._ahead: int | None = None
        self.performer: Performer | None = None
        self._running = True
        self.over = asyncio.Event()

    def tell(self, given: Observation | StopSubagent) -> None:
        """Queue what the shell saw, or a stop that nobody waits for."""
        self._put(given, None)

    async def ask(self, given: Input) -> tuple[Event, ...]:
        """Have an input decided; returns the events that it became once they are durable.

        Raises `Rejected` or `StoreError`.
        """
        if not self._running:
            self._turn_down(given)
            return ()
        done: Answered = asyncio.get_running_loop().create_future()
        self._put(given, done)
        return await done

    def _put(self, given: Input, done: Answered | None) -> None:
        self._inbox.append((given, done))
        self._arrived.set()

    async def run(self, around: Surroundings) -> None:
        """Work until the subagent is over. When cancelled, the agent is ended and nothing more is written.

        When another manager owns the store, the agent is left alone.
        """
        performer = self.performer = Performer(around)
        end = performer.close
        try:
            for effect in outstanding(self.state):
                performer.perform(effect)
            while not self.state.lifecycle.over:
                await self._handle(*await self._next())
        except StoreOwned:
            end = performer.release
            raise
        finally:
            self._running = False
            try:
                await end()
            finally:
                self._refuse_rest()
                self.over.set()

    async def _next(self) -> Item:
        while True:
            deadline = next_deadline(self.state)
            if deadline is not None and deadline <= self._clock.now():
                return self._when_due()
            self._ahead = None
            if self._inbox:
                return self._inbox.popleft()
            self._arrived.clear()
            await self._wait(deadline)

    def _when_due(self) -> Item:
        """Return what had come in by now before the deadline, but do not let what keeps coming in hold it off."""
        if self._ahead is None:
            self._ahead = len(self._inbox)
        if self._ahead == 0:
            self._ahead = None
            return DeadlinePassed(), None
        self._ahead -= 1
        return self._inbox.popleft()

    async def _wait(self, deadline: int | None) -> None:
        """Return when something has come in or the deadline has come."""
        if deadline is None:
            await self._arrived.wait()
            return
        both = (asyncio.ensure_future(self._arrived.wait()), asyncio.ensure_future(self._clock.until(deadline)))
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for waiting in both:
                waiting.cancel()

    async def _handle(self, given: Input, done: Answered | None) -> None:
        try:
            events = await self._decide_and_commit(given, retry=_kept(given, done))
        except asyncio.CancelledError:
            sentence = f"{self.state.name} was ended while this was being stored; its log tells whether it counts"
            _answer(done, Rejected("not_running", sentence))
            raise
        except Exception as error:
            _answer(done, error)
            # A caller's mistake is the caller's, also of one that has stopped waiting; anything else ends the actor.
            if done is None or isinstance(error, StoreOwned | StoreConflict):
                raise
        else:
            _answer(done, events)

    async def _decide_and_commit(self, given: Input, *, retry: bool) -> tuple[Event, ...]:
        """Commit, then act, and return what was committed.

        What was seen cannot be un-seen: an observation is kept until the disk takes it. Who waits behind it with
        something that may be refused is told meanwhile.
        """
        while True:
            events, effects = decide(self.state, given, self._clock.now())
            if not events:
                return ()
            try:
                committed = await self._store.commit(self.state.id, self.state, self._version, events)
                break
            except (StoreOwned, StoreConflict):
                raise
            except StoreError as error:
                if not retry:
                    raise
                log.warning("%s: %s; trying again", self.state.id, error)
                self._refuse_asked(error)
                await self._clock.until(self._clock.now() + RETRY_MS)
        self.state, self._version = committed.state, committed.version
        if self.performer is not None:
            for effect in effects:
                self.performer.perform(effect)
        return tuple(events)

    def _refuse_asked(self, error: StoreError) -> None:
        """Answer the commands that somebody waits for with what keeps them; what was seen stays, in its order."""
        for _ in range(len(self._inbox)):
            given, done = self._inbox.popleft()
            if _kept(given, done):
                self._inbox.append((given, done))
            else:
                _answer(done, error)
        if self._ahead is not None:
            self._ahead = min(self._ahead, len(self._inbox))

    def _turn_down(self, given: Input) -> None:
        """Answer what came too late: `Rejected` for a command that would still have changed something."""
        events, _ = decide(self.state, given, self._clock.now())
        if events and isinstance(given, Command):
            raise Rejected("not_running", f"Background subagent {self.state.name} is no longer running.")

    def _refuse_rest(self) -> None:
        while self._inbox:
            given, done = self._inbox.popleft()
            try:
                self._turn_down(given)
            except Exception as error:  # noqa: BLE001 - the asker gets whatever it is
                _answer(done, error)
            else:
                _answer(done, ())


def _kept(given: Input, done: Answered | None) -> bool:
    """Return whether an input is kept while the disk refuses it: what was seen, and what nobody waits for."""
    return done is None or isinstance(given, Observation)


def _answer(done: Answered | None, found: tuple[Event, ...] | Exception) -> None:
    if done is None or done.done():
        return
    if isinstance(found, Exception):
        done.set_exception(found)
    else:
        done.set_result(found)
