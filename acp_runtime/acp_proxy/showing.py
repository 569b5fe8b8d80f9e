"""How subagents look to an editor: as sessions below the parent's where it knows these, as tool calls elsewhere.

Pure: what a subagent is (`SubagentView`, as plain JSON) and what was shown of it give the updates to send. No text in
them controls a terminal, which an editor may draw on.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from acp_runtime.core.plaintext import one_line, printable
from acp_runtime.core.request import RequestKind
from acp_runtime.core.wishes import ALWAYS
from acp_runtime.wire.acp import PermissionKind

MAX_TITLE: Final = 120
MAX_CALL: Final = 500
MAX_WORD: Final = 40
MAX_RESULT: Final = 8_000
_KINDS: Final = frozenset(PermissionKind)
_OVER: Final = frozenset({"completed", "stopped", "timed_out", "error"})
_DONE: Final = frozenset({"completed"})
_GOING: Final = frozenset({"queued", "running", "cancelling"})
_STATES: Final = {"starting": "running", "running": "running", "waiting": "requires_action", "lost": "unknown"}
_STOPS: Final = {
    "completed": "end_turn", "refused": "refusal", "cancelled": "cancelled", "failed": "error", "timed_out": "error",
    "interrupted": "error",
}  # fmt: skip

View = dict[str, Any]
Update = dict[str, Any]


@dataclass(slots=True)
class Shown:
    """What an editor was shown of one subagent. `above`: the session in which it is one."""

    above: str = ""
    state: Update | None = None
    tasks: dict[str, str] = field(default_factory=dict)
    seq: int = 0


def is_over(view: View) -> bool:
    """Return whether a subagent has ended."""
    return view["status"] in _OVER


def title_of(view: View) -> str:
    """Return what a subagent is called in front of a person."""
    return one_line(f"{view['name']}: {view['purpose']}", MAX_TITLE)


def session_updates(view: View, shown: Shown) -> list[Update]:
    """Return what tells an editor of a subagent as a session below the parent's; empty when nothing has changed."""
    state = _state(view)
    if state == shown.state:
        return []
    first, shown.state = shown.state is None, state
    update: Update = {"sessionUpdate": "subagent_update", "sessionId": view["id"], "state": state}
    if first:
        update |= {"title": one_line(view["name"], MAX_TITLE), "description": one_line(view["purpose"], MAX_TITLE)}
        update["capabilities"] = {"cancel": {}}
    return [update]


def _state(view: View) -> Update:
    if (state := _STATES.get(view["status"])) is not None:
        return {"state": state}
    ended = [task for task in view["tasks"] if task["state"] not in _GOING]
    return {"state": "idle", "stopReason": _STOPS.get(ended[-1]["state"], "error") if ended else "end_turn"}


def call_updates(view: View, shown: Shown) -> list[Update]:
    """Return what tells an editor of a subagent's tasks as tool calls; a task that was over before is not told."""
    updates = []
    for task in view["tasks"]:
        before, now = shown.tasks.get(task["id"]), _call_status(task)
        if now == before or (before is None and now != "in_progress"):
            continue
        shown.tasks[task["id"]] = now
        update: Update = {"toolCallId": task["id"], "status": now}
        if before is None:
            text = printable(task["text"])[:MAX_RESULT]
            update |= {"sessionUpdate": "tool_call", "title": title_of(view), "kind": "other"}
            update["content"] = content_of(text)
        else:
            said = task["result"] or task["cause"] or task["state"]
            update |= {"sessionUpdate": "tool_call_update", "content": content_of(printable(said)[:MAX_RESULT])}
        updates.append(update)
    return updates


def _call_status(task: dict[str, Any]) -> str:
    if task["state"] in _GOING:
        return "in_progress"
    return "completed" if task["state"] in _DONE else "failed"


def content_of(text: str) -> list[Update]:
    """Return a text as the content of a tool call."""
    return [{"type": "content", "content": {"type": "text", "text": text}}]


def options_of(request: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the answers that an editor may offer, in the order in which the agent has them.

    Left out is what the operator alone may say, and what is of no known kind where it may allow something.
    """
    permits = request["kind"] in (RequestKind.PERMISSION, RequestKind.EGRESS)
    return [
        {
            "optionId": each["id"],
            "name": each["name"],
            "kind": each["kind"] if each["kind"] in _KINDS else PermissionKind.ALLOW_ONCE,
        }
        for each in request["options"]
        if not (request["kind"] == RequestKind.EGRESS and each["id"] == ALWAYS)
        and (each["kind"] in _KINDS or not permits)
    ]


def event_update(row: dict[str, Any]) -> Update | None:
    """Return an event of a subagent's log as the update that its agent sent, None for what is no update."""
    kind, data = row["kind"], row["data"]
    match kind:
        case "agent_message_chunk" | "agent_thought_chunk":
            return {"sessionUpdate": kind, "content": {"type": "text", "text": printable(row["text"])}}
        case "task_dispatched":
            return {"sessionUpdate": "user_message_chunk", "content": {"type": "text", "text": printable(row["text"])}}
        case "tool_call":
            kept = _words(data, "status", "kind")
            return {"sessionUpdate": kind, "toolCallId": data["tool"], "title": one_line(row["text"], MAX_CALL), **kept}
        case "tool_call_update":
            return {"sessionUpdate": kind, "toolCallId": data["tool"], **_words(data, "status")}
        case _:
            return None


def _words(data: Mapping[str, Any], *names: str) -> Update:
    return {name: one_line(str(data[name]), MAX_WORD) for name in names if name in data}
