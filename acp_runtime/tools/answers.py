"""How answers of the tools read: the original's fields, plus what keeps a model from guessing or polling."""

import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final

from acp_runtime.core.errors import Rejected, SubagentsError
from acp_runtime.core.legacy_text import folder
from acp_runtime.core.lineage import leader_of
from acp_runtime.core.model import TaskState
from acp_runtime.core.status import Status
from acp_runtime.service.paging import PAGE_CHARS
from acp_runtime.tools.tool import Answer
from acp_runtime.views import EventView, SubagentView, TaskView

log = logging.getLogger(__name__)

RESULT_CHARS: Final = 8_000
SUMMARY_CHARS: Final = 300
_ALIVE: Final = frozenset({Status.IDLE, Status.RUNNING, Status.WAITING})


def failure(sentence: str, kind: str, data: Mapping[str, Any] | None = None) -> Answer:
    """Return the answer of a call that changed nothing, or not what was asked."""
    return {"success": False, "error": sentence, "kind": kind, **(data or {})}


def refusal(error: SubagentsError) -> Answer:
    """Return the answer to a call that was turned down."""
    return failure(str(error), error.kind, error.data if isinstance(error, Rejected) else None)


def trouble(tool: str, error: BaseException) -> Answer:
    """Return the answer to a call that raised. What nobody foresaw is logged."""
    if isinstance(error, SubagentsError):
        return refusal(error)
    log.error("the tool %s failed", tool, exc_info=error)
    return failure("The manager failed at this call; its log says how.", "internal_error")


def head(view: SubagentView) -> Answer:
    """Return the three fields with which every answer about one subagent begins."""
    return {"success": True, "id": view.id, "name": view.name, "status": str(view.status)}


def summary(view: SubagentView) -> Answer:
    """Return one subagent in the original's words."""
    current = next((task.text for task in view.tasks if task.id == view.current_task), None)
    told: Answer = {
        "id": view.id,
        "name": view.name,
        "status": str(view.status),
        "purpose": view.purpose,
        "cwd": folder(view.cwd),
        "agent_kind": view.agent,
        "unread_count": view.unread,
        "current_task": current[:SUMMARY_CHARS] if current is not None else None,
        "started_at": view.started_at,
        "last_activity_at": view.last_activity_at,
        "idle_timeout_at": view.idle_timeout_at,
        "max_lifetime_at": view.max_lifetime_at,
        "container_id": view.container or None,
        "acp_process_pid": view.pid,
        "acp_session_id": view.session_id,
        "terminal_reason": terminal_reason(view),
    }
    if view.requests:
        told["requests"] = requests(view)
    if view.granted:
        told["granted"] = list(view.granted)
    if view.output_file:
        told["output_file"] = view.output_file
    return told


def branch(view: SubagentView) -> Answer:
    """Return one subagent of a tree in the original's words."""
    return {
        "id": view.id,
        "parent": leader_of(view.parent),
        "depth": view.depth,
        "role": str(view.role),
        "goal": view.purpose,
        "model": view.model,
        "tool_count": view.tool_count,
        "status": str(view.status),
    }


def requests(view: SubagentView) -> list[Answer]:
    """Return the open questions with the options that may answer them."""
    return [
        {
            "request_id": each.id,
            "kind": str(each.kind),
            "title": each.title,
            "options": [{"option_id": one.id, "name": one.name, "kind": one.kind} for one in each.options],
            **({"text": each.writing} if each.writing else {}),
            **({"closes_at": each.closes_at} if each.closes_at else {}),
        }
        for each in view.requests
    ]


def terminal_reason(view: SubagentView) -> str | None:
    """Return why a subagent ended: the reason its stop was given, else the cause's own word."""
    if not view.status.over:
        return None
    given = view.reason == "stopped_by_parent" and view.cause
    return view.cause if given else view.reason


def alive(view: SubagentView) -> bool:
    """Return whether messages reach the agent."""
    return view.status in _ALIVE and view.step is None  # one whose start waits for a login has no agent yet


def last_error(view: SubagentView) -> str | None:
    """Return what went wrong last, or goes wrong, or None."""
    if view.status is Status.ERROR:
        return view.cause
    bad = (TaskState.FAILED, TaskState.REFUSED, TaskState.TIMED_OUT, TaskState.INTERRUPTED)
    ended = [task for task in view.tasks if task.state.over]
    if trouble := next((task.trouble for task in view.tasks if task.trouble), ""):
        return trouble
    return ended[-1].cause if ended and ended[-1].state in bad else None


def result(task: TaskView, offset: int = 0) -> Answer:
    """Return what a task that is over came to, from a character of its text on."""
    text = task.result[max(0, offset) : max(0, offset) + RESULT_CHARS]
    told: Answer = {"task": task.id, "outcome": task.headline, "text": text}
    if task.state is not TaskState.COMPLETED or task.headline != "completed":
        told["cause"] = task.cause
    if task.report:
        told["report"] = json.loads(task.report)
    if task.files_changed is not None:
        told["files_changed"] = task.files_changed
    if len(task.result) > len(text):
        following = max(0, offset) + len(text)
        told |= {"total_chars": len(task.result), "next_offset": following if following < len(task.result) else None}
    return told


def latest(view: SubagentView) -> TaskView | None:
    """Return the task that ended last, or None while none has."""
    return next((task for task in reversed(view.tasks) if task.state.over), None)


def holds_result(view: SubagentView, rows: Sequence[EventView]) -> bool:
    """Return whether a page shows the newest result in full: what it shows need not be told again."""
    task = latest(view)
    if task is None or not any(row.kind.startswith("task_") and row.task == task.id for row in rows):
        return False
    said = "".join(row.text[:PAGE_CHARS] for row in rows if row.kind == "agent_message_chunk" and row.task == task.id)
    # Messages are apart in a result, and pieces of one are not.
    return "".join(task.result.split()) in "".join(said.split())


def ending(view: SubagentView, offset: int = 0) -> Answer:
    """Return what an answer says beside its facts when nothing goes on: the result, and that polling is over."""
    if view.held:
        told = {"requests": requests(view), "note": "It waits for an answer: use answer_background_subagent."}
        over = latest(view) if view.settled else None
        return told if over is None else told | {"result": result(over, offset)}
    if view.requests:
        note = "It was refused what it wanted to reach, and goes on without: answer_background_subagent may allow it."
        return {"requests": requests(view), "note": note}
    task = latest(view)
    if not view.settled or task is None:
        return {}
    if view.status.over:
        note = f"It has ended ({view.status}); nothing more will come. Do not poll or wait for it again."
        if _changed(view) and view.exported:
            where = f"the resource subagents://{view.id}/patch, or in a shell: subagents work {view.id} | git apply"
            note += f" What it changed is a patch and in no folder yet: {where}."
        if view.resumable:
            note += f" It can be started again: subagents resume {view.id} TEXT."
    elif _changed(view):
        note = "It has nothing to do. Do not poll; send it a message, or stop it to have what it changed as a patch."
    else:
        note = "It has nothing to do. Do not poll; send it a message or stop it."
    return {"done": True, "result": result(task, offset), "note": note}


def _changed(view: SubagentView) -> bool:
    """Return whether one that has nothing to do changed files, or may have: not every task's could be counted."""
    return any(task.files_changed != 0 for task in view.tasks)


def event(view: SubagentView, each: EventView) -> Answer:
    """Return one event in the original's shape. The end of a subagent is told under its final status."""
    text = each.text[:PAGE_CHARS]
    told: Answer = {"seq": each.seq, "kind": each.kind, "text": text, "timestamp": each.timestamp}
    if (more := len(each.text) - len(text)) > 0:
        told["left_out"] = f"{more} characters; all is in the resource subagents://{view.id}/transcript"
    if each.kind == "ended":
        told |= {"kind": str(view.status), "text": f"Session ended: {terminal_reason(view)}"}
    if each.data:
        told["data"] = each.data
    return told
