"""The nouns of the core: what is known of one subagent at one moment.

Times are milliseconds of the monotonic clock of one boot (`acp_runtime.clock`); durations in `Limits` are seconds.
Everything here is frozen: a new fact gives a new value (`evolve`).
"""

from dataclasses import dataclass, field, fields
from enum import StrEnum
from math import isfinite
from typing import Final

MAX_RESULT_CHARS: Final = 65_536
MAX_TOOLS_COUNTED: Final = 4_096


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
    START_FAILED = "start_failed"
    START_TIMEOUT = "start_timeout"
    IDLE_TIMEOUT = "idle_timeout"
    LIFETIME = "max_lifetime_exceeded"
    AGENT_DIED = "agent_died"
    CHANNEL_LOST = "channel_lost"
    CANCEL_IGNORED = "cancel_ignored"


class Permissions(StrEnum):
    """How permission requests of the agent are answered without asking anybody."""

    ALLOW = "allow"
    DENY = "deny"


@dataclass(frozen=True, slots=True)
class Limits:
    """Deadlines of one subagent, in seconds; `None` means none. `queue` is a number of tasks.

    `initialize_cold` takes the place of `initialize` for agent kinds whose first start fetches or unpacks something.
    Raises `ValueError` naming a value that is no positive, finite duration.
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
    lost_grace: float = 10.0
    idle: float | None = None
    lifetime: float | None = None
    queue: int = 16

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            good = value >= 0 if each.name == "queue" else value is None or (value > 0 and isfinite(value))
            if not good:
                raise ValueError(f"limits.{each.name} is {value}; it must be positive and finite")

    def for_step(self, step: Step) -> float:
        return {
            Step.SANDBOX: self.sandbox,
            Step.INITIALIZE: self.initialize,
            Step.AUTHENTICATE: self.authenticate,
            Step.SESSION: self.session,
        }[step]


@dataclass(frozen=True, slots=True)
class Order:
    """What the launcher needs to start the agent; holds names of secrets, never secrets."""

    agent: str
    workspace: str
    image: str | None = None
    model: str | None = None
    model_url: str | None = None
    model_key_env: str | None = None


@dataclass(frozen=True, slots=True)
class Option:
    """One answer that the agent offers to its permission request."""

    id: str
    name: str
    kind: str


@dataclass(frozen=True, slots=True)
class Request:
    """A question of the agent. `answer` is the chosen option id, empty for the outcome `cancelled`, None while open."""

    id: str
    task_id: str
    title: str
    options: tuple[Option, ...]
    deadline: int
    answer: str | None = None

    @property
    def open(self) -> bool:
        return self.answer is None


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a task left behind, by which its completion is judged.

    `text` is the agent's newest message, at most `MAX_RESULT_CHARS` long; `tools` maps tool call ids to their last
    status. `files_changed` is None where it could not be counted.
    """

    text: str = ""
    message_open: bool = False
    tools: tuple[tuple[str, str], ...] = ()
    files_changed: int | None = None
    stderr_tail: str = ""
    skipped_lines: int = 0

    def count(self, status: str) -> int:
        """Return how many tool calls ended with this status."""
        return sum(1 for _, each in self.tools if each == status)


@dataclass(frozen=True, slots=True)
class Task:
    """One instruction and what became of it."""

    id: str
    number: int
    text: str
    state: TaskState = TaskState.QUEUED
    deadline: int | None = None
    remaining: int | None = None
    goal: TaskState = TaskState.CANCELLED
    cancelled_by: str = ""
    cause: str = ""
    verdict: Verdict | None = None
    evidence: Evidence = field(default_factory=Evidence)


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
    """All that the machines know of one subagent. `tasks`: every open one and the one that ended last, in order."""

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

    def task(self, task_id: str) -> Task | None:
        return next((task for task in self.tasks if task.id == task_id), None)
