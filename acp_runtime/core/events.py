"""Stored facts. Each is one row of the log; the state of a subagent is the fold of its events, in order.

`at` is the monotonic time of the decision in milliseconds; deadlines are absolute on the same clock.
A field is added with a default, never renamed: old logs are read for ever.
"""

from dataclasses import dataclass

from acp_runtime.core.model import Limits, Option, Order, Permissions, Reason, Step, TaskState, Verdict
from acp_runtime.core.transcript import Entry


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Base of all facts."""

    at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SubagentRequested(Event):
    id: str
    parent: str
    name: str
    purpose: str
    order: Order
    permissions: Permissions
    limits: Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptStarted(Event):
    attempt: int
    step: Step
    deadline: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StepReached(Event):
    attempt: int
    step: Step
    deadline: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOpened(Event):
    attempt: int
    session_id: str
    agent_name: str
    agent_version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelLost(Event):
    attempt: int
    cause: str
    deadline: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentDied(Event):
    """Proof of death. `exit_code` is None where nobody can know it."""

    attempt: int
    exit_code: int | None
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StopRequested(Event):
    """The one door to an end. `kind` is the stable word of the failure behind it, empty where there is none."""

    reason: Reason
    by: str
    cause: str
    failed: bool
    deadline: int
    kind: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubagentStopped(Event):
    """The end of a subagent that was stopped; `confirmed` is False when the engine could not prove the removal."""

    confirmed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SubagentFailed(Event):
    """The end of a subagent that could not go on."""

    confirmed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskQueued(Event):
    task_id: str
    number: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskStarted(Event):
    task_id: str
    attempt: int
    deadline: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelRequested(Event):
    """The running task is to end early, as `goal` (cancelled or timed_out)."""

    task_id: str
    goal: TaskState
    cause: str
    by: str
    deadline: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskEnded(Event):
    """The one terminal fact of a task. `by` names who caused it, so that a parent is not told what it did itself."""

    task_id: str
    outcome: TaskState
    cause: str
    by: str
    verdict: Verdict | None = None
    stop_reason: str | None = None
    files_changed: int | None = None
    stderr_tail: str = ""
    skipped_lines: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestOpened(Event):
    request_id: str
    task_id: str
    title: str
    options: tuple[Option, ...]
    deadline: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestClosed(Event):
    """`answer` is the chosen option id, or empty for the protocol's outcome `cancelled`."""

    request_id: str
    answer: str
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TranscriptAdded(Event):
    """Something the agent said or did. `late` marks what arrived after its task had ended."""

    task_id: str | None
    entry: Entry
    late: bool = False


SUBAGENT_EVENTS: tuple[type[Event], ...] = (
    SubagentRequested, AttemptStarted, StepReached, SessionOpened, ChannelLost, AgentDied, StopRequested,
    SubagentStopped, SubagentFailed, TaskQueued, TaskStarted, CancelRequested, TaskEnded, RequestOpened,
    RequestClosed, TranscriptAdded,
)  # fmt: skip
