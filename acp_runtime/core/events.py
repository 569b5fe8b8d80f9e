"""Stored facts. Each is one row of the log; the state of a subagent is the fold of its events, in order.

`at` is the monotonic time of the decision in milliseconds; deadlines are absolute on the same clock, that of one boot.
A field is added with a default, never renamed: old logs are read for ever.
"""

from dataclasses import dataclass

from acp_runtime.core.budget import Bound, Budget, Scope
from acp_runtime.core.confinement import Egress
from acp_runtime.core.model import Limits, Opening, Order, Permissions, Reason, Steering, Step, TaskState, Verdict
from acp_runtime.core.request import Field, Option, RequestKind
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
class BootBegan(Event):
    """The machine was started anew: all readings until here are of a clock that came to `last`, and go on from `at`.

    It comes before everything else that happens to an open subagent in that boot.
    """

    last: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptStarted(Event):
    """The n-th start of the agent. `by` names who asked for one after the end; empty for the manager's own.

    `counted`: it is one of the restarts that limits allow; one that the end of its manager or an engine that is away
    made necessary is not.
    """

    attempt: int
    step: Step
    deadline: int
    by: str = ""
    counted: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class StepReached(Event):
    """`container` and `pid` (of the agent on the engine's host) are there once they are known."""

    attempt: int
    step: Step
    deadline: int
    container: str = ""
    pid: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOpened(Event):
    """`pid` is the agent's on the engine's host, which engines tell only a moment after its start."""

    attempt: int
    session_id: str
    agent_name: str
    agent_version: str
    opening: Opening = Opening.NEW
    steering: bool = False
    pid: int | None = None
    upto: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelLost(Event):
    attempt: int
    cause: str
    deadline: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelRecovered(Event):
    """The same agent is in reach again; what it wrote meanwhile was kept for us. `adopted`: by another manager."""

    attempt: int
    adopted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoveryRefused(Event):
    """The agent's holder was reached and turned its manager down; told again only in other words."""

    attempt: int
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LossConfirmed(Event):
    """The agent has been out of reach for so long that its parent is told; `number` counts the losses."""

    attempt: int
    number: int
    cause: str


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
class SubtreeEnded(Event):
    """Those that it led have ended, or were given up; now it ends itself, until `deadline`."""

    deadline: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SubagentStopped(Event):
    """The end of a subagent that was stopped; `confirmed` is False when the engine could not prove the removal.

    `exported` is False when its work could not be taken out: the volume that holds it is kept.
    """

    confirmed: bool
    exported: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class SubagentFailed(Event):
    """The end of a subagent that could not go on; the fields mean what they mean in `SubagentStopped`."""

    confirmed: bool
    exported: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskQueued(Event):
    """`woken`: by the manager, which has news for a subagent that leads others."""

    task_id: str
    number: int
    text: str
    woken: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskStarted(Event):
    """A prompt was given to the agent; `note` stands before the task's text in it."""

    task_id: str
    attempt: int
    deadline: int | None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptSent(Event):
    """The task's prompt is about to be written as JSON-RPC request `request`, at `offset` of the agent's input.

    Stored before the write: an input that got no further than `offset` never had the prompt.
    """

    task_id: str
    request: int
    offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRetried(Event):
    """The model failed before anything was produced, or had no login; or the agent never got the prompt.

    The task waits first in the queue until `retry_at`; `number` counts the failures of the model.
    """

    task_id: str
    number: int
    cause: str
    retry_at: int
    ran_out: tuple[int, int] = (0, 0)


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
    """The one terminal fact of a task. `by` names who caused it, so that a parent is not told what it did itself.

    `ran_out`, as in `TaskRetried`, counts what had run out in the sandbox since its attempt began and was told by then:
    processes killed for want of memory, and new ones refused.
    """

    task_id: str
    outcome: TaskState
    cause: str
    by: str
    verdict: Verdict | None = None
    stop_reason: str | None = None
    files_changed: int | None = None
    stderr_tail: str = ""
    skipped_lines: int = 0
    ran_out: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestOpened(Event):
    """`wire` is the id of the agent's request as JSON, so that a later manager can answer it; empty for ours.

    `upto`: all of the agent's output before this offset is in the log; 0 where its output is not kept for us. `rule`:
    the egress rule that is asked for. `fields` and `writing` as in `Request`.
    """

    request_id: str
    task_id: str
    title: str
    options: tuple[Option, ...]
    deadline: int
    kind: RequestKind = RequestKind.PERMISSION
    wire: str = ""
    upto: int = 0
    rule: str = ""
    fields: tuple[Field, ...] = ()
    writing: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestClosed(Event):
    """`answer` is the chosen option id, or empty for the protocol's outcome `cancelled`.

    It is `WRITTEN` where `text` is the answer. `content` is what it fills a form with, as JSON.
    """

    request_id: str
    answer: str
    by: str
    text: str = ""
    content: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerTaken(Event):
    """The agent was told the answer to a question that it asked by its tool."""

    request_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultReported(Event):
    """What the agent says that its task came to, as JSON; a later one takes its place."""

    task_id: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SteerRequested(Event):
    """A message for the running task, handed to the agent; it must answer until `deadline`."""

    steer_id: str
    number: int
    task_id: str
    text: str
    by: str
    deadline: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SteerEnded(Event):
    """What became of it; with `queued` a task of its own follows."""

    steer_id: str
    outcome: Steering


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetReached(Event):
    """What was used has come to a bound of a budget, for the first time in that period of it.

    The budget is the subagent's own, or one of a `scope` that it shares under `key`; the period of such a one is the
    bound itself.
    """

    bound: Bound
    cause: str
    period: int = 0
    scope: Scope = Scope.AGENT
    key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeTimeOver(Event):
    """The tree of which this subagent is the top has been there for as long as it may: `most` seconds."""

    most: float
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetChanged(Event):
    """The subagent's budget is another one from now on; a bound that was changed may be reached anew."""

    budget: Budget
    by: str
    period: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRefused(Event):
    """A call of a model was refused while a task was under way, for a budget or a login that is gone: it will fail."""

    task_id: str
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EgressChanged(Event):
    """What the configuration lets the sandbox reach is another now: `egress`, with what was gained and lost by that.

    `by`: the operator, or the manager at a start with another configuration. What was allowed for a task, or for good,
    is no part of it.
    """

    egress: Egress
    gained: tuple[str, ...]
    lost: tuple[str, ...]
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TranscriptAdded(Event):
    """Something the agent said or did. `late` marks what arrived after its task had ended.

    `upto`: all of the agent's output before this offset is in the log, but for the answer to the running prompt when
    that begins at `answer_at`; 0 where its output is not kept for us.
    """

    task_id: str | None
    entry: Entry
    late: bool = False
    upto: int = 0
    answer_at: int | None = None


SUBAGENT_EVENTS: tuple[type[Event], ...] = (
    SubagentRequested, BootBegan, AttemptStarted, StepReached, SessionOpened, ChannelLost, ChannelRecovered,
    RecoveryRefused, LossConfirmed, AgentDied, StopRequested, SubagentStopped, SubagentFailed, TaskQueued, TaskStarted,
    PromptSent, TaskRetried, CancelRequested, TaskEnded, RequestOpened, RequestClosed, SteerRequested, SteerEnded,
    AnswerTaken, ResultReported, TranscriptAdded, BudgetReached, BudgetChanged, CallRefused, EgressChanged,
    SubtreeEnded, TreeTimeOver,
)  # fmt: skip
