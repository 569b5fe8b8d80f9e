"""`SyncRuntime`: the facade for programs without an event loop, over the daemon or over a store of its own.

Same methods, arguments, results and errors as `Runtime`. The work happens on an event loop in a thread that ends with
the block. Calls may come from any thread. A call that is interrupted (Ctrl-C) is cancelled and waited for.
"""

import asyncio
import secrets
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar

from acp_runtime.callers import Caller
from acp_runtime.client import RemoteRuntime
from acp_runtime.clock import Clock
from acp_runtime.config import Config
from acp_runtime.core.budget import Bound, Budget
from acp_runtime.core.errors import Rejected
from acp_runtime.core.turns import Form, Origin
from acp_runtime.manager.grounds import Grounds
from acp_runtime.manager.launcher import CheckResult, Launcher, Work
from acp_runtime.manager.policy import Standing
from acp_runtime.service import Runtime, SpawnRequest
from acp_runtime.service.facade import SendMode, WaitMode
from acp_runtime.service.policing import Reloaded
from acp_runtime.service.turning import acknowledging
from acp_runtime.store.outbox import TurnContext
from acp_runtime.tools import Answer, Defaults, Desk, Toolbox
from acp_runtime.views import (
    Disk,
    Hit,
    NudgeView,
    Page,
    Pruned,
    Reached,
    Reaped,
    Sent,
    SubagentView,
    Tail,
    Transcript,
    UsageBy,
    UsageView,
    Waited,
    Wakeup,
)

T = TypeVar("T")
CANCEL_SECONDS: Final = 10.0

Either: TypeAlias = Runtime | RemoteRuntime


class SyncRuntime:
    """The facade without `await`. Use `with SyncRuntime.connect()` or `with SyncRuntime.open(...)`."""

    def __init__(self, runtime: Either, loop: asyncio.AbstractEventLoop) -> None:
        self._runtime = runtime
        self._loop = loop

    @classmethod
    @contextmanager
    def connect(cls, socket: Path | None = None, *, start: bool = True) -> Iterator["SyncRuntime"]:
        """Ask the daemon, see `Runtime.connect`."""
        with _in_thread(lambda: Runtime.connect(socket, start=start)) as (runtime, loop):
            yield cls(runtime, loop)

    @classmethod
    @contextmanager
    def open(
        cls,
        path: Path,
        *,
        launcher: Launcher,
        config: Config,
        clock: Clock | None = None,
        progress: Callable[[str, str], None] = lambda _subagent, _sentence: None,
    ) -> Iterator["SyncRuntime"]:
        """Own the store at `path` inside the block, see `Runtime.open`. `progress` is called on another thread."""

        def opened() -> AbstractAsyncContextManager[Either]:
            return Runtime.open(path, launcher=launcher, config=config, clock=clock, progress=progress)

        with _in_thread(opened) as (runtime, loop):
            yield cls(runtime, loop)

    # ---- subagents: commands

    def spawn(self, caller: Caller, request: SpawnRequest) -> SubagentView:
        """See `Runtime.spawn`."""
        return self._do(self._runtime.spawn(caller, request))

    def vet(self, caller: Caller, request: SpawnRequest, *, count: int = 1) -> None:
        """See `Runtime.vet`."""
        self._do(self._runtime.vet(caller, request, count=count))

    def send(self, caller: Caller, subagent: str, text: str, *, mode: SendMode = "queue") -> Sent:
        """See `Runtime.send`."""
        return self._do(self._runtime.send(caller, subagent, text, mode=mode))

    def cancel(self, caller: Caller, subagent: str, cause: str = "") -> SubagentView:
        """See `Runtime.cancel`."""
        return self._do(self._runtime.cancel(caller, subagent, cause))

    def stop(self, caller: Caller, subagent: str, *, reason: str = "", finished: bool = False) -> SubagentView:
        """See `Runtime.stop`."""
        return self._do(self._runtime.stop(caller, subagent, reason=reason, finished=finished))

    def answer(self, caller: Caller, subagent: str, request: str, option: str = "", *, text: str = "") -> SubagentView:
        """See `Runtime.answer`."""
        return self._do(self._runtime.answer(caller, subagent, request, option, text=text))

    def resume(self, caller: Caller, subagent: str, text: str) -> SubagentView:
        """See `Runtime.resume`."""
        return self._do(self._runtime.resume(caller, subagent, text))

    def remove(self, caller: Caller, subagent: str) -> None:
        """See `Runtime.remove`."""
        self._do(self._runtime.remove(caller, subagent))

    # ---- subagents: reading

    def status(self, caller: Caller, subagent: str) -> SubagentView:
        """See `Runtime.status`."""
        return self._do(self._runtime.status(caller, subagent))

    def list_subagents(self, caller: Caller, *, ended: bool = False) -> list[SubagentView]:
        """See `Runtime.list_subagents`."""
        return self._do(self._runtime.list_subagents(caller, ended=ended))

    def find(self, caller: Caller, wanted: str) -> str:
        """See `Runtime.find`."""
        return self._do(self._runtime.find(caller, wanted))

    def wait(
        self,
        caller: Caller,
        subagents: Sequence[str],
        *,
        mode: WaitMode = "all",
        seconds: float,
        since: int | None = None,
    ) -> Waited:
        """See `Runtime.wait`."""
        return self._do(self._runtime.wait(caller, subagents, mode=mode, seconds=seconds, since=since))

    def poll(self, caller: Caller, subagent: str, *, since: int | None = None, limit: int = 500) -> Page:
        """See `Runtime.poll`."""
        return self._do(self._runtime.poll(caller, subagent, since=since, limit=limit))

    def transcript(self, caller: Caller, subagent: str, *, task: str | None = None) -> Transcript:
        """See `Runtime.transcript`."""
        return self._do(self._runtime.transcript(caller, subagent, task=task))

    def stderr(self, caller: Caller, subagent: str, *, since: int = 0) -> Tail:
        """See `Runtime.stderr`."""
        return self._do(self._runtime.stderr(caller, subagent, since=since))

    def search(self, caller: Caller, query: str, *, limit: int = 20) -> list[Hit]:
        """See `Runtime.search`."""
        return self._do(self._runtime.search(caller, query, limit=limit))

    def changed(self, tick: int) -> None:
        """See `Runtime.changed`."""
        self._do(self._runtime.changed(tick))

    @property
    def tick(self) -> int:
        """See `Runtime.tick`."""
        return self._runtime.tick

    # ---- work

    def work(self, caller: Caller, subagent: str) -> Work | None:
        """See `Runtime.work`."""
        return self._do(self._runtime.work(caller, subagent))

    def check(self, caller: Caller, subagent: str, command: str, *, seconds: float) -> CheckResult:
        """See `Runtime.check`."""
        return self._do(self._runtime.check(caller, subagent, command, seconds=seconds))

    # ---- turns of the parent

    def begin_turn(
        self,
        caller: Caller,
        door: str,
        turn_id: str,
        *,
        origin: Origin = Origin.USER,
        form: Form = Form.BLOCK,
    ) -> TurnContext:
        """See `Runtime.begin_turn`."""
        return self._do(self._runtime.begin_turn(caller, door, turn_id, origin=origin, form=form))

    def commit_turn(self, token: str, *, only: tuple[str, ...] | None = None) -> None:
        """See `Runtime.commit_turn`."""
        self._do(self._runtime.commit_turn(token, only=only))

    @contextmanager
    def turn(self, caller: Caller, door: str = "python") -> Iterator[TurnContext]:
        """See `Runtime.turn`."""
        context = self.begin_turn(caller, door, secrets.token_hex(8))
        yield context
        with acknowledging("a turn"):
            self.commit_turn(context.token)

    def wakeups(self, caller: Caller) -> Iterator[Wakeup]:
        """See `Runtime.wakeups`. Waits for the next one in each step; close the iterator to end it."""
        told = self._runtime.wakeups(caller)

        async def following() -> Wakeup:
            return await anext(told)

        try:
            with suppress(StopAsyncIteration):
                while True:
                    yield self._do(following())
        finally:
            self._do(told.aclose())

    def due(self, caller: Caller) -> Wakeup:
        """See `Runtime.due`."""
        return self._do(self._runtime.due(caller))

    def nudges(
        self, caller: Caller, *, state: str | None = None, limit: int = 100, ids: tuple[str, ...] | None = None
    ) -> list[NudgeView]:
        """See `Runtime.nudges`."""
        return self._do(self._runtime.nudges(caller, state=state, limit=limit, ids=ids))

    def revive(self, caller: Caller, nudge: str) -> None:
        """See `Runtime.revive`."""
        self._do(self._runtime.revive(caller, nudge))

    def alias(self, parent: str, alias: str) -> None:
        """See `Runtime.alias`."""
        self._do(self._runtime.alias(parent, alias))

    # ---- the store

    def prune(self, caller: Caller, *, older_than: float, dry_run: bool = False) -> Pruned:
        """See `Runtime.prune`."""
        return self._do(self._runtime.prune(caller, older_than=older_than, dry_run=dry_run))

    def reap(self, caller: Caller, *, dry_run: bool = False, volumes_of: tuple[str, ...] = ()) -> Reaped:
        """See `Runtime.reap`."""
        return self._do(self._runtime.reap(caller, dry_run=dry_run, volumes_of=volumes_of))

    def grounds(self, caller: Caller) -> Grounds:
        """See `Runtime.grounds`."""
        return self._do(self._runtime.grounds(caller))

    def allowed(self, caller: Caller) -> list[Standing]:
        """See `Runtime.allowed`."""
        return self._do(self._runtime.allowed(caller))

    def allow(self, caller: Caller, rule: str, *, preset: str) -> Standing:
        """See `Runtime.allow`."""
        return self._do(self._runtime.allow(caller, rule, preset=preset))

    def disallow(self, caller: Caller, rule: str, *, preset: str | None = None) -> list[Standing]:
        """See `Runtime.disallow`."""
        return self._do(self._runtime.disallow(caller, rule, preset=preset))

    def reload(self, caller: Caller) -> Reloaded:
        """See `Runtime.reload`."""
        return self._do(self._runtime.reload(caller))

    def disk(self, caller: Caller) -> Disk:
        """See `Runtime.disk`."""
        return self._do(self._runtime.disk(caller))

    def tree(self, caller: Caller, subagent: str | None = None, *, ended: bool = False) -> list[SubagentView]:
        """See `Runtime.tree`."""
        return self._do(self._runtime.tree(caller, subagent, ended=ended))

    def pause_spawning(self, caller: Caller, *, on: bool) -> bool:
        """See `Runtime.pause_spawning`."""
        return self._do(self._runtime.pause_spawning(caller, on=on))

    def set_budget(
        self, caller: Caller, subagent: str, bounds: Budget, *, without: tuple[Bound, ...] = ()
    ) -> SubagentView:
        """See `Runtime.set_budget`."""
        return self._do(self._runtime.set_budget(caller, subagent, bounds, without=without))

    def usage(self, caller: Caller, *, by: UsageBy = "subagent", subagent: str | None = None) -> list[UsageView]:
        """See `Runtime.usage`."""
        return self._do(self._runtime.usage(caller, by=by, subagent=subagent))

    def reached(
        self,
        caller: Caller,
        *,
        subagent: str | None = None,
        host: str | None = None,
        refused: bool = False,
        limit: int = 500,
    ) -> list[Reached]:
        """See `Runtime.reached`."""
        return self._do(self._runtime.reached(caller, subagent=subagent, host=host, refused=refused, limit=limit))

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            future = asyncio.run_coroutine_threadsafe(work, self._loop)
        except RuntimeError as error:
            work.close()
            raise Rejected("closing", "the block of this SyncRuntime was left; open or connect another one") from error
        return _result(future)


class SyncToolbox:
    """The tools of one parent without `await`: see `Toolbox` and `Desk`. Calls may come from any thread.

    Nothing bounds here how long a tool waits but what it is asked for: a program may wait.
    """

    def __init__(
        self,
        runtime: SyncRuntime,
        *,
        parent: str,
        workspace: Path,
        defaults: Defaults = Defaults(),  # noqa: B008 - frozen
        sets: tuple[str, ...] = ("background",),
        enabled: bool = True,
    ) -> None:
        desk = Desk(runtime._runtime, parent, workspace, defaults, enabled, longest_wait=None)  # noqa: SLF001 - its other half
        self._runtime = runtime
        self._toolbox = Toolbox(desk, sets)

    def schemas(self) -> list[Answer]:
        """See `Toolbox.schemas`."""
        return self._toolbox.schemas()

    def call(self, name: object, arguments: object = None) -> Answer:
        """See `Toolbox.call`; raises `Rejected` (closing) once the block of the runtime was left."""
        return self._runtime._do(self._toolbox.call(name, arguments))  # noqa: SLF001 - its other half


def _result(future: "Future[T]") -> T:
    """Return what comes of it; a wait that is interrupted cancels it and sees it end."""
    try:
        return future.result()
    except BaseException:
        if not future.done():
            future.cancel()
            with suppress(BaseException):
                future.result(CANCEL_SECONDS)
        raise


@contextmanager
def _in_thread(
    opened: Callable[[], AbstractAsyncContextManager[Either]],
) -> Iterator[tuple[Either, asyncio.AbstractEventLoop]]:
    """Keep a facade open on an event loop of its own; one task opens and closes it."""
    ready: Future[tuple[Either, asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def keep() -> None:
        end = asyncio.Event()
        async with opened() as runtime:
            ready.set_result((runtime, asyncio.get_running_loop(), end))
            await end.wait()

    ended: Future[None] = Future()

    def run() -> None:
        try:
            asyncio.run(keep())
        except BaseException as error:  # noqa: BLE001 - it is raised where the block is left
            (ended if ready.done() else ready).set_exception(error)
        else:
            ended.set_result(None)

    # A host may keep it open for as long as it lives, and close it at its exit: it must come to that.
    thread = threading.Thread(target=run, name="subagents", daemon=True)
    thread.start()
    try:
        runtime, loop, _ = ready.result()
        yield runtime, loop
    finally:
        ready.add_done_callback(_end)
        thread.join()
    ended.result()


def _end(ready: "Future[tuple[Either, asyncio.AbstractEventLoop, asyncio.Event]]") -> None:
    """Have the facade closed, also when the block was left before it was open."""
    if ready.exception() is None:
        _, loop, end = ready.result()
        loop.call_soon_threadsafe(end.set)
