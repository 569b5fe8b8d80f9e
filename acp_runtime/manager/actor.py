"""One actor per subagent: take an input or a deadline, decide, commit the events, then act.

The actor is the only writer of its subagent's stream. Its inbox needs no limit of its own: every sender waits for its
input to be handled, or is one of the few tasks of the actor's performer.
"""

import asyncio
import logging
from contextlib import suppress
from typing import Final

from acp_runtime.clock import Clock
from acp_runtime.core.decide import decide
from acp_runtime.core.errors import StoreError, StoreOwned
from acp_runtime.core.inputs import DeadlinePassed, Input, Observation, StopSubagent
from acp_runtime.core.model import Subagent
from acp_runtime.core.timers import next_deadline, outstanding
from acp_runtime.manager.performer import Performer, Surroundings
from acp_runtime.store.store import Committed, Store

log = logging.getLogger(__name__)

RETRY_MS: Final = 1_000

Item = tuple[Input, asyncio.Future[None] | None]


class Actor:
    """Runs one subagent from its admission to its end."""

    def __init__(self, committed: Committed, *, store: Store, clock: Clock) -> None:
        self.state: Subagent = committed.state
        self._version = committed.version
        self._store = store
        self._clock = clock
        self._inbox: asyncio.Queue[Item] = asyncio.Queue()
        self.performer: Performer | None = None
        self._running = True
        self.over = asyncio.Event()

    def tell(self, given: Observation | StopSubagent) -> None:
        """Queue what the shell saw, or a stop that nobody waits for."""
        self._inbox.put_nowait((given, None))

    async def ask(self, given: Input) -> None:
        """Have an input decided; returns when its events are durable. Raises `Rejected` or `StoreError`."""
        if not self._running:
            decide(self.state, given, self._clock.now())
            return
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._inbox.put_nowait((given, done))
        await done

    def text_of(self, task_id: str) -> str:
        task = self.state.task(task_id)
        return task.text if task is not None else ""

    async def run(self, around: Surroundings) -> None:
        """Work until the subagent is over. When cancelled, the agent is ended and nothing more is written."""
        performer = self.performer = Performer(around)
        try:
            for effect in outstanding(self.state):
                performer.perform(effect)
            while not self.state.lifecycle.over:
                await self._handle(*await self._next())
        finally:
            self._running = False
            await performer.close()
            self._refuse_rest()
            self.over.set()

    async def _next(self) -> Item:
        deadline = next_deadline(self.state)
        if deadline is None:
            return await self._inbox.get()
        get = asyncio.ensure_future(self._inbox.get())
        timer = asyncio.ensure_future(self._clock.until(deadline))
        try:
            await asyncio.wait((get, timer), return_when=asyncio.FIRST_COMPLETED)
            return get.result() if get.done() else (DeadlinePassed(), None)
        finally:
            for waiting in (get, timer):
                waiting.cancel()

    async def _handle(self, given: Input, done: asyncio.Future[None] | None) -> None:
        try:
            await self._decide_and_commit(given, retry=done is None)
        except Exception as error:
            if done is None or done.done():
                raise
            done.set_exception(error)
        else:
            if done is not None and not done.done():
                done.set_result(None)

    async def _decide_and_commit(self, given: Input, *, retry: bool) -> None:
        """Commit, then act. What was seen cannot be un-seen: an observation is kept until the disk takes it."""
        while True:
            events, effects = decide(self.state, given, self._clock.now())
            if not events:
                return
            try:
                committed = await self._store.commit(self.state.id, self.state, self._version, events)
                break
            except StoreOwned:
                raise
            except StoreError as error:
                if not retry:
                    raise
                log.warning("%s: %s; trying again", self.state.id, error)
                await self._clock.until(self._clock.now() + RETRY_MS)
        self.state, self._version = committed.state, committed.version
        if self.performer is not None:
            for effect in effects:
                self.performer.perform(effect)

    def _refuse_rest(self) -> None:
        with suppress(asyncio.QueueEmpty):
            while True:
                given, done = self._inbox.get_nowait()
                if done is None or done.done():
                    continue
                try:
                    decide(self.state, given, self._clock.now())
                    done.set_result(None)
                except Exception as error:  # noqa: BLE001 - the asker gets whatever it is
                    done.set_exception(error)
