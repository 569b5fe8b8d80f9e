"""The two machines, as data. Nothing changes a state except through these tables.

`LIFECYCLE` is the liveness of the agent, `TASK` the fate of one instruction. They are coupled by rules in `decide`
only: a task is dispatched when its agent is ready and no other task is with it, and ends when its agent does.
The diagrams in `docs/architecture.md` are generated from here.
"""

from typing import Final

from acp_runtime.core.errors import IllegalTransition
from acp_runtime.core.events import (
    AgentDied,
    AttemptStarted,
    CancelRequested,
    ChannelLost,
    ChannelRecovered,
    Event,
    LossConfirmed,
    RecoveryRefused,
    SessionOpened,
    StepReached,
    StopRequested,
    SubagentFailed,
    SubagentStopped,
    SubtreeEnded,
    TaskEnded,
    TaskRetried,
    TaskStarted,
)
from acp_runtime.core.model import Lifecycle, TaskState

LIFECYCLE: Final[dict[Lifecycle, dict[type[Event], Lifecycle]]] = {
    Lifecycle.REQUESTED: {
        AttemptStarted: Lifecycle.STARTING,
    },
    Lifecycle.STARTING: {
        StepReached: Lifecycle.STARTING,
        AttemptStarted: Lifecycle.STARTING,
        LossConfirmed: Lifecycle.STARTING,
        SessionOpened: Lifecycle.READY,
        StopRequested: Lifecycle.STOPPING,
    },
    Lifecycle.READY: {
        ChannelLost: Lifecycle.LOST,
        AttemptStarted: Lifecycle.STARTING,
        StopRequested: Lifecycle.STOPPING,
    },
    Lifecycle.LOST: {
        ChannelRecovered: Lifecycle.READY,
        RecoveryRefused: Lifecycle.LOST,
        LossConfirmed: Lifecycle.LOST,
        AgentDied: Lifecycle.LOST,
        AttemptStarted: Lifecycle.STARTING,
        StopRequested: Lifecycle.STOPPING,
    },
    Lifecycle.STOPPING: {
        SubtreeEnded: Lifecycle.STOPPING,
        SubagentStopped: Lifecycle.STOPPED,
        SubagentFailed: Lifecycle.FAILED,
    },
    Lifecycle.STOPPED: {
        AttemptStarted: Lifecycle.STARTING,
    },
    Lifecycle.FAILED: {
        AttemptStarted: Lifecycle.STARTING,
    },
}

TASK: Final[dict[TaskState, dict[str, TaskState]]] = {
    TaskState.QUEUED: {
        "started": TaskState.RUNNING,
        "ended:failed": TaskState.FAILED,
        "ended:cancelled": TaskState.CANCELLED,
        "ended:timed_out": TaskState.TIMED_OUT,
    },
    TaskState.RUNNING: {
        "cancel_requested": TaskState.CANCELLING,
        "retried": TaskState.QUEUED,
        "ended:completed": TaskState.COMPLETED,
        "ended:failed": TaskState.FAILED,
        "ended:refused": TaskState.REFUSED,
        "ended:cancelled": TaskState.CANCELLED,
        "ended:interrupted": TaskState.INTERRUPTED,
    },
    TaskState.CANCELLING: {
        "ended:cancelled": TaskState.CANCELLED,
        "ended:timed_out": TaskState.TIMED_OUT,
        "ended:interrupted": TaskState.INTERRUPTED,
    },
    TaskState.COMPLETED: {},
    TaskState.FAILED: {},
    TaskState.REFUSED: {},
    TaskState.CANCELLED: {},
    TaskState.TIMED_OUT: {},
    TaskState.INTERRUPTED: {},
}

LIFECYCLE_EVENTS: Final = frozenset(event for row in LIFECYCLE.values() for event in row)


def lifecycle_after(state: Lifecycle, event: Event) -> Lifecycle:
    """Return the lifecycle after an event. Raises `IllegalTransition` for a pair that the table does not hold."""
    after = LIFECYCLE[state].get(type(event))
    if after is None:
        raise IllegalTransition(f"the lifecycle table has no {type(event).__name__} in state {state}")
    return after


TaskEvent = TaskStarted | TaskRetried | CancelRequested | TaskEnded


def task_trigger(event: TaskEvent) -> str:
    """Return the name under which the task table knows an event."""
    match event:
        case TaskStarted():
            return "started"
        case TaskRetried():
            return "retried"
        case CancelRequested():
            return "cancel_requested"
        case TaskEnded():
            return f"ended:{event.outcome}"


def task_after(state: TaskState, event: TaskEvent) -> TaskState:
    """Return the task's state after an event. Raises `IllegalTransition` for a pair that the table does not hold."""
    trigger = task_trigger(event)
    after = TASK[state].get(trigger)
    if after is None:
        raise IllegalTransition(f"the task table has no {trigger} in state {state}")
    return after
