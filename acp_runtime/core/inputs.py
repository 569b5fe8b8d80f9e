"""What may happen to a subagent: commands of callers (may be rejected) and observations of the shell (never are).

Every observation of the agent carries its attempt; one of an older attempt is stale and changes nothing.
"""

from dataclasses import dataclass

from acp_runtime.core.budget import Allowance, Bound, Budget, Used
from acp_runtime.core.confinement import Egress
from acp_runtime.core.model import Limits, Opening, Order, Permissions, Reason, Steering, Step
from acp_runtime.core.request import Field, Option, RequestKind
from acp_runtime.core.transcript import Entry


class Input:
    """Base of commands and observations."""

    __slots__ = ()


class Command(Input):
    """Asked by a caller; `decide` may raise `Rejected`."""

    __slots__ = ()


class Observation(Input):
    """Seen by the shell; a late or stale one changes nothing."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Spawn(Command):
    id: str
    parent: str
    name: str
    purpose: str
    order: Order
    permissions: Permissions
    limits: Limits
    task: str


@dataclass(frozen=True, slots=True)
class Send(Command):
    """`woken`: by the manager, for news of those that it leads; nothing where the subagent has something to do."""

    text: str
    woken: bool = False


@dataclass(frozen=True, slots=True)
class SteerTask(Command):
    """A message for the running task; a task of its own where the agent cannot take one or none is running."""

    text: str
    by: str


@dataclass(frozen=True, slots=True)
class ResumeSubagent(Command):
    """Start an ended subagent again on what was kept of it, with its next task."""

    text: str
    by: str


@dataclass(frozen=True, slots=True)
class CancelTask(Command):
    task_id: str
    by: str
    cause: str


@dataclass(frozen=True, slots=True)
class StopSubagent(Command):
    reason: Reason
    by: str
    cause: str


@dataclass(frozen=True, slots=True)
class AnswerRequest(Command):
    """Answer by an option, or with none by a text."""

    request_id: str
    option_id: str
    by: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class SetBudget(Command):
    """Bound what it uses of its models by this from now on; what it has used counts."""

    budget: Budget
    by: str


@dataclass(frozen=True, slots=True)
class AskParent(Command):
    """The agent asks by its tool. The same question that is open already is not asked again."""

    attempt: int
    text: str
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TakeAnswer(Command):
    """The agent has been told the answer to its question: its next prompt need not."""

    request_id: str


@dataclass(frozen=True, slots=True)
class ReportResult(Command):
    """The agent says what its task came to, as JSON; the last one before its end counts."""

    attempt: int
    value: str


@dataclass(frozen=True, slots=True)
class Rebooted(Observation):
    """The machine was started anew since; the clock of its boot before had come to `last`."""

    last: int


@dataclass(frozen=True, slots=True)
class StepBegan(Observation):
    attempt: int
    step: Step
    container: str = ""
    pid: int | None = None


@dataclass(frozen=True, slots=True)
class SessionReady(Observation):
    attempt: int
    session_id: str
    agent_name: str
    agent_version: str
    opening: Opening = Opening.NEW
    steering: bool = False
    pid: int | None = None
    upto: int = 0


@dataclass(frozen=True, slots=True)
class StartBroke(Observation):
    """The start failed; `kind` is the stable word of what failed (errors below the core have one)."""

    attempt: int
    cause: str
    kind: str = "start_failed"


@dataclass(frozen=True, slots=True)
class Heard(Observation):
    """What the agent said. `upto` and `answer_at` are those of `TranscriptAdded`, for the last entry."""

    attempt: int
    entries: tuple[Entry, ...]
    upto: int = 0
    answer_at: int | None = None


@dataclass(frozen=True, slots=True)
class Asked(Observation):
    attempt: int
    request_id: str
    title: str
    options: tuple[Option, ...]
    wire: str = ""
    upto: int = 0
    kind: RequestKind = RequestKind.PERMISSION
    fields: tuple[Field, ...] = ()


@dataclass(frozen=True, slots=True)
class Denied(Observation):
    """What the agent wanted to reach was refused; `rule` is the narrowest that would have let it through."""

    attempt: int
    rule: str


@dataclass(frozen=True, slots=True)
class LoginExpired(Observation):
    """A call of a model was refused for want of its key or login; `title` says which, and what to do where."""

    attempt: int
    title: str


@dataclass(frozen=True, slots=True)
class LoginRenewed(Observation):
    """There is a login again, which this request asks for."""

    request_id: str


@dataclass(frozen=True, slots=True)
class Configured(Observation):
    """What the configuration of now lets the sandbox reach, beside what was allowed for a task or for good."""

    egress: Egress
    by: str


@dataclass(frozen=True, slots=True)
class PromptLaid(Observation):
    """The prompt will be written as JSON-RPC request `request` at `offset` of the input, once this is durable."""

    attempt: int
    task_id: str
    request: int
    offset: int


@dataclass(frozen=True, slots=True)
class PromptAnswered(Observation):
    """`shortage` says what ran out in the sandbox meanwhile, empty for nothing.

    `ran_out` counts all of that since the attempt began which was told by then: processes killed, and refused.
    """

    attempt: int
    task_id: str
    stop_reason: str
    files_changed: int | None
    stderr_tail: str = ""
    skipped_lines: int = 0
    shortage: str = ""
    ran_out: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class PromptBroke(Observation):
    """The prompt was answered with an error: the task fails, the agent stays."""

    attempt: int
    task_id: str
    cause: str
    files_changed: int | None = None
    stderr_tail: str = ""
    skipped_lines: int = 0
    shortage: str = ""
    ran_out: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class SteerAnswered(Observation):
    attempt: int
    steer_id: str
    outcome: Steering


@dataclass(frozen=True, slots=True)
class ChannelClosed(Observation):
    attempt: int
    cause: str


@dataclass(frozen=True, slots=True)
class Reattached(Observation):
    """The channel goes on; `adopted`: with a manager that does not know what the one before still awaited.

    `undelivered`: the agent was never given the prompt of its task.
    """

    attempt: int
    adopted: bool = False
    undelivered: bool = False


@dataclass(frozen=True, slots=True)
class Refused(Observation):
    """The agent's holder turned this manager down, in these words."""

    attempt: int
    cause: str


@dataclass(frozen=True, slots=True)
class DeathProven(Observation):
    """The agent's process is gone; `kind` is `manager_ended` when it went with its manager.

    `kept`: its input was kept for it, so a prompt that was not laid out was never written. `accepted`: it was given
    nothing behind this offset of its input; None where nothing proves that.
    """

    attempt: int
    exit_code: int | None
    cause: str
    kind: str = ""
    kept: bool = False
    accepted: int | None = None


@dataclass(frozen=True, slots=True)
class Halted(Observation):
    """`accepted`: the agent was given nothing behind this offset of its input; None where nothing proves that."""

    attempt: int
    confirmed: bool
    exported: bool = True
    accepted: int | None = None


@dataclass(frozen=True, slots=True)
class SubtreeOver(Observation):
    """All that it led have ended, while it is being stopped itself."""

    attempt: int


@dataclass(frozen=True, slots=True)
class ModelUsed(Observation):
    """What the subagent has used of its models, all in all, and why its last call was refused, if for its budget.

    `shared`: bounds of budgets that it shares with others which were reached just now.
    """

    used: Used
    refused: str = ""
    shared: tuple[tuple[Allowance, Bound], ...] = ()


@dataclass(frozen=True, slots=True)
class TimeOver(Observation):
    """The tree below this subagent, and it, have been there for as long as they may: `most` seconds."""

    most: float
    seconds: float


@dataclass(frozen=True, slots=True)
class DeadlinePassed(Observation):
    """The moment that `next_deadline` named has come; `now` tells which timers are due."""
