"""Nudges: which facts a parent is told, under which id, and how the telling reads.

A nudge is created in the transaction that makes its fact true. Its id is derived from the fact, so the same fact can
not be told under two ids. What the parent itself did is no nudge.
"""

from dataclasses import dataclass
from enum import StrEnum

from acp_runtime.core.events import TaskEnded
from acp_runtime.core.ids import nudge_id
from acp_runtime.core.model import Subagent, TaskState, Verdict
from acp_runtime.core.plaintext import quiet

MAX_NUDGE_RESULT = 400


class NudgeKind(StrEnum):
    """What happened, in the words of the outbox."""

    COMPLETED = "completed"
    FAILED = "failed"
    REFUSED = "refused"
    TIMED_OUT = "timed_out"


_KINDS = {
    TaskState.COMPLETED: NudgeKind.COMPLETED,
    TaskState.FAILED: NudgeKind.FAILED,
    TaskState.INTERRUPTED: NudgeKind.FAILED,
    TaskState.CANCELLED: NudgeKind.FAILED,
    TaskState.REFUSED: NudgeKind.REFUSED,
    TaskState.TIMED_OUT: NudgeKind.TIMED_OUT,
}


@dataclass(frozen=True, slots=True)
class Nudge:
    """One fact for a parent. `headline` is how the outcome is told; `result` the first lines of what came out."""

    id: str
    kind: NudgeKind
    parent: str
    subagent: str
    name: str
    task_id: str
    headline: str
    cause: str
    result: str


def nudge_for(state: Subagent, event: TaskEnded) -> Nudge | None:
    """Return the nudge that a task's end makes, or None when the parent caused the end itself."""
    if event.by == "parent":
        return None
    kind = _KINDS[event.outcome]
    task = state.task(event.task_id)
    return Nudge(
        id=nudge_id("task", event.task_id),
        kind=kind,
        parent=state.parent,
        subagent=state.id,
        name=state.name,
        task_id=event.task_id,
        headline=headline(event.outcome, event.verdict),
        cause=event.cause,
        result=task.evidence.text[: MAX_NUDGE_RESULT * 4] if task is not None else "",
    )


def headline(outcome: TaskState, verdict: Verdict | None) -> str:
    """Return the outcome as people read it: `completed (empty)`, `completed (suspect)`, `timed out`."""
    if outcome is TaskState.COMPLETED and verdict in (Verdict.EMPTY, Verdict.SUSPECT):
        return f"completed ({verdict})"
    return outcome.replace("_", " ")


def render_nudge(nudge: Nudge, age: str) -> str:
    """Return one line for the parent. Everything that the child controls stands in double quotes it cannot leave."""
    line = f"- {quiet(nudge.name, 40)} ({nudge.subagent}) task {nudge.task_id} {nudge.headline}{age}"
    if nudge.headline != NudgeKind.COMPLETED:
        line += f': "{quiet(nudge.cause, 200)}"'
    if nudge.result.strip():
        line += f'. It said: "{quiet(nudge.result, MAX_NUDGE_RESULT)}"'
    return line
