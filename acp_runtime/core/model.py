"""The nouns of the core: what is known of one subagent at one moment.

Times are milliseconds of the monotonic clock of one boot (`acp_runtime.clock`); durations in `Limits` are seconds.
Everything here is frozen: a new fact gives a new value (`evolve`).
"""

from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Final

from acp_runtime.core.budget import Bound, Budget
from acp_runtime.core.confinement import Confinement, Egress
from acp_runtime.core.lineage import Lineage
from acp_runtime.core.request import Answered, Questions, Request, RequestKind
from acp_runtime.core.wishes import Wish

MAX_RESULT_CHARS: Final = 65_536
MAX_TOOLS_COUNTED: Final = 4_096
MAX_STEERS_KEPT: Final = 8
LONGEST_SECONDS: Final = 100 * 365.25 * 86_400  # what lasts longer than a hundred years has no date
HOLDING_THE_QUEUE: Final = frozenset((RequestKind.QUESTION, RequestKind.LOGIN))
_NUMBERS: Final = frozenset({"queue", "restarts", "retries"})


class Lifecycle(StrEnum):
    """Liveness of the agent."""

    REQUESTED = "requested"
    STARTING = "starting"
    READY = "ready"
    LOST = "lost"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"

    @property
    def over(self) -> bool:
        return self in (Lifecycle.STOPPED, Lifecycle.FAILED)


class TaskState(StrEnum):
    """Fate of one instruction."""

    QUEUED = "queued"
    RUNNING = "running"
    CANCELLING = "cancelling"
    COMPLETED = "completed"
    FAILED = "failed"
    REFUSED = "refused"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"
    INTERRUPTED = "interrupted"

    @property
    def over(self) -> bool:
        return self not in (TaskState.QUEUED, TaskState.RUNNING, TaskState.CANCELLING)

    @property
    def active(self) -> bool:
        """Whether a prompt of this task is with the agent."""
        return self in (TaskState.RUNNING, TaskState.CANCELLING)


class Step(StrEnum):
    """What a start is busy with; each step has its own deadline."""

    BACKOFF = "backoff"
    SANDBOX = "sandbox"
    INITIALIZE = "initialize"
    AUTHENTICATE = "authenticate"
    SESSION = "session"


class Verdict(StrEnum):
    """How much a completion is worth, judged by its evidence."""

    FULL = "full"
    EMPTY = "empty"
    SUSPECT = "suspect"


class Reason(StrEnum):
    """Why a subagent ends."""

    FINISHED = "finished"
    STOPPED_BY_PARENT = "stopped_by_parent"
    STOPPED_BY_OPERATOR = "stopped_by_operator"
    STOPPED_BY_ANCESTOR = "stopped_by_ancestor"
    PARENT_ENDED = "parent_ended"
    START_FAILED = "start_failed"
    START_TIMEOUT = "start_timeout"
    IDLE_TIMEOUT = "idle_timeout"
    LIFETIME = "max_lifetime_exceeded"
    AGENT_DIED = "agent_died"
    CHANNEL_LOST = "channel_lost"
    CANCEL_IGNORED = "cancel_ignored"
    MANAGER_FAILED = "manager_failed"


class Permissions(StrEnum):
    """How permission requests of the agent are answered; with `ask` each waits for the parent or the operator."""

    ALLOW = "allow"
    DENY = "deny"
    ASK = "ask"


class Opening(StrEnum):
    """How a session came about. `LOST`: the earlier one was asked for and could not be had, so it is a new one."""

    NEW = "new"
    RESUMED = "resumed"
    LOADED = "loaded"
    LOST = "lost"


class Steering(StrEnum):
    """What became of a message to a running task. `UNKNOWN`: the agent did not say whether it took it."""

    OPEN = "open"
    INJECTED = "injected"
    QUEUED = "queued"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Limits:
    """Deadlines of one subagent, in seconds; `None` means none. `queue`, `restarts` and `retries` are numbers.

    `restarts` counts new starts after a proven death, anew after each completed task; `retries` new deliveries of a
    task whose model failed before anything was produced. `backoff` and `retry_delay` double each time.

    `initialize_cold` takes the place of `initialize` for agent kinds whose first start fetches or unpacks something.
    Raises `ValueError` naming a value that is no positive duration, or one that is beyond `LONGEST_SECONDS`.
    """

    sandbox: float = 600.0
    initialize: float = 30.0
    initialize_cold: float = 120.0
    authenticate: float = 30.0
    session: float = 90.0
    task: float | None = 3600.0
    request: float = 900.0
    cancel_grace: float = 5.0
    stop: float = 30.0
    lost_grace: float = 300.0
    loss_told: float = 30.0
    backoff: float = 1.0
    retry_delay: float = 15.0
    steer: float = 15.0
    idle: float | None = None
    lifetime: float | None = None
    queue: int = 16
    restarts: int = 2
    retries: int = 2

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            good = value >= 0 if each.name in _NUMBERS else value is None or 0 < value <= LONGEST_SECONDS
            if not good:
                raise ValueError(f"limits.{each.name} is {value}; it must be positive, and a hundred years at most")

    def for_step(self, step: Step) -> float:
        each = (self.backoff, self.sandbox, self.initialize, self.authenticate, self.session)
        return dict(zip(Step, each, strict=True))[step]


@dataclass(frozen=True, slots=True)
class Order:
    """What the launcher needs to start the agent; holds where secrets are, never secrets.

    `cwd` is the agent's folder below its workspace, relative. `keep`: home and work outlast the end, so that the
    session can be resumed. `instructions` are put before the first task. `output_file` is relative to the workspace
    of the host; the manager writes the state of a one-shot subagent there. Without `egress` there is no proxy.
    `beside`: of `egress`, what was asked for beside the preset; None in an order from before this was kept apart, which
    counts as all of it. `questions` says what becomes of the agent's own, but for those about permissions.
    `result_schema`: of what shape the result is that it reports, as JSON.
    """

    agent: str
    workspace: str
    cwd: str = ""
    preset: str = ""
    budget: Budget = field(default_factory=Budget)
    confinement: Confinement = field(default_factory=Confinement)
    keep: bool = False
    one_shot: bool = False
    output_file: str | None = None
    instructions: str = ""
    image: str | None = None
    model: str | None = None
    model_url: str | None = None
    model_key: str | None = None
    egress: Egress | None = None
    beside: Egress | None = None
    lineage: Lineage = field(default_factory=Lineage)
    questions: Questions = Questions.ASK
    result_schema: str = ""

    @property
    def unsafe(self) -> tuple[str, ...]:
        """What weakens the sandbox, for people to see."""
        return (*self.confinement.unsafe, *(self.egress.unsafe if self.egress is not None else ()))


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a task left behind, by which its completion is judged.

    `text` is the end of what the agent said after its newest tool call, at most `MAX_RESULT_CHARS` long; `message_id`
    is the agent's name for the message that it ends with. `tools` maps tool call ids to their last status.
    `files_changed` is None where it could not be counted. `lost_parts` of what it wrote were never read. `report`:
    what it said itself that the task came to, as JSON.
    """

    text: str = ""
    message_open: bool = False
    message_id: str | None = None
    tools: tuple[tuple[str, str], ...] = ()
    files_changed: int | None = None
    stderr_tail: str = ""
    skipped_lines: int = 0
    lost_parts: int = 0
    report: str = ""

    def count(self, status: str) -> int:
        """Return how many tool calls ended with this status."""
        return sum(1 for _, each in self.tools if each == status)


@dataclass(frozen=True, slots=True)
class Steer:
    """A message that was given to a running task. `put_off`: as in `Task`."""

    id: str
    task_id: str
    text: str
    deadline: int
    outcome: Steering = Steering.OPEN
    put_off: bool = False


@dataclass(frozen=True, slots=True)
class Task:
    """One instruction and what became of it. `note` is put before its text; `retry_at`: not to be delivered before.

    `deliveries` counts how often it was started, which is more than its `retries` where it never came to its agent.
    `prompt` is the JSON-RPC id of its prompt and the offset of the agent's input at which that was to be written.
    `doomed`: why it fails whatever its agent makes of that: a call of a model was refused, and will be. `logged_out`:
    why one was refused for want of a login, until it is given again.
    `put_off`: its deadline came in a loss or right behind one, and was moved for that; only another manager moves it
    again. `wishes`: what it was refused to reach, and asked for. `woken`: queued by the manager, for news alone.
    """

    id: str
    number: int
    text: str
    state: TaskState = TaskState.QUEUED
    deadline: int | None = None
    put_off: bool = False
    remaining: int | None = None
    goal: TaskState = TaskState.CANCELLED
    cancelled_by: str = ""
    cause: str = ""
    verdict: Verdict | None = None
    evidence: Evidence = field(default_factory=Evidence)
    note: str = ""
    retries: int = 0
    deliveries: int = 0
    retry_at: int | None = None
    prompt: tuple[int, int] | None = None
    doomed: str = ""
    logged_out: str = ""
    wishes: tuple[Wish, ...] = ()
    woken: bool = False


@dataclass(frozen=True, slots=True)
class Stop:
    """Why and for whom a subagent is being stopped; `failed` says that its end is a failure."""

    reason: Reason
    by: str
    cause: str
    failed: bool
    deadline: int
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Subagent:
    """All that the machines know of one subagent. `tasks`: every open one and the one that ended last, in order.

    `steers`: those without an outcome and the newest few that have one. `losses` counts how often the channel was
    lost; `lost_at` is when it was, until a session is open again; `loss_told` whether the parent is to know.
    `begun`: when the first of the starts in a row began that count as one. `files`: how many differed, counted last.
    Where the agent's output is kept for us, all of it before the offset `heard` is in the log, but for the answer to
    the running prompt when that begins at `answer_at`. `asked` is the highest number of an attempt's requests.
    `refused`: in what words the holder of an agent that is out of reach turned its manager down. `reached`: the bounds
    of its budget that it has come to, in the budget's `period`: the count of its changes.
    `leading`: it is being stopped, and those that it leads are to end before it does.
    `ran_out` counts what ran out in the sandbox of the attempt and was told: processes killed for want of memory, and
    new ones refused.
    """

    id: str
    parent: str
    name: str
    purpose: str
    order: Order
    permissions: Permissions
    limits: Limits
    requested_at: int
    lifecycle: Lifecycle = Lifecycle.REQUESTED
    attempt: int = 0
    step: Step | None = None
    deadline: int | None = None
    idle_since: int | None = None
    session_id: str | None = None
    tasks: tuple[Task, ...] = ()
    requests: tuple[Request, ...] = ()
    task_count: int = 0
    stop: Stop | None = None
    confirmed: bool = True
    exported: bool = True
    container: str = ""
    pid: int | None = None
    restarts: int = 0
    first: int = 1
    begun: int = 0
    losses: int = 0
    lost_at: int | None = None
    loss_told: bool = False
    steering: bool = False
    opening: Opening | None = None
    note: str = ""
    steers: tuple[Steer, ...] = ()
    steer_count: int = 0
    files: int | None = None
    heard: int = 0
    answer_at: int | None = None
    asked: int = 0
    refused: str = ""
    ran_out: tuple[int, int] = (0, 0)
    reached: tuple[Bound, ...] = ()
    wish_count: int = 0
    period: int = 0
    leading: bool = False
    ask_count: int = 0
    answers: tuple[Answered, ...] = ()

    @property
    def active(self) -> Task | None:
        """The task whose prompt is with the agent; there is never more than one."""
        return next((task for task in self.tasks if task.state.active), None)

    @property
    def queued(self) -> tuple[Task, ...]:
        return tuple(task for task in self.tasks if task.state is TaskState.QUEUED)

    @property
    def open_requests(self) -> tuple[Request, ...]:
        return tuple(request for request in self.requests if request.open)

    @property
    def holding(self) -> tuple[Request, ...]:
        """The open requests for whose answers somebody waits."""
        return tuple(each for each in self.open_requests if each.kind is not RequestKind.EGRESS)

    @property
    def question(self) -> Request | None:
        """An open question of the manager's own that holds the queue."""
        return next((each for each in self.open_requests if each.kind in HOLDING_THE_QUEUE), None)

    @property
    def open_steers(self) -> tuple[Steer, ...]:
        return tuple(each for each in self.steers if each.outcome is Steering.OPEN)

    @property
    def restarted(self) -> bool:
        """Whether this attempt goes on where an earlier one was cut off."""
        return self.attempt > self.first

    def can_restart(self, *, counted: bool = True) -> bool:
        """Whether another attempt may begin by itself; one that is not counted may wherever any may."""
        return (self.restarts if counted else 0) < self.limits.restarts

    def task(self, task_id: str) -> Task | None:
        return next((task for task in self.tasks if task.id == task_id), None)
