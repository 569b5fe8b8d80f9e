"""`Runtime`: the facade that every door calls. It says who may do what and holds no logic of its own.

A subagent that belongs to another parent answers exactly like one that does not exist.
"""

import asyncio
import secrets
import shutil
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from acp_runtime.clock import Clock, SystemClock
from acp_runtime.config import Config
from acp_runtime.core.errors import Rejected
from acp_runtime.core.ids import display_name, subagent_id
from acp_runtime.core.inputs import AnswerRequest, CancelTask, Input, Send, Spawn, StopSubagent
from acp_runtime.core.model import Limits, Order, Permissions, Reason
from acp_runtime.core.plaintext import one_line
from acp_runtime.manager.launcher import CheckResult, Launcher, Work
from acp_runtime.manager.supervisor import Supervisor
from acp_runtime.manager.work import read_work
from acp_runtime.session.catalogue import AgentKind
from acp_runtime.store.codec import storable
from acp_runtime.store.outbox import OPEN, TurnContext
from acp_runtime.store.projections import Row
from acp_runtime.store.store import Store
from acp_runtime.views import SubagentView, read_subagent

MAX_TASK_CHARS = 1_000_000
MAX_NAME_CHARS = 200


@dataclass(frozen=True, slots=True)
class SpawnRequest:
    """What to spawn. `workspace` is a folder of this machine; `purpose` is for people, the task's start by default."""

    agent: str
    workspace: Path
    task: str
    purpose: str = ""
    image: str | None = None
    model: str | None = None
    model_url: str | None = None
    model_key_env: str | None = None
    permissions: Permissions = Permissions.ALLOW
    limits: Limits | None = field(default=None)


class Runtime:
    """Owns one store and the subagents in it. Use `async with Runtime.open(...)`."""

    def __init__(self, store: Store, supervisor: Supervisor, config: Config, keep: Path) -> None:
        self._store = store
        self._supervisor = supervisor
        self._config = config
        self._keep = keep

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        path: Path,
        *,
        launcher: Launcher,
        config: Config,
        clock: Clock | None = None,
        progress: Callable[[str], None] = lambda _sentence: None,
    ) -> AsyncIterator["Runtime"]:
        """Own the store at `path` inside the block; leaving it stops every subagent and says so in the log.

        `progress` is told slow steps of starts, one sentence each. Raises the `StoreError`s of `Store.open`.
        """
        clock = clock or SystemClock()
        keep = path.with_name("work")
        async with AsyncExitStack() as stack:
            store = await stack.enter_async_context(Store.open(path, clock))
            supervisor = await stack.enter_async_context(
                Supervisor.open(store, clock, launcher, config.catalogue, keep=keep, progress=progress)
            )
            yield cls(store, supervisor, config, keep)

    # ---- subagents

    async def spawn(self, parent: str, request: SpawnRequest) -> SubagentView:
        """Admit a subagent with its first task and return at once; it starts in the background.

        Raises `Rejected` (unknown_agent, invalid) and then nothing was started.
        """
        kind = self._config.catalogue.kind(request.agent)
        task = _text("task", request.task, MAX_TASK_CHARS)
        workspace = _folder(request.workspace)
        if kind.needs_model and (not request.model or not request.model_url):
            raise Rejected("invalid", f"{kind.name} needs a model: name one and the address of its API")
        ident = subagent_id(secrets.token_bytes(5))
        given = Spawn(
            id=ident,
            parent=parent,
            name=display_name(ident),
            purpose=one_line(request.purpose or task, MAX_NAME_CHARS),
            order=Order(
                agent=kind.name,
                workspace=str(workspace),
                image=request.image,
                model=request.model,
                model_url=request.model_url,
                model_key_env=request.model_key_env,
            ),
            permissions=request.permissions,
            limits=_limits(kind, request.limits or self._config.limits),
            task=task,
        )
        await self._supervisor.spawn(given)
        return await self.status(parent, ident)

    async def send(self, parent: str, subagent: str, text: str) -> SubagentView:
        """Queue another task. Raises `Rejected` (unknown_subagent, invalid, not_running, queue_full)."""
        task = _text("message", text, MAX_TASK_CHARS)
        return await self._ask(parent, subagent, Send(task))

    async def cancel(self, parent: str, subagent: str, cause: str = "cancelled by its parent") -> SubagentView:
        """Cancel the open task that was queued first. Raises `Rejected` (unknown_subagent, task_over)."""
        view = await self.status(parent, subagent)
        task = next((each for each in view.tasks if not each.state.over), view.newest)
        return await self._ask(parent, subagent, CancelTask(task.id, "parent", cause))

    async def answer(self, parent: str, subagent: str, request: str, option: str) -> SubagentView:
        """Answer an open question. Raises `Rejected` (unknown_subagent, request_closed, option_unknown)."""
        return await self._ask(parent, subagent, AnswerRequest(request, option, "parent"))

    async def stop(self, parent: str, subagent: str, *, finished: bool = False, cause: str = "") -> SubagentView:
        """Stop a subagent and wait until it has ended. Idempotent. `finished` says that its work was done."""
        await self.status(parent, subagent)
        actor = self._supervisor.actor(subagent)
        if actor is not None:
            reason = Reason.FINISHED if finished else Reason.STOPPED_BY_PARENT
            usual = "its work is done" if finished else "stopped by its parent"
            await actor.ask(StopSubagent(reason, "parent", cause or usual))
            await actor.over.wait()
        return await self.status(parent, subagent)

    async def status(self, parent: str, subagent: str) -> SubagentView:
        """Return one subagent. Raises `Rejected` (unknown_subagent), also for one of another parent."""
        rows, tasks, requests = await self._store.queries(
            ("SELECT * FROM subagent WHERE id = ? AND parent = ?", (subagent, parent)),
            ("SELECT * FROM task WHERE subagent = ? ORDER BY number", (subagent,)),
            ("SELECT * FROM request WHERE subagent = ? AND closed_seq IS NULL ORDER BY opened_seq", (subagent,)),
        )
        if not rows:
            raise Rejected("unknown_subagent", f"Unknown background subagent: {one_line(subagent, 40)}")
        return read_subagent(rows[0], tasks, requests)

    async def list_subagents(self, parent: str) -> list[SubagentView]:
        """Return a parent's subagents that have not ended, in order of creation."""
        listed = f"SELECT id FROM subagent WHERE parent = ? AND {OPEN} ORDER BY created_seq"  # noqa: S608 - a constant
        rows = await self._store.query(listed, parent)
        views = [await self.status(parent, row["id"]) for row in rows]
        return [view for view in views if not view.status.over]

    async def wait(self, parent: str, subagent: str, *, seconds: float) -> SubagentView:
        """Return when the newest task has ended, a question is open, or `seconds` have passed, whichever is first."""
        try:
            async with asyncio.timeout(seconds):
                while True:
                    tick = self._store.tick
                    view = await self.status(parent, subagent)
                    if view.newest.state.over or view.requests:
                        return view
                    await self._store.changed(tick)
        except TimeoutError:
            return await self.status(parent, subagent)

    async def events(self, parent: str, subagent: str, *, since: int = 0, limit: int = 500) -> list[Row]:
        """Return a subagent's events after the cursor `since`, oldest first, at most `limit`."""
        await self.status(parent, subagent)
        return await self._store.events(subagent, since, limit)

    async def poll(self, parent: str, subagent: str, *, limit: int = 500) -> list[Row]:
        """Return what the parent has not read of a subagent's log, at most `limit` events, and mark it as read."""
        await self.status(parent, subagent)
        read = await self._store.read_up_to(parent, subagent)
        rows = await self._store.events(subagent, read, limit)
        if rows:
            await self._store.mark_read(parent, subagent, rows[-1].seq)
        return rows

    async def changed(self, tick: int) -> None:
        """Return when any subagent's log has grown since `tick` was read."""
        await self._store.changed(tick)

    @property
    def tick(self) -> int:
        """Grows with every commit; pass it to `changed`."""
        return self._store.tick

    # ---- work

    async def work(self, parent: str, subagent: str) -> Work | None:
        """Return what a subagent that has ended changed, or None when nothing was exported."""
        await self.status(parent, subagent)
        return await asyncio.to_thread(read_work, self._keep, subagent)

    async def check(self, parent: str, subagent: str, command: str, *, seconds: float) -> CheckResult:
        """Run a shell command in a living subagent's sandbox. Raises `Rejected` and `LaunchError`."""
        view = await self.status(parent, subagent)
        actor = self._supervisor.actor(subagent)
        launched = actor.performer.launched if actor is not None and actor.performer is not None else None
        if launched is None:
            raise Rejected("not_running", f"Background subagent {view.name} is no longer running.")
        return await launched.check(command, seconds)

    def forget_work(self) -> None:
        """Delete the exported work of this store: for callers that have taken all of it."""
        shutil.rmtree(self._keep, ignore_errors=True)

    # ---- turns of the parent

    async def begin_turn(self, parent: str, door: str, turn_id: str) -> TurnContext:
        """Return the roster and the nudges for one turn of a parent; the same turn id gives the same bytes."""
        return await self._store.begin_turn(parent, door, turn_id)

    async def commit_turn(self, token: str) -> None:
        """Acknowledge a turn. Idempotent. Raises `Rejected` (unknown_turn)."""
        await self._store.commit_turn(token)

    @asynccontextmanager
    async def turn(self, parent: str, *, door: str = "python") -> AsyncIterator[TurnContext]:
        """One turn of a parent: commits on a clean exit; after an exception the nudges are offered again."""
        context = await self.begin_turn(parent, door, secrets.token_hex(8))
        yield context
        await self.commit_turn(context.token)

    async def _ask(self, parent: str, subagent: str, given: Input) -> SubagentView:
        await self.status(parent, subagent)
        await self._supervisor.ask(subagent, given)
        return await self.status(parent, subagent)


def _limits(kind: AgentKind, limits: Limits) -> Limits:
    return replace(limits, initialize=limits.initialize_cold) if kind.cold_start else limits


def _text(name: str, value: str, limit: int) -> str:
    text = value.encode("utf-8", "replace").decode()
    if not text.strip():
        raise Rejected("invalid", f"{name} is required: it is empty")
    if "\0" in text:
        raise Rejected("invalid", f"{name} holds a NUL character at position {text.index(chr(0))}; remove it")
    if len(text) > limit:
        raise Rejected("invalid", f"{name} is {len(text)} characters long; at most {limit} are allowed")
    return text


def _folder(path: Path) -> Path:
    shown = one_line(str(path), 200)
    try:
        found = path.stat()
    except FileNotFoundError as error:
        raise Rejected("invalid", f"the workspace {shown} does not exist") from error
    except OSError as error:
        raise Rejected("invalid", f"the workspace {shown} cannot be used: {error.strerror}") from error
    if not stat.S_ISDIR(found.st_mode):
        raise Rejected("invalid", f"the workspace {shown} is not a folder; name the folder it is in")
    folder = path.resolve()
    if storable(str(folder)) != str(folder):
        raise Rejected("invalid", f"the name of the workspace {shown} is not UTF-8; rename the folder")
    return folder
