"""`RemoteRuntime`: the facade of `Runtime` over the daemon. Same methods, same arguments, same results, same errors.

What it adds is `DaemonError`: the daemon cannot be reached, was lost, or is of another version. A command is sent
once; what only reads and waits goes on with the next daemon when this one is replaced.
"""

import asyncio
import json
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlencode

from pydantic import TypeAdapter

from acp_runtime.api.errors import SANDBOX, STORE, DaemonError, is_passing, told
from acp_runtime.api.exchange import Answer, Way
from acp_runtime.api.methods import method_of
from acp_runtime.api.unix_client import CALL_SECONDS, patience
from acp_runtime.callers import Caller, Operator
from acp_runtime.clock import SystemClock
from acp_runtime.core.budget import Bound, Budget
from acp_runtime.core.errors import Rejected, StoreConflict, StoreError, StoreOwned, StoreTooNew, SubagentsError
from acp_runtime.core.turns import Form, Origin, wakes_for
from acp_runtime.manager.grounds import Grounds
from acp_runtime.manager.launcher import CheckResult, LaunchError, Work
from acp_runtime.manager.policy import Standing
from acp_runtime.service import SpawnRequest
from acp_runtime.service.bounds import duration
from acp_runtime.service.facade import SendMode, WaitMode
from acp_runtime.service.policing import Reloaded
from acp_runtime.service.turning import acknowledging
from acp_runtime.store.disk import StoreFull
from acp_runtime.store.outbox import TurnContext
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
TRIES: Final = 20
TRY_SECONDS: Final = 0.25
_WAKEUP: Final = TypeAdapter(Wakeup)
_STORE_ERRORS: Final = {each.kind: each for each in (StoreError, StoreOwned, StoreConflict, StoreTooNew, StoreFull)}


class RemoteRuntime:
    """The facade over a daemon. Use `async with Runtime.connect()`."""

    def __init__(self, way: Way) -> None:
        self._way = way
        self._tick = 0

    @classmethod
    @asynccontextmanager
    async def connect(cls, socket: Path | None = None, *, start: bool = True) -> AsyncIterator["RemoteRuntime"]:
        """Ask the daemon at `socket`, by default this user's, which is started when none answers and `start` holds.

        Raises `DaemonError`: daemon_unreachable, daemon_not_started, socket_unsafe, version_mismatch.
        """
        remote = cls(Way(socket, start=start and socket is None))
        await remote._changed_since(-1)
        yield remote

    async def hello(self) -> dict[str, Any]:
        """Return version, schema, pid, store id and epoch of the daemon. Raises `DaemonError`."""
        answer = await self._way.ask("GET", "/v1/hello", None, CALL_SECONDS)
        found: dict[str, Any] = answer.json()
        return found

    # ---- subagents: commands

    async def spawn(self, caller: Caller, request: SpawnRequest) -> SubagentView:
        """See `Runtime.spawn`. A relative workspace is meant from the current folder of this process."""
        return await self._call("spawn", caller, request=_whole(request))

    async def vet(self, caller: Caller, request: SpawnRequest, *, count: int = 1) -> None:
        """See `Runtime.vet`. A relative workspace is meant as for `spawn`."""
        await self._call("vet", caller, request=_whole(request), count=count)

    async def send(self, caller: Caller, subagent: str, text: str, *, mode: SendMode = "queue") -> Sent:
        """See `Runtime.send`."""
        return await self._call("send", caller, subagent=subagent, text=text, mode=mode)

    async def cancel(self, caller: Caller, subagent: str, cause: str = "") -> SubagentView:
        """See `Runtime.cancel`."""
        return await self._call("cancel", caller, subagent=subagent, cause=cause)

    async def stop(self, caller: Caller, subagent: str, *, reason: str = "", finished: bool = False) -> SubagentView:
        """See `Runtime.stop`."""
        return await self._call("stop", caller, subagent=subagent, reason=reason, finished=finished)

    async def answer(
        self, caller: Caller, subagent: str, request: str, option: str = "", *, text: str = ""
    ) -> SubagentView:
        """See `Runtime.answer`."""
        return await self._call("answer", caller, subagent=subagent, request=request, option=option, text=text)

    async def resume(self, caller: Caller, subagent: str, text: str) -> SubagentView:
        """See `Runtime.resume`."""
        return await self._call("resume", caller, subagent=subagent, text=text)

    async def remove(self, caller: Caller, subagent: str) -> None:
        """See `Runtime.remove`."""
        await self._call("remove", caller, subagent=subagent)

    # ---- subagents: reading

    async def status(self, caller: Caller, subagent: str) -> SubagentView:
        """See `Runtime.status`."""
        return await self._call("status", caller, subagent=subagent)

    async def list_subagents(self, caller: Caller, *, ended: bool = False) -> list[SubagentView]:
        """See `Runtime.list_subagents`."""
        return await self._call("list_subagents", caller, ended=ended)

    async def find(self, caller: Caller, wanted: str) -> str:
        """See `Runtime.find`."""
        return await self._call("find", caller, wanted=wanted)

    async def wait(
        self,
        caller: Caller,
        subagents: Sequence[str],
        *,
        mode: WaitMode = "all",
        seconds: float,
        since: int | None = None,
    ) -> Waited:
        """See `Runtime.wait`. Goes on with the next daemon when this one is replaced meanwhile."""
        clock = SystemClock()
        end = clock.now() + duration("seconds", seconds) * 1000
        failed = 0
        while True:
            left = max(0.0, (end - clock.now()) / 1000)
            given = {"subagents": tuple(subagents), "mode": mode, "seconds": left, "since": since}
            try:
                return await self._call("wait", caller, **given)
            except (DaemonError, Rejected) as error:
                failed += 1
                if failed > TRIES or not is_passing(error):
                    raise
            await asyncio.sleep(TRY_SECONDS)

    async def poll(self, caller: Caller, subagent: str, *, since: int | None = None, limit: int = 500) -> Page:
        """See `Runtime.poll`."""
        return await self._call("poll", caller, subagent=subagent, since=since, limit=limit)

    async def transcript(self, caller: Caller, subagent: str, *, task: str | None = None) -> Transcript:
        """See `Runtime.transcript`."""
        return await self._call("transcript", caller, subagent=subagent, task=task)

    async def stderr(self, caller: Caller, subagent: str, *, since: int = 0) -> Tail:
        """See `Runtime.stderr`."""
        return await self._call("stderr", caller, subagent=subagent, since=since)

    async def search(self, caller: Caller, query: str, *, limit: int = 20) -> list[Hit]:
        """See `Runtime.search`."""
        return await self._call("search", caller, query=query, limit=limit)

    async def changed(self, tick: int) -> None:
        """Return when a log has grown since `tick` was read. A lost daemon is a change too: the next call tells."""
        while True:
            try:
                if await self._changed_since(tick) != tick:
                    return
            except (DaemonError, Rejected) as error:
                if not is_passing(error):
                    raise
                return

    @property
    def tick(self) -> int:
        """Changes with every commit that this client has heard of; pass it to `changed`."""
        return self._tick

    # ---- work

    async def work(self, caller: Caller, subagent: str) -> Work | None:
        """See `Runtime.work`."""
        return await self._call("work", caller, subagent=subagent)

    async def check(self, caller: Caller, subagent: str, command: str, *, seconds: float) -> CheckResult:
        """See `Runtime.check`."""
        return await self._call("check", caller, subagent=subagent, command=command, seconds=seconds)

    # ---- turns of the parent

    async def begin_turn(
        self,
        caller: Caller,
        door: str,
        turn_id: str,
        *,
        origin: Origin = Origin.USER,
        form: Form = Form.BLOCK,
    ) -> TurnContext:
        """See `Runtime.begin_turn`."""
        return await self._call("begin_turn", caller, door=door, turn_id=turn_id, origin=origin, form=form)

    async def commit_turn(self, token: str, *, only: tuple[str, ...] | None = None) -> None:
        """See `Runtime.commit_turn`."""
        await self._call("commit_turn", None, token=token, only=only)

    @asynccontextmanager
    async def turn(self, caller: Caller, door: str = "python") -> AsyncIterator[TurnContext]:
        """See `Runtime.turn`."""
        context = await self.begin_turn(caller, door, secrets.token_hex(8))
        yield context
        with acknowledging("a turn"):
            await self.commit_turn(context.token)

    async def wakeups(self, caller: Caller) -> AsyncGenerator[Wakeup]:
        """See `Runtime.wakeups`. Goes on with the next daemon when this one is replaced."""
        if isinstance(caller, Operator):
            raise Rejected("no_turns", "the operator has no turns; name the parent whose wake-up is meant")
        told_of: frozenset[str] = frozenset()
        failed = 0
        while True:
            try:
                async with aclosing(self._stream("/v1/wakeups", {"parent": caller})) as stream:
                    async for line in stream:
                        failed = 0
                        wakeup = _WAKEUP.validate_json(line)
                        if wakes_for(wakeup.nudges, told_of):
                            yield wakeup
                        told_of = frozenset(wakeup.nudges)
            except (DaemonError, Rejected) as error:
                failed += 1
                if failed > TRIES or not is_passing(error):
                    raise
            await asyncio.sleep(TRY_SECONDS)

    async def due(self, caller: Caller) -> Wakeup:
        """See `Runtime.due`."""
        return await self._call("due", caller)

    async def nudges(
        self, caller: Caller, *, state: str | None = None, limit: int = 100, ids: tuple[str, ...] | None = None
    ) -> list[NudgeView]:
        """See `Runtime.nudges`."""
        return await self._call("nudges", caller, state=state, limit=limit, ids=ids)

    async def revive(self, caller: Caller, nudge: str) -> None:
        """See `Runtime.revive`."""
        await self._call("revive", caller, nudge=nudge)

    async def alias(self, parent: str, alias: str) -> None:
        """See `Runtime.alias`."""
        await self._call("alias", None, parent=parent, alias=alias)

    # ---- the store

    async def prune(self, caller: Caller, *, older_than: float, dry_run: bool = False) -> Pruned:
        """See `Runtime.prune`."""
        return await self._call("prune", caller, older_than=older_than, dry_run=dry_run)

    async def reap(self, caller: Caller, *, dry_run: bool = False, volumes_of: tuple[str, ...] = ()) -> Reaped:
        """See `Runtime.reap`."""
        return await self._call("reap", caller, dry_run=dry_run, volumes_of=volumes_of)

    async def grounds(self, caller: Caller) -> Grounds:
        """See `Runtime.grounds`."""
        return await self._call("grounds", caller)

    async def allowed(self, caller: Caller) -> list[Standing]:
        """See `Runtime.allowed`."""
        return await self._call("allowed", caller)

    async def allow(self, caller: Caller, rule: str, *, preset: str) -> Standing:
        """See `Runtime.allow`."""
        return await self._call("allow", caller, rule=rule, preset=preset)

    async def disallow(self, caller: Caller, rule: str, *, preset: str | None = None) -> list[Standing]:
        """See `Runtime.disallow`."""
        return await self._call("disallow", caller, rule=rule, preset=preset)

    async def reload(self, caller: Caller) -> Reloaded:
        """See `Runtime.reload`."""
        return await self._call("reload", caller)

    async def disk(self, caller: Caller) -> Disk:
        """See `Runtime.disk`."""
        return await self._call("disk", caller)

    async def tree(self, caller: Caller, subagent: str | None = None, *, ended: bool = False) -> list[SubagentView]:
        """See `Runtime.tree`."""
        return await self._call("tree", caller, subagent=subagent, ended=ended)

    async def pause_spawning(self, caller: Caller, *, on: bool) -> bool:
        """See `Runtime.pause_spawning`."""
        return await self._call("pause_spawning", caller, on=on)

    async def set_budget(
        self, caller: Caller, subagent: str, bounds: Budget, *, without: tuple[Bound, ...] = ()
    ) -> SubagentView:
        """See `Runtime.set_budget`."""
        return await self._call("set_budget", caller, subagent=subagent, bounds=bounds, without=without)

    async def usage(self, caller: Caller, *, by: UsageBy = "subagent", subagent: str | None = None) -> list[UsageView]:
        """See `Runtime.usage`."""
        return await self._call("usage", caller, by=by, subagent=subagent)

    async def reached(
        self,
        caller: Caller,
        *,
        subagent: str | None = None,
        host: str | None = None,
        refused: bool = False,
        limit: int = 500,
    ) -> list[Reached]:
        """See `Runtime.reached`."""
        return await self._call("reached", caller, subagent=subagent, host=host, refused=refused, limit=limit)

    # ---- the way there

    async def _call(self, name: str, caller: Caller | None, **values: Any) -> T:
        method = method_of(name)
        body = method.write_arguments(caller, values)
        answer = _good(await self._way.ask("POST", f"/v1/{name}", body, patience(values)))
        self._tick = answer.tick
        found: T = method.result.validate_json(answer.body)
        return found

    async def _changed_since(self, tick: int) -> int:
        body = json.dumps({"tick": tick}).encode()
        answer = _good(await self._way.ask("POST", "/v1/changed", body, CALL_SECONDS))
        self._tick = answer.tick
        return answer.tick

    async def _stream(self, path: str, params: dict[str, str]) -> AsyncGenerator[bytes]:
        async with aclosing(self._way.follow(f"{path}?{urlencode(params)}")) as lines:
            async for line in lines:
                if line.startswith(b'{"status": '):
                    fields = json.loads(line)
                    raise _error(Answer(int(fields["status"]), 0, line))
                yield line


def _whole(request: SpawnRequest) -> SpawnRequest:
    return replace(request, workspace=request.workspace.absolute())


def _good(answer: Answer) -> Answer:
    if answer.status != 200:
        raise _error(answer)
    return answer


def _error(answer: Answer) -> Exception:
    error: SubagentsError = told(answer.status, answer.json())
    if answer.status == SANDBOX:
        return LaunchError(error.kind, str(error))
    if answer.status == STORE:
        return _STORE_ERRORS.get(error.kind, StoreError)(str(error))
    return error
