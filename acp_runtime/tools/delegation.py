"""The set `async_delegation`: six tools over one-shot subagents. Names and fields are the original's.

A task here is a subagent that ends with its one task; the two share an id. Refusals of `steer_task` and `cancel_task`
are told with `ok: false`, and nothing is ever said to have been delivered that was not.
"""

from collections import deque
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Final

from pydantic import Field

from acp_runtime.core.errors import Rejected
from acp_runtime.core.model import TaskState
from acp_runtime.core.plaintext import one_line, printable
from acp_runtime.core.status import Status
from acp_runtime.service.order import text_of
from acp_runtime.tools import answers
from acp_runtime.tools.limits import Limits
from acp_runtime.tools.orders import instructions, request
from acp_runtime.tools.tool import Answer, Desk, Input, Tool
from acp_runtime.views import EventView, Outcome, SubagentView, WaitReason

LINES: Final = 200
LINE_CHARS: Final = 500
PREVIEW_LINES: Final = 10
GOAL_CHARS: Final = 60
LISTED: Final = 50
_OUTCOMES: Final = {TaskState.COMPLETED: "completed", TaskState.CANCELLED: "cancelled"}


class DelegateInput(Input):
    goal: str
    context: str | None = None
    model: str | None = None
    provider: str | None = None
    toolsets: list[str] | None = None
    max_iterations: Annotated[int, Field(ge=1)] | None = None
    skill: str | None = None


class TaskIdInput(Input):
    task_id: str


class CollectInput(TaskIdInput):
    timeout: float = Field(
        default=300.0, ge=0, allow_inf_nan=False, description="Seconds; a door may end it sooner (timed_out)."
    )


class SteerInput(TaskIdInput):
    message: str


class NoInput(Input):
    pass


async def delegate(desk: Desk, given: DelegateInput) -> Answer:
    """Start a task and return at once."""
    goal = text_of("goal", given.goal)
    more, notes = instructions(given.model_dump())
    order = request(desk, task=goal, purpose=goal, model=given.model, one_shot=True, more=more)
    try:
        view = await desk.runtime.spawn(desk.parent, order)
    except Rejected as error:
        told = answers.refusal(error)
        if "stoppable_subagents" in told:
            told["active_delegates"] = told.pop("stoppable_subagents")
        return told
    sentence = f"Background task started. Use check_task('{view.id}') to monitor."
    started: Answer = {"task_id": view.id, "status": word(view), "message": sentence, "output_file": view.output_file}
    return started | ({"notes": notes} if notes else {})


async def check(desk: Desk, given: TaskIdInput) -> Answer:
    """Return how a task stands, at once."""
    view = await _task(desk, given.task_id)
    lines = await output(desk, view)
    return _head(desk, view) | {"output_preview": "\n".join(lines[-PREVIEW_LINES:]), "output_lines": len(lines)}


async def collect(desk: Desk, given: CollectInput) -> Answer:
    """Wait for the end of a task; at the timeout, return what there is of it."""
    view = await _task(desk, given.task_id)
    waited = await desk.runtime.wait(desk.parent, [view.id], mode="all", seconds=desk.bounded(given.timeout))
    view = waited.views[0]
    lines = await output(desk, view)
    told = _head(desk, view) | {
        "timed_out": waited.reason is WaitReason.TIMEOUT,
        "output": "\n".join(lines),
        "summary": view.newest.result if view.settled else None,
        "output_lines": len(lines),
    }
    if view.settled and word(view) != "completed":
        told["error"] = view.newest.cause or view.cause
    return told | ({"requests": answers.requests(view)} if view.requests else {})


async def steer(desk: Desk, given: SteerInput) -> Answer:
    """Give a message to a task while it works."""
    view = await _task(desk, given.task_id)
    if view.settled:
        return _not_running(view)
    if view.current_task is None:
        # Whether its agent can be steered is not known yet, and a message that waited would be a task of its own.
        return _not_ok(f"Task {view.id} is still starting; steer it once it works.", "steering_unavailable")
    if not view.steering:
        return _not_ok("Child agent does not support steering injection.", "steering_unavailable")
    try:
        sent = await desk.runtime.send(desk.parent, view.id, given.message, mode="steer")
    except Rejected as error:
        return _not_ok(str(error), error.kind)
    if sent.outcome is Outcome.INJECTED:
        return {"ok": True, "message": f"Steering delivered to task {view.id}."}
    return _not_ok(sent.sentence, "not_injected")


async def cancel(desk: Desk, given: TaskIdInput) -> Answer:
    """End a task early."""
    view = await _task(desk, given.task_id)
    if view.settled:
        return _not_running(view)
    view = await desk.runtime.stop(desk.parent, view.id, reason="Cancelled by parent agent.")
    if word(view) != "cancelled":
        return _not_running(view)
    return {"ok": True, "cancelled": view.id, "message": f"Task {view.id} was cancelled."}


async def list_tasks(desk: Desk, _given: NoInput) -> Answer:
    """List the newest tasks, ended ones too."""
    views = [view for view in await desk.runtime.list_subagents(desk.parent, ended=True) if view.one_shot][-LISTED:]
    told = []
    for view in views:
        lines = await output(desk, view)
        goal = one_line(view.tasks[0].text, GOAL_CHARS)
        told.append(_head(desk, view) | {"goal": goal, "output_lines": len(lines)})
    return {"tasks": told}


def word(view: SubagentView) -> str:
    """Return how a task stands: running, completed, failed or cancelled."""
    task = view.newest
    if not view.settled or not task.state.over:
        return "running" if not view.status.over else "failed"
    if view.status is Status.ERROR and task.state is not TaskState.COMPLETED:
        return "failed"
    return _OUTCOMES.get(task.state, "failed")


async def output(desk: Desk, view: SubagentView) -> list[str]:
    """Return the newest lines of what a task put out, each cut."""
    transcript = await desk.runtime.transcript(desk.parent, view.id)
    return list(deque(_lines(transcript.entries), maxlen=LINES))


def _lines(entries: Iterable[EventView]) -> Iterable[str]:
    for entry in entries:
        text = entry.text
        if entry.kind.startswith("tool_call"):
            text = f"[{entry.data.get('status', 'pending')}] {text}"
        elif entry.kind != "agent_message_chunk":
            continue
        yield from (line[:LINE_CHARS] for line in printable(text).splitlines())


def _head(desk: Desk, view: SubagentView) -> Answer:
    return {"task_id": view.id, "status": word(view), "elapsed": _elapsed(desk, view)}


def _elapsed(desk: Desk, view: SubagentView) -> float:
    ended = view.newest.ended_at if view.settled else None
    now = _moment(ended) if ended else desk.wall().astimezone(UTC)
    return round(max(0.0, (now - _moment(view.started_at)).total_seconds()), 2)


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text.removesuffix("Z") + "+00:00")


async def _task(desk: Desk, ident: str) -> SubagentView:
    try:
        return await desk.runtime.status(desk.parent, ident)
    except Rejected as error:
        if error.kind != "unknown_subagent":
            raise
        raise Rejected("unknown_task", f"Task not found: {one_line(ident, 40)}") from error


def _not_running(view: SubagentView) -> Answer:
    return _not_ok(f"Task {view.id} is not running (status: {word(view)}).", "not_running")


def _not_ok(sentence: str, kind: str) -> Answer:
    return {"ok": False, "error": sentence, "kind": kind}


DELEGATION: Final = (
    Tool(
        "delegate_task_async",
        "Give one self-contained task to a fresh agent in a container and go on. For long work whose result you need "
        "later; not for what you can do at once. You are told when it ends.",
        DelegateInput,
        delegate,
        "execute",
        open_world=True,
        limited=Limits.of_delegating,
    ),
    Tool("check_task", "Look at a task once, without waiting; never in a loop.", TaskIdInput, check, "read"),
    Tool(
        "collect_task",
        "Wait for a task and take its result. Only when you can go no further without it.",
        CollectInput,
        collect,
        "read",
    ),
    Tool("steer_task", "Send a message into a running task.", SteerInput, steer, "execute", open_world=True),
    Tool(
        "cancel_task",
        "End a running task that is not wanted any more.",
        TaskIdInput,
        cancel,
        "execute",
        destructive=True,
        repeatable=True,
    ),
    Tool("list_tasks", "List your tasks and how they stand.", NoInput, list_tasks, "read"),
)
