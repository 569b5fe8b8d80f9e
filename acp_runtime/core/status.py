"""The one word that people and parents see: derived from both machines, never stored as a truth of its own."""

from enum import StrEnum

from acp_runtime.core.model import Lifecycle, Reason, Subagent, TaskState


class Status(StrEnum):
    """What a subagent is doing, for people."""

    STARTING = "starting"
    IDLE = "idle"
    RUNNING = "running"
    WAITING = "waiting"
    LOST = "lost"
    COMPLETED = "completed"
    STOPPED = "stopped"
    TIMED_OUT = "timed_out"
    ERROR = "error"

    @property
    def over(self) -> bool:
        return self in (Status.COMPLETED, Status.STOPPED, Status.TIMED_OUT, Status.ERROR)


_TIMEOUTS = frozenset({Reason.START_TIMEOUT, Reason.IDLE_TIMEOUT, Reason.LIFETIME})


def status(state: Subagent) -> Status:
    """Return the derived status. `waiting`: somebody waits for an answer, the agent at work or its queue."""
    match state.lifecycle:
        case Lifecycle.REQUESTED | Lifecycle.STARTING:
            return Status.WAITING if state.question is not None else Status.STARTING
        case Lifecycle.LOST:
            return Status.LOST
        case Lifecycle.STOPPING | Lifecycle.STOPPED | Lifecycle.FAILED:
            return _ended(state)
        case Lifecycle.READY:
            return _ready(state)


def _ready(state: Subagent) -> Status:
    task = state.active
    if state.holding and (task is None or task.state is TaskState.RUNNING):
        return Status.WAITING
    return Status.IDLE if task is None and not state.queued else Status.RUNNING


def _ended(state: Subagent) -> Status:
    reason = state.stop.reason if state.stop is not None else None
    if reason in _TIMEOUTS:
        return Status.TIMED_OUT
    if state.stop is not None and state.stop.failed:
        return Status.ERROR
    return Status.COMPLETED if reason is Reason.FINISHED else Status.STOPPED
