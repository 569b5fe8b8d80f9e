"""Nudges: which facts a parent is told, under which id, and which of them are no longer worth telling.

A nudge is created in the transaction that makes its fact true. Its id is derived from the fact, so the same fact can
not be told under two ids. What the parent itself did is no nudge. Pure: the store writes what these functions return.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from acp_runtime.core.events import (
    BudgetReached,
    ChannelRecovered,
    Event,
    LossConfirmed,
    RequestOpened,
    SessionOpened,
    StopRequested,
    TaskEnded,
    TreeTimeOver,
)
from acp_runtime.core.ids import nudge_id
from acp_runtime.core.lineage import chain
from acp_runtime.core.model import Lifecycle, Opening, Reason, Subagent, TaskState, Verdict
from acp_runtime.core.permission import KINDS, ruled
from acp_runtime.core.request import CHOICE, RequestKind

MAX_NUDGE_RESULT: Final = 400


class NudgeKind(StrEnum):
    """What happened, in the words of the outbox."""

    COMPLETED = "completed"
    FAILED = "failed"
    REFUSED = "refused"
    TIMED_OUT = "timed_out"
    NEEDS_PERMISSION = "needs_permission"
    NEEDS_INPUT = "needs_input"
    CHANNEL_LOST = "channel_lost"
    RECOVERED = "recovered"
    STOPPED = "stopped"
    BUDGET = "budget"


class About(StrEnum):
    """What a nudge is about; with `Nudge.subject` it names the fact."""

    TASK = "task"
    REQUEST = "request"
    SUBAGENT = "subagent"


_OUTCOMES: Final = {
    TaskState.COMPLETED: NudgeKind.COMPLETED,
    TaskState.FAILED: NudgeKind.FAILED,
    TaskState.INTERRUPTED: NudgeKind.FAILED,
    TaskState.CANCELLED: NudgeKind.FAILED,
    TaskState.REFUSED: NudgeKind.REFUSED,
    TaskState.TIMED_OUT: NudgeKind.TIMED_OUT,
}
_ENDS: Final = {
    Reason.STOPPED_BY_PARENT: NudgeKind.STOPPED,
    Reason.STOPPED_BY_OPERATOR: NudgeKind.STOPPED,
    Reason.STOPPED_BY_ANCESTOR: NudgeKind.STOPPED,
    Reason.PARENT_ENDED: NudgeKind.STOPPED,
    Reason.START_TIMEOUT: NudgeKind.TIMED_OUT,
    Reason.IDLE_TIMEOUT: NudgeKind.TIMED_OUT,
    Reason.LIFETIME: NudgeKind.TIMED_OUT,
    Reason.START_FAILED: NudgeKind.FAILED,
    Reason.AGENT_DIED: NudgeKind.FAILED,
    Reason.CANCEL_IGNORED: NudgeKind.FAILED,
    Reason.MANAGER_FAILED: NudgeKind.FAILED,
    Reason.CHANNEL_LOST: NudgeKind.CHANNEL_LOST,
}
_OPENINGS: Final = {
    Opening.NEW: "its agent answers again",
    Opening.RESUMED: "its agent was started again and its session was resumed",
    Opening.LOADED: "its agent was started again and its session was loaded",
    Opening.LOST: "its agent was started again, but its session could not be had: it knows nothing of what was before",
}


@dataclass(frozen=True, slots=True)
class Nudge:
    """One fact for a parent. `headline` is how the outcome is told; `result` the first lines of what came out.

    `subject` is the id of the task or of the request, empty for the subagent as such. `reason` is a stable word for
    programs; for a request `result` holds the options.
    """

    id: str
    kind: NudgeKind
    parent: str
    subagent: str
    name: str
    about: About
    subject: str
    headline: str
    cause: str
    result: str = ""
    reason: str = ""


def nudges_for(before: Subagent | None, after: Subagent, event: Event) -> tuple[Nudge, ...]:
    """Return what an event gives the parent to know; `before` and `after` are the states around it."""
    if before is None:
        return ()
    match event:
        case TaskEnded():
            return tuple(each for each in (_task(after, event), _end_beside(before, event)) if each is not None)
        case RequestOpened():
            found = _request(before, event)
        case LossConfirmed():
            found = _loss(after, event)
        case SessionOpened():
            found = _reopened(before, event)
        case ChannelRecovered() if before.loss_told:
            found = _recovered(before, "it went on with its work meanwhile", "reattached")
        case StopRequested():
            found = _end(before, event)
        case BudgetReached():
            found = _budget(before, event)
        case TreeTimeOver():
            found = _time_over(before, event)
        case _:
            found = None
    return () if found is None else (found,)


def superseded(before: Subagent | None, after: Subagent, event: Event) -> tuple[str, ...]:
    """Return the ids of nudges that an event makes idle, whether they exist or not.

    A question that is closed is asked no more; a loss is told no more once the agent is back or its end is told.
    """
    if before is None:
        return ()
    still_open = {request.id for request in after.open_requests}
    closed = [_request_id(before, request.id) for request in before.open_requests if request.id not in still_open]
    if isinstance(event, SessionOpened | ChannelRecovered | StopRequested) and before.losses:
        closed.append(_loss_id(before, before.losses))
    return tuple(closed)


def headline(outcome: TaskState, verdict: Verdict | None) -> str:
    """Return the outcome as people read it: `completed (empty)`, `completed (suspect)`, `timed out`."""
    if outcome is TaskState.COMPLETED and verdict in (Verdict.EMPTY, Verdict.SUSPECT):
        return f"completed ({verdict})"
    return outcome.replace("_", " ")


def _task(state: Subagent, event: TaskEnded) -> Nudge | None:
    if event.by == "parent":
        return None
    task = state.task(event.task_id)
    return Nudge(
        id=nudge_id("task", event.task_id),
        kind=_OUTCOMES[event.outcome],
        parent=state.parent,
        subagent=state.id,
        name=state.name,
        about=About.TASK,
        subject=event.task_id,
        headline=headline(event.outcome, event.verdict),
        cause=event.cause,
        result=task.evidence.text[: MAX_NUDGE_RESULT * 4] if task is not None else "",
        reason=event.outcome,
    )


def _request(state: Subagent, event: RequestOpened) -> Nudge | None:
    permission = event.kind.permits
    if event.kind.awaited and _answers_itself(state, event):
        return None
    kind = NudgeKind.NEEDS_PERMISSION if permission else NudgeKind.NEEDS_INPUT
    return Nudge(
        id=_request_id(state, event.request_id),
        kind=kind,
        parent=_asked(state, event.kind),
        subagent=state.id,
        name=state.name,
        about=About.REQUEST,
        subject=event.request_id,
        headline="needs permission" if permission else "needs an answer",
        cause=event.title,
        result="; ".join(_offered(event)),
        reason=event.kind if event.kind in (RequestKind.EGRESS, RequestKind.LOGIN) else kind,
    )


def _asked(state: Subagent, kind: RequestKind) -> str:
    """Return which parent is asked: the root for what an agent may do, which who leads it is trusted with no more."""
    direct = kind in (RequestKind.QUESTION, RequestKind.FORM, RequestKind.ASK)
    return state.parent if direct else chain(state.parent, state.order.lineage)[-1]


def _offered(event: RequestOpened) -> Iterator[str]:
    """Say with what a request may be answered, and what an answer does: its name is only what the agent says of it."""
    for option in event.options:
        kind = option.kind if option.kind in KINDS else "unknown kind"
        plain = option.kind == CHOICE and not event.kind.permits
        yield f"{option.id} = {option.name}" if plain else f"{option.id} ({kind}) = {option.name}"
    if event.writing:
        yield f"or as text {event.writing}"


def _answers_itself(state: Subagent, event: RequestOpened) -> bool:
    """Whether the request is closed as soon as it is opened: by the policy, or because its task is to end."""
    task = state.active
    if task is None or task.state is not TaskState.RUNNING or state.lifecycle is Lifecycle.STOPPING:
        return True
    return ruled(event.kind, event.options, state.permissions, state.order.questions) is not None


def _budget(state: Subagent, event: BudgetReached) -> Nudge:
    """Tell a bound in a period of its budget: its parent, or the root one for all who share the budget, once."""
    whose = f"{state.id}.{event.bound}.{event.period}"
    if event.key:
        whose = f"{event.scope}.{event.key}.{event.bound}.{event.period}"
    of = f" of its {event.scope}" if event.key else ""
    words = f"has used up the budget{of}" if event.bound.hard else f"has reached the soft budget{of}"
    words = words if event.key else words.replace("the ", "its ")
    ident = nudge_id("budget", whose)
    nudge = _subagent(state, ident, NudgeKind.BUDGET, words=words, cause=event.cause, reason=event.bound)
    return replace(nudge, parent=chain(state.parent, state.order.lineage)[-1]) if event.key else nudge


def _time_over(state: Subagent, event: TreeTimeOver) -> Nudge:
    """Tell it once for each bound, however many managers notice it."""
    ident, words = nudge_id("budget", f"tree.{state.id}.wall.{event.most}"), "has used up the time of its tree"
    return _subagent(state, ident, NudgeKind.BUDGET, words=words, cause=event.cause, reason="wall")


def _loss(state: Subagent, event: LossConfirmed) -> Nudge:
    ident, words = _loss_id(state, event.number), "is out of reach"
    return _subagent(
        state, ident, NudgeKind.CHANNEL_LOST, words=words, cause=event.cause, reason=NudgeKind.CHANNEL_LOST
    )


def _reopened(before: Subagent, event: SessionOpened) -> Nudge | None:
    """Tell a return to who was told of the loss; that a session is gone, in any case."""
    if not before.loss_told and event.opening is not Opening.LOST:
        return None
    return _recovered(before, _OPENINGS[event.opening], event.opening)


def _recovered(before: Subagent, cause: str, reason: str) -> Nudge:
    ident = nudge_id("recovered", f"{before.id}.{before.attempt}.{before.losses}")
    return _subagent(before, ident, NudgeKind.RECOVERED, words="recovered", cause=cause, reason=reason)


def _end(before: Subagent, event: StopRequested) -> Nudge | None:
    """Tell an end that none of the tasks that it ends will tell."""
    if event.by == "parent" or event.reason is Reason.FINISHED:
        return None
    told = [task for task in before.tasks if not task.state.over]
    if event.reason not in (Reason.AGENT_DIED, Reason.CHANNEL_LOST, Reason.MANAGER_FAILED):
        # What the parent has cancelled ends by its parent, whoever ends the subagent meanwhile.
        told = [task for task in told if task.cancelled_by != "parent"]
    return None if told else _given_up(before, event.reason, event.cause)


def _end_beside(before: Subagent, event: TaskEnded) -> Nudge | None:
    """Tell an end that was to be told by a task, which ended by what its agent had said before."""
    stop = before.stop
    if stop is None or before.lifecycle is not Lifecycle.STOPPING or stop.by in ("parent", "agent"):
        return None
    own = event.by == "agent" or (event.by == "parent" and stop.reason is Reason.CHANNEL_LOST)
    return _given_up(before, stop.reason, stop.cause) if own else None


def _given_up(state: Subagent, reason: Reason, cause: str) -> Nudge:
    kind = _ENDS[reason]
    ident = nudge_id("subagent", f"{state.id}.{state.attempt}")
    words = {NudgeKind.CHANNEL_LOST: "was given up"}.get(kind, kind.replace("_", " "))
    return _subagent(state, ident, kind, words=words, cause=cause, reason=reason)


def _subagent(state: Subagent, ident: str, kind: NudgeKind, *, words: str, cause: str, reason: str) -> Nudge:
    return Nudge(
        id=ident,
        kind=kind,
        parent=state.parent,
        subagent=state.id,
        name=state.name,
        about=About.SUBAGENT,
        subject="",
        headline=words,
        cause=cause,
        reason=reason,
    )


def _request_id(state: Subagent, request: str) -> str:
    return nudge_id("request", f"{state.id}.{request}")


def _loss_id(state: Subagent, number: int) -> str:
    return nudge_id("channel_lost", f"{state.id}.{number}")
