"""What subagents do as the original's host was told of it: typed events with its names, over the log.

For hosts that were written for it. Each event says whose it is (`subagent_id`, `parent_id`, `depth`, ...); those of a
life (spawned, completed, failed) are really sent. Tool calls come one by one, and by fives as progress; what is left of
them comes before the end of the task.

To list a whole tree costs by its size: a tenth of the time goes into that at most. What is kept of it is bounded.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final, Protocol

from acp_runtime.callers import Caller
from acp_runtime.core.errors import Rejected
from acp_runtime.core.lineage import leader_of
from acp_runtime.core.model import TaskState
from acp_runtime.service.facade import Facade
from acp_runtime.views import EventView, SubagentView, TaskView

__all__ = ["LEGACY", "DelegateEvent", "DelegateResult", "Delegated", "delegate_events", "event_of"]

BATCH: Final = 5
PAGE: Final = 500
GAP_SECONDS: Final = 0.1
LONGEST_GAP: Final = 5.0
# More than a tree lists: who is listed is known. Of the titles of a task's calls, and those not told yet, so many.
MAX_RELAYS: Final = 4_096
MAX_TITLES: Final = 1_000


class DelegateEvent(StrEnum):
    """What happened."""

    TASK_SPAWNED = "delegate.task_spawned"
    TASK_PROGRESS = "delegate.task_progress"
    TASK_COMPLETED = "delegate.task_completed"
    TASK_FAILED = "delegate.task_failed"
    TASK_THINKING = "delegate.task_thinking"
    TOOL_STARTED = "delegate.tool_started"
    TOOL_COMPLETED = "delegate.tool_completed"


LEGACY: Final = {
    "_thinking": DelegateEvent.TASK_THINKING,
    "reasoning.available": DelegateEvent.TASK_THINKING,
    "tool.started": DelegateEvent.TOOL_STARTED,
    "tool.completed": DelegateEvent.TOOL_COMPLETED,
    "subagent_progress": DelegateEvent.TASK_PROGRESS,
}
_ENDS: Final = {
    "task_complete": DelegateEvent.TASK_COMPLETED,
    **{
        f"task_{each}": DelegateEvent.TASK_FAILED
        for each in ("failed", "refused", "cancelled", "timed_out", "interrupted")
    },
}
_STATUS: Final = {
    TaskState.COMPLETED: "completed",
    TaskState.TIMED_OUT: "timeout",
    TaskState.CANCELLED: "interrupted",
    TaskState.INTERRUPTED: "interrupted",
}


def event_of(word: object) -> DelegateEvent | None:
    """Return the event that a name stands for, one of the names from before among them; None for an unknown one."""
    if not isinstance(word, str):
        return None
    return DelegateEvent(word) if word in set(DelegateEvent) else LEGACY.get(word)


@dataclass(frozen=True, slots=True)
class DelegateResult:
    """What a task came to. `status`: completed, error, timeout or interrupted; `exit_reason`: the protocol's word."""

    task_index: int
    status: str
    summary: str
    error: str
    api_calls: int
    duration_seconds: float
    exit_reason: str


@dataclass(frozen=True, slots=True)
class Delegated:
    """One event and whose it is. `parent_id` is None below an outer parent; `task_index` counts its siblings from 0.

    `text`: what was thought, or how a tool call ended. `tools`: the titles of a progress, or the one of a tool call.
    """

    event: DelegateEvent
    subagent_id: str
    parent_id: str | None
    depth: int
    model: str | None
    toolsets: tuple[str, ...]
    task_index: int
    task_count: int
    goal: str
    tool_count: int
    text: str = ""
    tools: tuple[str, ...] = ()
    result: DelegateResult | None = None

    @property
    def legacy(self) -> str:
        """The name from before, empty for an event that had none."""
        return next((name for name, event in LEGACY.items() if event is self.event), "")


class Following(Facade, Protocol):
    """What is needed of a runtime: `Runtime`, or the client of the daemon."""

    @property
    def tick(self) -> int: ...

    async def changed(self, tick: int) -> None: ...


@asynccontextmanager
async def delegate_events(
    runtime: Following, caller: Caller, *, kinds: Iterable[object] | None = None, replay: bool = False
) -> AsyncIterator[AsyncGenerator[Delegated]]:
    """Give what happens from now on to all that stands below a caller; with `replay` also what happened before.

    `kinds` has only these told, by any of their names; unknown names are ignored.
    """
    wanted = None if kinds is None else {event_of(each) for each in kinds}
    before = [] if replay else await runtime.tree(caller, ended=True)
    relays = {view.id: _Relay(view.seq, view.tool_count) for view in before}
    async with aclosing(_events(runtime, caller, relays)) as told:
        yield told if wanted is None else (each async for each in told if each.event in wanted)


async def _events(runtime: Following, caller: Caller, relays: "dict[str, _Relay]") -> AsyncGenerator[Delegated]:
    loop = asyncio.get_running_loop()
    while True:
        tick, begun = runtime.tick, loop.time()
        views = await runtime.tree(caller, ended=True)
        took = loop.time() - begun
        for view in views:
            try:
                async for each in _news(runtime, caller, view, views, relays):
                    yield each
            except Rejected as error:
                if error.kind != "unknown_subagent":  # it was deleted since it was listed
                    raise
        while len(relays) > MAX_RELAYS:
            del relays[next(iter(relays))]
        await asyncio.sleep(min(max(GAP_SECONDS, 9 * took), LONGEST_GAP))
        await runtime.changed(tick)


@dataclass(slots=True)
class _Relay:
    """How far one subagent was told; `titles` of its tool calls by their ids."""

    cursor: int = 0
    tool_count: int = 0
    batch: list[str] = field(default_factory=list)
    titles: dict[str, str] = field(default_factory=dict)

    def take(self, row: EventView) -> Iterator[tuple[DelegateEvent, str, tuple[str, ...]]]:
        """Go on by one event of the log; yield what is to be told of it."""
        if row.kind == "agent_thought_chunk":
            yield DelegateEvent.TASK_THINKING, row.text, ()
        elif row.kind in ("tool_call", "tool_call_update"):
            yield from self._tool(row)
        elif row.kind in _ENDS:
            while self.batch:
                yield self._progress()
            self.titles.clear()
            yield _ENDS[row.kind], row.text, ()

    def _tool(self, row: EventView) -> Iterator[tuple[DelegateEvent, str, tuple[str, ...]]]:
        ident, status = str(row.data.get("tool", "")), str(row.data.get("status", ""))
        if ident not in self.titles:
            while len(self.titles) >= MAX_TITLES:
                del self.titles[next(iter(self.titles))]
            self.titles[ident] = row.text
            self.batch.append(row.text)
            self.tool_count += 1
            yield DelegateEvent.TOOL_STARTED, "", (row.text,)
        if status in ("completed", "failed"):
            yield DelegateEvent.TOOL_COMPLETED, status, (self.titles[ident],)
        if len(self.batch) >= (BATCH if status in ("completed", "failed") else MAX_TITLES):
            yield self._progress()

    def _progress(self) -> tuple[DelegateEvent, str, tuple[str, ...]]:
        tools, self.batch = tuple(self.batch[:BATCH]), self.batch[BATCH:]
        return DelegateEvent.TASK_PROGRESS, "", tools


async def _news(
    runtime: Following, caller: Caller, view: SubagentView, views: Sequence[SubagentView], relays: dict[str, _Relay]
) -> AsyncGenerator[Delegated]:
    fresh = view.id not in relays
    relays[view.id] = relay = relays.pop(view.id, None) or _Relay()  # at the end: whom nobody lists is forgotten first
    if fresh:
        yield _told(DelegateEvent.TASK_SPAWNED, view, views, relay)
    while view.seq > relay.cursor:
        page = await runtime.poll(caller, view.id, since=relay.cursor, limit=PAGE)
        for row in page.rows:
            for event, text, tools in relay.take(row):
                result = None
                if row.kind in _ENDS and event is _ENDS[row.kind]:
                    result = _result(await runtime.status(caller, view.id), row, _place(view, views)[0])
                yield _told(event, view, views, relay, text=text, tools=tools, result=result)
        if page.next_seq <= relay.cursor:
            return
        relay.cursor = page.next_seq


def _told(
    event: DelegateEvent,
    view: SubagentView,
    views: Sequence[SubagentView],
    relay: _Relay,
    *,
    text: str = "",
    tools: tuple[str, ...] = (),
    result: DelegateResult | None = None,
) -> Delegated:
    index, count = _place(view, views)
    return Delegated(
        event=event,
        subagent_id=view.id,
        parent_id=leader_of(view.parent),
        depth=view.depth,
        model=view.model,
        toolsets=("delegation",) if view.role == "orchestrator" else (),
        task_index=index,
        task_count=count,
        goal=view.purpose,
        tool_count=relay.tool_count,
        text=text,
        tools=tools,
        result=result,
    )


def _place(view: SubagentView, views: Sequence[SubagentView]) -> tuple[int, int]:
    """Return which of its siblings a subagent is, and how many there are."""
    siblings = [each.id for each in views if each.parent == view.parent]
    return siblings.index(view.id), len(siblings)


def _result(view: SubagentView, row: EventView, index: int) -> DelegateResult | None:
    task = next((each for each in view.tasks if each.id == row.task), None)
    if task is None:
        return None
    done = task.state is TaskState.COMPLETED
    return DelegateResult(
        task_index=index,
        status=_STATUS.get(task.state, "error"),
        summary=task.result,
        error="" if done else task.cause,
        api_calls=task.spent.calls,
        duration_seconds=_seconds(task),
        exit_reason=task.stop_reason or str(task.state),
    )


def _seconds(task: TaskView) -> float:
    if task.ended_at is None:
        return 0.0
    begun, ended = (datetime.fromisoformat(each.removesuffix("Z")) for each in (task.queued_at, task.ended_at))
    return max(0.0, (ended - begun).total_seconds())
