"""How stored facts read to a parent or a person: one kind, one text, and what a program may want beside them.

The kinds of what an agent says and does are ACP's own words. A fact without a telling is of no use to a reader: it
either repeats another or is a step of a start, which the status shows.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from acp_runtime.core.events import (
    AgentDied,
    AttemptStarted,
    BudgetChanged,
    BudgetReached,
    CallRefused,
    ChannelLost,
    ChannelRecovered,
    EgressChanged,
    Event,
    RecoveryRefused,
    RequestClosed,
    RequestOpened,
    ResultReported,
    SessionOpened,
    SteerEnded,
    SteerRequested,
    StopRequested,
    SubagentFailed,
    SubagentStopped,
    TaskEnded,
    TaskRetried,
    TaskStarted,
    TranscriptAdded,
    TreeTimeOver,
)
from acp_runtime.core.model import Opening, TaskState
from acp_runtime.core.plaintext import quiet
from acp_runtime.core.transcript import (
    OUTPUT_LOST,
    PASSED_OVER,
    STRAY_MESSAGES,
    TOOLS_REFUSED,
    Entry,
    MessageEntry,
    OtherEntry,
    PlanEntry,
    ToolEntry,
)

MAX_TASK_TOLD: Final = 300
MAX_OPTION_TOLD: Final = 60

# Every kind of ours and those of ACP that have a telling of their own, with what their text is.
MEANINGS: Final = {
    "task_dispatched": "the beginning of the task that was given to the agent",
    "agent_message_chunk": "what the agent said",
    "agent_thought_chunk": "what it thought",
    "user_message_chunk": "what it repeats of what it was told",
    "tool_call": "the title of a tool call",
    "tool_call_update": "a tool call went on; its status is in the data",
    TOOLS_REFUSED: "how many connections to its tools were refused because they had not its token",
    STRAY_MESSAGES: "how many of its messages were dropped because they named a session that is not its own",
    OUTPUT_LOST: "how much of what it wrote is lost here: its journal was damaged, or cut off",
    PASSED_OVER: "how much it wrote here that is not kept, since nothing of it is for readers",
    "plan": "the plan as it stands, one step on each line",
    "task_complete": "the task finished; the stop reason in brackets",
    "task_failed": "why the task failed",
    "task_refused": "why the agent refused the task",
    "task_cancelled": "who cancelled the task and why",
    "task_timed_out": "which deadline the task reached",
    "task_interrupted": "what came between; the outcome of the task is unknown",
    "task_retried": "why the task is delivered again",
    "steer_requested": "the beginning of a message to the running task",
    "steer_ended": "what became of it: injected, queued or unknown",
    "request_opened": "what the agent asks; the options are in the data",
    "request_closed": "who answered, and with which option; or why nobody did",
    "result_reported": "what the agent says that its task came to, as JSON",
    "session_opened": "how the session came about",
    "channel_lost": "why the agent is out of reach",
    "recovery_refused": "why it is not had back: the program that keeps its streams refused the manager",
    "channel_recovered": "the agent is in reach again; it went on meanwhile",
    "budget_reached": "what it used has come to a bound of a budget; `data.bound` names it",
    "budget_changed": "its budget is another one from now on; who changed it is in the data",
    "call_refused": "a call of a model was refused in the task since the budget is used up; the task fails",
    "egress_changed": "what the configuration lets its sandbox reach has changed; `data` has `gained`, `lost` and `by`",
    "agent_died": "how the agent's process ended",
    "restarting": "which attempt begins",
    "stopping": "why the subagent is being stopped",
    "ended": "the subagent has ended; tools tell it under its final status, with the reason",
}

_COUNTS: Final = {
    STRAY_MESSAGES: "Dropped for another session than its own, so far: {messages}.",
    TOOLS_REFUSED: "Refused at its tools for want of its token, so far: {connections}.",
    OUTPUT_LOST: "Lost of what the agent wrote: {bytes} bytes.",
    PASSED_OVER: "Not kept of what the agent wrote: {bytes} bytes.",
}
_MESSAGES: Final = {"agent": "agent_message_chunk", "thought": "agent_thought_chunk", "user": "user_message_chunk"}


@dataclass(frozen=True, slots=True)
class Told:
    """One fact as it is told. `data` holds only what the text does not say."""

    kind: str
    text: str
    task: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict)


def tell(event: Event, task_text: Callable[[str], str], *, details: bool = False) -> Told | None:
    """Return how a fact is told, or None for one that is not.

    `task_text` gives the text of a task by its id. With `details`, tool calls carry what they put out.
    """
    match event:
        case TranscriptAdded(task_id=task, entry=entry):
            return _entry(entry, task, details=details)
        case TaskStarted(task_id=task):
            return Told("task_dispatched", task_text(task)[:MAX_TASK_TOLD], task)
        case _:
            teller = _TELLERS.get(type(event))
            return teller(event) if teller is not None else None


def _attempt(event: AttemptStarted) -> Told | None:
    return Told("restarting", f"Starting the agent again (attempt {event.attempt}).") if event.attempt > 1 else None


def _opened(event: SessionOpened) -> Told:
    return Told("session_opened", _OPENINGS[event.opening], None, {"session": event.session_id})


_OPENINGS: Final = {
    Opening.NEW: "A new session is open.",
    Opening.RESUMED: "The earlier session goes on.",
    Opening.LOADED: "The earlier session was loaded.",
    Opening.LOST: "The earlier session could not be had; this is a new one that knows nothing of it.",
}


def _ended(event: TaskEnded) -> Told:
    if event.outcome is TaskState.COMPLETED:
        text = f"Latest task finished ({event.stop_reason})." if event.stop_reason else "Latest task finished."
        verdict = {"verdict": str(event.verdict), "cause": event.cause} if event.verdict not in (None, "full") else {}
        return Told("task_complete", text, event.task_id, verdict)
    return Told(f"task_{event.outcome}", event.cause, event.task_id)


def _asked(event: RequestOpened) -> Told:
    options = [{"id": each.id, "name": each.name, "kind": each.kind} for each in event.options]
    data: dict[str, Any] = {"request": event.request_id, "options": options}
    data |= {name: value for name, value in (("rule", event.rule), ("text", event.writing)) if value}
    return Told("request_opened", event.title, event.task_id, data)


def _ruled(event: EgressChanged) -> Told:
    gone, new = ", ".join(event.lost), ", ".join(event.gained)
    parts = ([f"no longer reached: {gone}"] if gone else []) + ([f"newly reached: {new}"] if new else [])
    data = {"gained": list(event.gained), "lost": list(event.lost), "by": event.by}
    return Told("egress_changed", f"The configuration has changed; {'; '.join(parts)}.", None, data)


def _answered(event: RequestClosed) -> Told:
    data = {"request": event.request_id, "answer": event.answer, "by": event.by}
    data |= {"text": event.text} if event.text else {}
    return Told("request_closed", _answer(event), None, data)


def _answer(event: RequestClosed) -> str:
    # The id of an option is the agent's word.
    chosen = "in words" if event.text else quiet(event.answer, MAX_OPTION_TOLD)
    if event.by == "deadline":
        return f"nobody answered in time; taken for: {chosen}" if chosen else "nobody answered in time"
    return f"answered by {event.by}: {chosen}" if chosen else f"closed by {event.by} without an answer"


def _entry(entry: Entry, task: str | None, *, details: bool) -> Told:
    match entry:
        case MessageEntry(role=role, text=text):
            return Told(_MESSAGES[role], text, task)
        case ToolEntry():
            return _tool(entry, task, details=details)
        case PlanEntry(entries=entries):
            return Told("plan", "\n".join(f"[{each.status}] {each.content}" for each in entries), task)
        case OtherEntry(kind=kind, data=data) if (count := _COUNTS.get(kind)) is not None:
            return Told(kind, count.format(**json.loads(data)), task)
        case OtherEntry(kind=kind, data=data):
            return Told(kind, data if details else "", task)


def _tool(entry: ToolEntry, task: str | None, *, details: bool) -> Told:
    data: dict[str, Any] = {"tool": entry.tool_call_id}
    for name in ("status", "kind"):
        if (value := getattr(entry, name)) is not None:
            data[name] = value
    if details and entry.detail:
        data["detail"] = entry.detail
    return Told("tool_call_update" if entry.title is None else "tool_call", entry.title or "", task, data)


_TELLERS: Final[dict[type[Event], Callable[[Any], Told | None]]] = {
    AttemptStarted: _attempt,
    SessionOpened: _opened,
    ChannelLost: lambda event: Told("channel_lost", event.cause),
    ChannelRecovered: lambda _: Told("channel_recovered", "The agent is in reach again."),
    RecoveryRefused: lambda event: Told("recovery_refused", event.cause),
    AgentDied: lambda event: Told("agent_died", event.cause),
    StopRequested: lambda event: Told("stopping", event.cause),
    SubagentStopped: lambda _: Told("ended", "The subagent has ended."),
    SubagentFailed: lambda _: Told("ended", "The subagent has ended with an error."),
    TaskRetried: lambda event: Told("task_retried", event.cause, event.task_id, {"number": event.number}),
    BudgetReached: lambda event: Told("budget_reached", event.cause, None, {"bound": event.bound}),
    TreeTimeOver: lambda event: Told("budget_reached", event.cause, None, {"bound": "wall"}),
    BudgetChanged: lambda event: Told("budget_changed", str(event.budget) or "no budget", None, {"by": event.by}),
    CallRefused: lambda event: Told("call_refused", event.cause, event.task_id),
    TaskEnded: _ended,
    ResultReported: lambda event: Told("result_reported", event.value, event.task_id),
    RequestOpened: _asked,
    EgressChanged: _ruled,
    RequestClosed: _answered,
    SteerRequested: lambda event: Told(
        "steer_requested", event.text[:MAX_TASK_TOLD], event.task_id, {"steer": event.steer_id}
    ),
    SteerEnded: lambda event: Told("steer_ended", event.outcome, None, {"steer": event.steer_id}),
}
