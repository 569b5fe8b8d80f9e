"""`Runtime`: the facade that every door calls. It says who may do what and holds no logic of its own.

A subagent that belongs to another parent answers exactly like one that does not exist, for every method.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from acp_runtime.callers import Caller, Leader, Operator, owner_of, parent_of
from acp_runtime.clock import Clock, SystemClock
from acp_runtime.config import Config
from acp_runtime.core.errors import Rejected
from acp_runtime.core.ids import subagent_id
from acp_runtime.core.inputs import AnswerRequest, CancelTask, Input, ResumeSubagent, StopSubagent
from acp_runtime.core.model import Reason, Subagent
from acp_runtime.manager.bookkeeper import Bookkeeper
from acp_runtime.manager.holder_key import HolderKey
from acp_runtime.manager.launcher import CheckResult, Launcher, Work
from acp_runtime.manager.output_file import OutputFiles
from acp_runtime.manager.pausing import Pause
from acp_runtime.manager.policy import Policy
from acp_runtime.manager.supervisor import Supervisor
from acp_runtime.manager.work import read_work
from acp_runtime.service.accounts import Accountable
from acp_runtime.service.admitting import admission, check_count, shares
from acp_runtime.service.answering import vetted, written
from acp_runtime.service.bounds import cursor, duration, short_reason
from acp_runtime.service.cellar import Cellar
from acp_runtime.service.facade import SendMode, WaitMode
from acp_runtime.service.grounding import Grounded
from acp_runtime.service.order import SpawnRequest, spawn_input, text_of
from acp_runtime.service.paging import read_page, read_transcript
from acp_runtime.service.policing import Policed
from acp_runtime.service.reading import Reading
from acp_runtime.service.reaping import Reapable, Reaping
from acp_runtime.service.sending import Sending, with_remedy
from acp_runtime.service.serving import Serving
from acp_runtime.service.trees import Treed
from acp_runtime.service.turning import Turnable, acknowledging
from acp_runtime.service.waiting import Waiting, until_ended
from acp_runtime.store.projections import Row
from acp_runtime.store.store import Store
from acp_runtime.views import Disk, Hit, Page, Pruned, Sent, SubagentView, Tail, Transcript, Waited

if TYPE_CHECKING:
    from acp_runtime.client import RemoteRuntime


class Runtime(Reapable, Accountable, Treed, Policed, Turnable, Grounded):
    """Owns one store and the subagents in it. Use `async with Runtime.open(...)`."""

    def __init__(
        self, store: Store, supervisor: Supervisor, config: Config, keep: Path, clock: Clock, *, reaping: Reaping
    ) -> None:
        self._store = store
        self._supervisor = supervisor
        self._config = config
        self._keep = keep
        self._clock = clock
        self._reaping = reaping
        self._reading = Reading(
            store,
            clock,
            self._living,
            wakes=lambda: self._config.orchestration.wakes,
            shares=lambda: shares(self._config),
        )

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        path: Path,
        *,
        launcher: Launcher,
        config: Config,
        clock: Clock | None = None,
        progress: Callable[[str, str], None] = lambda _subagent, _sentence: None,
        supplant: bool = False,
    ) -> AsyncIterator["Runtime"]:
        """Own the store at `path` inside the block; leaving it stops every subagent and says so in the log.

        `progress` is told slow steps of starts: the subagent's id, and one sentence. `supplant`: an owner that has let
        its lease lapse is replaced. Raises the `StoreError`s of `Store.open`.
        """
        clock = clock or SystemClock()
        keep, catalogue = path.with_name("work"), config.catalogue
        rules = replace(config.nudges, quiet=config.one_shot.idle)
        async with AsyncExitStack() as stack:
            store = await stack.enter_async_context(Store.open(path, clock, rules, supplant=supplant))
            launcher.own(store.id, store.epoch, path)
            await stack.enter_async_context(OutputFiles.kept(store))
            books = await stack.enter_async_context(Bookkeeper(store, path).open())
            key, policy = HolderKey.beside(path), Policy.beside(path, config)
            serving = Serving(store)
            made = Supervisor(
                store,
                clock,
                launcher,
                catalogue,
                key,
                policy=policy,
                tools=serving.serve,
                keep=keep,
                progress=progress,
                bookkeeper=books,
                pause=Pause.beside(path),
            )
            supervisor = await stack.enter_async_context(made.open())
            reaping = await stack.enter_async_context(Reaping.kept(store, launcher, keep, clock, config.daemon.reap))
            runtime = cls(store, supervisor, config, keep, clock, reaping=reaping)
            serving.begin(runtime, supervisor)
            yield runtime

    @classmethod
    def connect(cls, socket: Path | None = None, *, start: bool = True) -> "AbstractAsyncContextManager[RemoteRuntime]":
        """Ask the daemon that owns this user's store, see `RemoteRuntime.connect`; it is started when none answers."""
        from acp_runtime.client import RemoteRuntime  # noqa: PLC0415 - the other end of this facade, and above it

        return RemoteRuntime.connect(socket, start=start)

    @property
    def config(self) -> Config:
        """What this runtime was opened with."""
        return self._config

    @property
    def ownership(self) -> tuple[str, int]:
        """The id of the store, and the number of this ownership of it: its epoch."""
        return self._store.id, self._store.epoch

    async def renew_lease(self, seconds: float) -> None:
        """Promise to renew again within `seconds`; who does not may be replaced. Raises `StoreOwned` when it was."""
        await self._store.renew_lease(seconds)

    # ---- subagents: commands

    async def spawn(self, caller: Caller, request: SpawnRequest) -> SubagentView:
        """Admit a subagent with its first task and return at once; it starts in the background.

        Raises `Rejected` (unknown_agent, unknown_preset, beyond_ceiling, override_refused, invalid, disabled,
        depth_limit, not_an_orchestrator, parent_ended, limit_reached, budget_reached, paused, closing) and `StoreFull`,
        and then nothing was started.
        """
        ident = subagent_id(secrets.token_bytes(5))
        given = spawn_input(self._config, ident=ident, caller=caller, request=request, leader=self._leader(caller))
        await self._supervisor.spawn(given, admission(self._config, given.parent, one_shot=request.one_shot))
        return await self.status(caller, ident)

    async def vet(self, caller: Caller, request: SpawnRequest, *, count: int = 1) -> None:
        """Refuse what `spawn` would refuse for what it asks; places are not looked at, and nothing is kept or started.

        `count`: how many of its sort are to be spawned together. Raises `Rejected` as `spawn` does, but neither
        limit_reached nor budget_reached nor paused nor closing, and too_many_tasks where there are never places for so
        many.
        """
        ident, leader = subagent_id(secrets.token_bytes(5)), self._leader(caller)
        given = spawn_input(self._config, ident=ident, caller=caller, request=request, leader=leader)
        check_count(self._config, given.parent, count, one_shot=request.one_shot)

    async def send(self, caller: Caller, subagent: str, text: str, *, mode: SendMode = "queue") -> Sent:
        """Give a subagent another task, or with `steer` a message for the running one.

        Raises `Rejected` (unknown_subagent, invalid, not_running, queue_full, and budget_reached where the time of its
        tree is over).
        """
        message = text_of("message", text)
        view = await self.status(caller, subagent)
        if mode == "queue" or view.current_task is None:
            await self._supervisor.tree_time.check(view.id)
        try:
            return await Sending(self._store, self._supervisor, self._reading, caller).run(view, message, mode)
        except Rejected as error:
            raise with_remedy(error, await self.status(caller, subagent)) from error

    async def cancel(self, caller: Caller, subagent: str, cause: str = "") -> SubagentView:
        """Cancel the running task, else the first that is queued. Raises `Rejected` (unknown_subagent, task_over)."""
        view = await self.status(caller, subagent)
        open_ones = [task for task in view.tasks if not task.state.over]
        task = next((each for each in open_ones if each.state.active), (open_ones or [view.newest])[0])
        by = await self._reading.word(caller, view)
        given = CancelTask(task.id, by, short_reason(cause, f"cancelled by its {by}"))
        return await self._ask(caller, subagent, given)

    async def answer(
        self, caller: Caller, subagent: str, request: str, option: str = "", *, text: str = ""
    ) -> SubagentView:
        """Answer an open question by an option, or by a text where it takes one.

        Raises `Rejected` (unknown_subagent, request_closed, option_unknown, answer_invalid; needs_operator, and
        beyond_ceiling where a parent would allow its subagent to reach more than the ceiling; policy_unwritable where
        what is to be allowed for good is allowed for the task alone).
        """
        by = await self._reading.word(caller, await self.status(caller, subagent))
        wanted = vetted(self._config, caller, self._living(subagent), request, option, leader=self._leader(caller))
        view = await self._ask(caller, subagent, AnswerRequest(request, option, by, written(text)))
        if wanted is not None:
            await self._supervisor.allow_for_good(wanted)
        return view

    async def stop(self, caller: Caller, subagent: str, *, reason: str = "", finished: bool = False) -> SubagentView:
        """Stop a subagent and wait until it has ended. Idempotent. `finished` says that its work was done."""
        by = await self._reading.word(caller, await self.status(caller, subagent))
        actor = self._supervisor.actor(subagent)
        if actor is not None:
            usual = "its work is done" if finished else f"stopped by its {by}"
            why = Reason.FINISHED if finished else Reason(f"stopped_by_{by}")
            await actor.ask(StopSubagent(why, by, short_reason(reason, usual)))
            await actor.over.wait()
        return await self.status(caller, subagent)

    async def resume(self, caller: Caller, subagent: str, text: str) -> SubagentView:
        """Start an ended subagent again with its next task.

        Raises `Rejected` (unknown_subagent, invalid, still_open, not_resumable, parent_ended, limit_reached,
        budget_reached, paused, closing).
        """
        message = text_of("message", text)
        view = await self.status(caller, subagent)
        given = ResumeSubagent(message, await self._reading.word(caller, view))
        await self._supervisor.resume(subagent, given, admission(self._config, view.parent, one_shot=view.one_shot))
        return await self.status(caller, subagent)

    async def remove(self, caller: Caller, subagent: str) -> None:
        """Delete what is left of an ended subagent: its volumes, its exported work and its log.

        Raises `Rejected` (unknown_subagent, still_open, not_removed; not_acknowledged where another than its parent
        would delete what that was not told yet, and may still be told).
        """
        view = await self.status(caller, subagent)
        own = view.parent == parent_of(caller)  # the operator is the parent of what it spawned
        by = "parent" if own else await self._reading.word(caller, view)
        await Cellar(self._store, self._supervisor, self._keep).remove(view, by)

    # ---- subagents: reading

    async def status(self, caller: Caller, subagent: str) -> SubagentView:
        """Return one subagent with its newest tasks. Raises `Rejected` (unknown_subagent), also for a foreign one."""
        return await self._reading.status(caller, subagent)

    async def list_subagents(self, caller: Caller, *, ended: bool = False) -> list[SubagentView]:
        """Return a parent's subagents in order of creation; the ended ones too when asked for."""
        return await self._reading.views(caller, ended=ended)

    async def find(self, caller: Caller, wanted: str) -> str:
        """Return the id that is meant: an id, the beginning of one, or a name.

        Raises `Rejected` (unknown_subagent, ambiguous with the candidates).
        """
        return await self._reading.find(caller, wanted)

    async def wait(
        self,
        caller: Caller,
        subagents: Sequence[str],
        *,
        mode: WaitMode = "all",
        seconds: float,
        since: int | None = None,
    ) -> Waited:
        """Return when something happened that the mode asks for, a question is open, or `seconds` have passed.

        `all`: every task is over; `first`: those of one are; `any_change`: anything but talk, after the call. `since`
        is the `seq` of an earlier wait: what that one returned for counts no more, and what came after it does.
        Raises `Rejected` (unknown_subagent, invalid).
        """
        waiting = Waiting(self._store, self._reading, caller, subagents, mode)
        return await waiting.run(seconds=seconds, since=since)

    async def events(self, caller: Caller, subagent: str, *, since: int = 0, limit: int = 500) -> list[Row]:
        """Return a subagent's stored events after the cursor `since`, oldest first, at most `limit`."""
        await self.status(caller, subagent)
        return await self._store.events(subagent, cursor("since", since), limit)

    async def poll(self, caller: Caller, subagent: str, *, since: int | None = None, limit: int = 500) -> Page:
        """Return a stretch of a subagent's log as readers want it: at most `limit` stored events, 50,000 characters.

        Without `since`: what the caller has not read, which is marked as read unless the disk refuses; the operator
        gets what its parent has not read, and marks nothing. `since=0` replays from the start. The page of a subagent
        whose log was deleted is empty and `expired`.
        Raises `Rejected` (unknown_subagent, invalid).
        """
        since = None if since is None else cursor("since", since)
        if await self._store.forgotten(owner_of(caller), subagent):
            return Page((), since or 0, 0, expired=True)
        view = await self.status(caller, subagent)
        reader = view.parent if isinstance(caller, Operator) else caller
        begin = await self._store.read_up_to(reader, subagent) if since is None else since
        page = await read_page(self._store, subagent, since=begin, limit=limit)
        if since is None and page.next_seq > begin and not isinstance(caller, Operator):
            with acknowledging("a poll"):
                await self._store.mark_read(caller, subagent, page.next_seq)
        return page

    async def transcript(self, caller: Caller, subagent: str, *, task: str | None = None) -> Transcript:
        """Return what the agent said and did, of one task or of all.

        Raises `Rejected` (unknown_subagent, unknown_task).
        """
        await self.status(caller, subagent)
        return await read_transcript(self._store, subagent, task=task)

    async def stderr(self, caller: Caller, subagent: str, *, since: int = 0) -> Tail:
        """Return what an agent that lives wrote on its standard error after the cursor `since`.

        The newest 64 KiB are held; what it wrote before its end stands with its tasks. Raises `Rejected`
        (unknown_subagent).
        """
        await self.status(caller, subagent)
        actor = self._supervisor.actor(subagent)
        return Tail(*actor.performer.stderr(cursor("since", since))) if actor and actor.performer else Tail("", since)

    async def search(self, caller: Caller, query: str, *, limit: int = 20) -> list[Hit]:
        """Return the tasks in which the words stand, best first: in the task, its result or its transcript."""
        found = await self._store.search(owner_of(caller), query, limit=limit)
        return [
            Hit(each.subagent, each.name, each.task, each.where, each.snippet, each.seq, f"{each.wall}Z")
            for each in found
        ]

    async def changed(self, tick: int) -> None:
        """Return when any subagent's log has grown since `tick` was read."""
        await self._store.changed(tick)

    @property
    def tick(self) -> int:
        """Grows with every commit; pass it to `changed`."""
        return self._store.tick

    # ---- work

    async def work(self, caller: Caller, subagent: str) -> Work | None:
        """Return what a subagent that has ended changed, or None when nothing was exported.

        One that is ending is waited for: it is called ended before its work is there.
        """
        await self.status(caller, subagent)
        await until_ended(self._store, subagent)
        return await asyncio.to_thread(read_work, self._keep, subagent)

    async def check(self, caller: Caller, subagent: str, command: str, *, seconds: float) -> CheckResult:
        """Run a shell command in a living subagent's sandbox. Raises `Rejected` and `LaunchError`."""
        view = await self.status(caller, subagent)
        actor = self._supervisor.actor(subagent)
        launched = actor.performer.launched if actor is not None and actor.performer is not None else None
        if launched is None:
            raise Rejected("not_running", f"Background subagent {view.name} is no longer running.")
        return await launched.check(command, seconds)

    # ---- the store

    async def prune(self, caller: Caller, *, older_than: float, dry_run: bool = False) -> Pruned:
        """Delete what is left of subagents that ended more than `older_than` seconds ago and have nothing to tell.

        Time counts while the machine is awake. What cannot be removed from the engine stays for the next time. Raises
        `Rejected` (invalid).
        """
        cellar = Cellar(self._store, self._supervisor, self._keep)
        older_than = duration("older_than", older_than)
        return await cellar.prune(owner_of(caller), older_than=older_than, dry_run=dry_run)

    async def disk(self, caller: Caller) -> Disk:
        """Return what the store holds and how much disk it takes."""
        return await Cellar(self._store, self._supervisor, self._keep).disk(owner_of(caller))

    def _leader(self, caller: Caller) -> Subagent | None:
        """Return the caller where that is a subagent that lives."""
        return self._living(caller.subagent) if isinstance(caller, Leader) else None

    def _living(self, subagent: str) -> Subagent | None:
        actor = self._supervisor.actor(subagent)
        return actor.state if actor is not None else None

    async def _ask(self, caller: Caller, subagent: str, given: Input) -> SubagentView:
        await self.status(caller, subagent)
        await self._supervisor.ask(subagent, given)
        return await self.status(caller, subagent)
