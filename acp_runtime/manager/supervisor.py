"""Owns the actors of one store: admits subagents, finds them by id, and takes up those an earlier manager left."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Final

from acp_runtime.beside import beside
from acp_runtime.clock import Clock
from acp_runtime.core.admission import Admission
from acp_runtime.core.budget import Budget
from acp_runtime.core.decide import decide
from acp_runtime.core.errors import Rejected, StoreConflict, StoreOwned
from acp_runtime.core.events import Event
from acp_runtime.core.inputs import (
    ChannelClosed,
    Halted,
    Input,
    Rebooted,
    ResumeSubagent,
    SetBudget,
    Spawn,
    StartBroke,
    StopSubagent,
)
from acp_runtime.core.metering import Call, CallEnd
from acp_runtime.core.model import Lifecycle, Reason, Subagent
from acp_runtime.core.observations import MANAGER_ENDED
from acp_runtime.core.timers import taken_over
from acp_runtime.gateway.records import Expiry
from acp_runtime.manager.actor import Actor
from acp_runtime.manager.bookkeeper import Bookkeeper
from acp_runtime.manager.grounds import Grounds
from acp_runtime.manager.holder_key import HolderKey
from acp_runtime.manager.launcher import Launcher, LaunchRequest
from acp_runtime.manager.leading import Leading
from acp_runtime.manager.logins import Logins
from acp_runtime.manager.pausing import Pause
from acp_runtime.manager.policy import Policy
from acp_runtime.manager.ruling import Ruling
from acp_runtime.manager.spending import Spending
from acp_runtime.manager.strangers import Strangers
from acp_runtime.manager.surroundings import Surroundings
from acp_runtime.manager.tools_socket import ToolsDoor
from acp_runtime.manager.tree_time import TreeTime
from acp_runtime.manager.wishing import Wishing
from acp_runtime.session.catalogue import AgentKind, Catalogue
from acp_runtime.store.admission import ALIVE
from acp_runtime.store.store import Committed, Store

log = logging.getLogger(__name__)

CLOSE_SECONDS: Final = 60.0

ServeTools = Callable[[str, int, asyncio.StreamReader, asyncio.StreamWriter, bytes], Awaitable[None]]


class Supervisor(Ruling):
    """All living subagents of a store. Owner of their tasks: when `open` is left, every agent has ended.

    `key` is the store's, from which the tokens of its agents are made. `tools` serves a connection to those of an
    attempt of a subagent.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        launcher: Launcher,
        catalogue: Catalogue,
        key: HolderKey,
        *,
        policy: Policy,
        tools: ServeTools,
        keep: Path,
        progress: Callable[[str, str], None],
        bookkeeper: Bookkeeper,
        pause: Pause,
    ) -> None:
        self._store = store
        self._clock = clock
        self._launcher = launcher
        self._catalogue = catalogue
        self._key = key
        self._keep = keep
        self._progress = progress
        self._spending = Spending(bookkeeper, policy)
        self.tree_time = TreeTime(store, clock, policy)
        self._wishing = Wishing(self.actor)
        bookkeeper.hear, bookkeeper.denied, bookkeeper.expired = self._called, self._wishing.denied, self._expired
        self._logins = Logins(lambda: tuple(self._actors.values()), launcher.environ)
        self._policy = policy
        self._tools = tools
        self.reconfiguring = asyncio.Lock()
        self.bookkeeper = bookkeeper
        self._actors: dict[str, Actor] = {}
        self._strangers = Strangers(self._actors)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._admitting: set[asyncio.Task[None]] = set()
        self.pause = pause
        self.leading = Leading(store, clock, self.actor, wakes=lambda: policy.config.orchestration.wakes)
        self._closing = False

    @asynccontextmanager
    async def open(self) -> AsyncIterator["Supervisor"]:
        """Supervise inside the block; subagents that an earlier owner of the store left are taken up first.

        Raises `StoreError` (other_launcher: they are run by another kind of launcher; they are left as they are).
        """
        watched = partial(self.tree_time.watch, self._actors)
        try:
            async with beside(policy=self._watch_policy, logins=self._logins.watch, tree_time=watched):
                await self._take_up()
                yield self
        finally:
            try:
                await self._close()
            finally:
                await self._launcher.close()

    async def spawn(self, given: Spawn, admit: Admission | None = None) -> None:
        """Admit a subagent: durable when this returns, starting in the background.

        Raises `Rejected` (closing, paused, parent_ended, limit_reached, budget_reached).
        """
        await self._admitted(self._admit(given, admit))

    async def resume(self, subagent: str, given: ResumeSubagent, admit: Admission | None = None) -> None:
        """Start an ended subagent again.

        Raises `Rejected` (closing, paused, still_open, not_resumable, parent_ended, limit_reached, budget_reached).
        """
        await self._admitted(self._admit_again(subagent, given, admit))

    async def _admitted(self, admitting: Coroutine[None, None, None]) -> None:
        if self._closing:
            admitting.close()
            raise Rejected("closing", "the manager is being closed; nothing was started")
        # What is stored must have its actor, also when the caller does not wait for it any more.
        task = asyncio.create_task(self._unless_paused(admitting))
        self._admitting.add(task)
        task.add_done_callback(self._admitting.discard)
        await asyncio.shield(task)

    async def _unless_paused(self, admitting: Coroutine[None, None, None]) -> None:
        try:
            await self.pause.check()
        except BaseException:
            admitting.close()
            raise
        await admitting

    async def _admit(self, given: Spawn, admit: Admission | None) -> None:
        if admit is not None and admit.shares:
            await self.bookkeeper.settled()  # what was used counts, also what was written down just now
        events, _ = decide(None, given, self._clock.now())
        self._start(await self._store.commit(given.id, None, 0, events, admit=admit))

    async def _admit_again(self, subagent: str, given: ResumeSubagent, admit: Admission | None) -> None:
        committed = await self._store.load(subagent)
        if (actor := self._actors.get(subagent)) is not None and actor.state.lifecycle.over:
            raise Rejected("still_open", f"the sandbox of subagent {subagent} is still being removed; try again later")
        if committed is None or actor is not None:
            raise Rejected("still_open", f"subagent {subagent} has not ended; send it a message instead")
        state, version = committed.state, committed.version
        events, _ = decide(state, given, self._clock.now())
        try:
            committed = await self._store.commit(subagent, state, version, events, admit=admit)
        except StoreConflict as error:
            sentence = f"subagent {subagent} was started again or removed at the same moment; look how it stands"
            raise Rejected("still_open", sentence) from error
        self._start(committed)

    async def ask(self, subagent: str, given: Input) -> tuple[Event, ...]:
        """Have a command decided by a subagent's actor; returns the events that it became.

        Raises `Rejected`, also for one that ended long ago.
        """
        actor = self._actors.get(subagent)
        if actor is None:
            raise Rejected("not_running", f"subagent {subagent} ended; it takes no more commands")
        return await actor.ask(given)

    def actor(self, subagent: str) -> Actor | None:
        return self._actors.get(subagent)

    async def _take_up(self) -> None:
        """Adopt what the log says is alive, and first write down what the end of its manager means for it."""
        await self._store.run_by(self._launcher.name)
        rows = await self._store.query(f"SELECT id FROM subagent WHERE {ALIVE}")  # noqa: S608 - a constant
        found = [await self._store.load(row["id"]) for row in rows]
        inherited = [await self._inherit(committed) for committed in found if committed is not None]
        for committed in inherited:  # all at once: who ends with those that it leads is to find them
            self._spending.reckon(self._start(committed))  # calls may have been booked meanwhile
        await self.leading.end_orphans()

    async def _inherit(self, committed: Committed) -> Committed:
        """Write down what the end of its manager means: a session is lost with it, and no start is begun unasked."""
        attempt = committed.state.attempt
        if (last := await self._store.left_at(committed.state.id)) is not None:
            committed = await self._commit(committed, Rebooted(last))
        match committed.state.lifecycle:
            case Lifecycle.READY:
                cause = "the manager that held the channel to the agent ended"
                return await self._commit(committed, ChannelClosed(attempt, cause))
            case Lifecycle.STARTING:
                cause = "the manager that was starting the agent ended"
                return await self._commit(committed, StartBroke(attempt, cause, MANAGER_ENDED))
            case _:
                return Committed(taken_over(committed.state, self._clock.now()), committed.version)

    def _start(self, committed: Committed) -> Actor:
        actor = Actor(committed, store=self._store, clock=self._clock)
        subagent = committed.state.id
        self._actors[subagent] = actor
        task = asyncio.create_task(self._run(actor), name=f"actor {subagent}")
        self._tasks[subagent] = task
        self._note_rules(actor, "manager")  # it may come from before another configuration
        return actor

    async def _run(self, actor: Actor) -> None:
        subagent = actor.state.id
        leads = actor.state.order.lineage.leads
        watching = beside(leading=partial(self.leading.watch, actor)) if leads else nullcontext()
        try:
            async with watching:
                await actor.run(self._surroundings(actor))
        except StoreOwned:
            log.exception("another manager owns %s now", subagent)
        except Exception:
            log.exception("the actor of %s failed", subagent)
            await self._bury(subagent)
            if leads:
                await self.leading.end_orphans()
        finally:
            self._actors.pop(subagent, None)
            self._tasks.pop(subagent, None)
            self._spending.forget(subagent)
            self._wishing.forget(subagent)
            self._strangers.forget(subagent)

    async def _bury(self, subagent: str) -> None:
        """Write down the end of a subagent whose actor failed: its parent must not wait for ever for a bug of ours."""
        cause = "the manager failed at this subagent; its log says how"
        try:
            committed = await self._store.load(subagent)
            attempt = committed.state.attempt if committed is not None else 0
            for given in (
                StopSubagent(Reason.MANAGER_FAILED, "manager", cause),
                Halted(attempt, confirmed=False, exported=False),
            ):
                if committed is not None:
                    committed = await self._commit(committed, given)
        except Exception:
            log.exception("the end of %s could not be written", subagent)

    async def _commit(self, committed: Committed, given: Input) -> Committed:
        state = committed.state
        events, _ = decide(state, given, self._clock.now())
        return await self._store.commit(state.id, state, committed.version, events) if events else committed

    def _request(self, state: Subagent, attempt: int) -> LaunchRequest:
        return LaunchRequest(
            store=self._store.id,
            subagent=state.id,
            attempt=attempt,
            # To end what an earlier manager left, its kind need not be configured any more.
            kind=self._catalogue.kinds.get(state.order.agent) or AgentKind(state.order.agent, ()),
            order=state.order,
            keep=self._keep,
            progress=partial(self._progress, state.id),
            allowances=lambda: self._spending.allowances(self._newest(state)),
            settled=self.bookkeeper.settled,
            egress=lambda: self._policy.egress_of(self._newest(state)),
            registries=lambda: self._policy.config.registries,
            token=self._key.token(state.id, attempt),
            tools=ToolsDoor(
                {self._key.tools_token(state.id, attempt): partial(self._tools, state.id, attempt)},
                partial(self._strangers.refused, state.id, attempt),
            ),
            resume=state.session_id,
            ran_out=state.ran_out if attempt == state.attempt else (0, 0),
        )

    async def set_budget(self, subagent: str, budget: Budget, *, by: str) -> None:
        """Bound what a subagent uses from now on; what it has used counts.

        Raises `Rejected` (not_running; budget_unmeasured where nothing could hold the bounds).
        """
        if str(budget) and not self._launcher.measures:
            sentence = f"nothing measures what agents of this kind of launcher ({self._launcher.name}) ask their models"
            raise Rejected("budget_unmeasured", f"{sentence}; run the agent in a container")
        await self.ask(subagent, SetBudget(budget, by))
        if (actor := self._actors.get(subagent)) is not None:
            self._spending.reckon(actor)

    async def rename(self) -> None:
        """Have the parent's purse follow its names, one of which is new: what was used below both is one sum."""
        await self.bookkeeper.rename()
        self._permit_all()
        for actor in self._actors.values():
            self._spending.reckon(actor)

    def _newest(self, state: Subagent) -> Subagent:
        actor = self._actors.get(state.id)
        return state if actor is None else actor.state

    def _called(self, call: Call) -> None:
        """Have the subagent of a call that was booked know where that brings it, or what was refused."""
        actor = self._actors.get(call.subagent)
        if actor is not None:
            self._spending.reckon(actor, call.why if call.end is CallEnd.OVER_BUDGET else "")

    def _expired(self, expiry: Expiry) -> None:
        actor = self._actors.get(expiry.subagent)
        if actor is not None:
            self._logins.expired(actor, expiry)

    async def discard(self, subagent: str) -> bool:
        """Remove what was kept of an ended subagent but its exported work. Return whether all is gone for certain."""
        committed = await self._store.load(subagent)
        if committed is None or not committed.state.lifecycle.over:
            return committed is None
        return await self._launcher.discard(self._request(committed.state, committed.state.attempt))

    async def grounds(self) -> Grounds:
        """See `Launcher.grounds`."""
        return await self._launcher.grounds()

    def _surroundings(self, actor: Actor) -> Surroundings:
        return Surroundings(
            launcher=self._launcher,
            request=lambda attempt: self._request(actor.state, attempt),
            state=lambda: actor.state,
            tell=actor.tell,
            store=actor.ask,
            settled=self.bookkeeper.settled,
            lead=self.leading,
            epoch=self._store.epoch,
            version=self._catalogue.version,
        )

    async def _close(self) -> None:
        """Stop what still runs, in the log first: the next reader is told the truth."""
        self._closing = True
        if self._admitting:
            await asyncio.wait(self._admitting, timeout=CLOSE_SECONDS)
        tasks = list(self._tasks.values())
        for actor in list(self._actors.values()):
            actor.tell(StopSubagent(Reason.STOPPED_BY_OPERATOR, "manager", "the manager was closed"))
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=CLOSE_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
