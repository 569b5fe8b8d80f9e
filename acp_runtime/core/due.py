"""What follows when a deadline has come: one rule for each timer."""

from collections.abc import Callable

from acp_runtime.core.commands import close
from acp_runtime.core.draft import Draft
from acp_runtime.core.ending import finish, leave_subtree
from acp_runtime.core.events import LossConfirmed, SteerEnded
from acp_runtime.core.inputs import DeadlinePassed
from acp_runtime.core.model import Reason, Steering, Step, TaskState
from acp_runtime.core.permission import reject
from acp_runtime.core.timers import Timer, timers


def deadline_passed(draft: Draft, _given: DeadlinePassed) -> None:
    """Apply the rule of the due timer that has precedence; the others are asked for again."""
    due: Timer | None = next((name for name, moment in timers(draft.state) if moment <= draft.now), None)
    if due is not None:
        _RULES[due](draft)


def _stop(draft: Draft) -> None:
    if draft.state.leading:
        leave_subtree(draft)
        return
    finish(draft, confirmed=False, exported=False)


def _lifetime(draft: Draft) -> None:
    cause = f"the subagent reached its lifetime of {draft.state.limits.lifetime:g} s"
    draft.stop(Reason.LIFETIME, by="manager", cause=cause, failed=False)


def _start(draft: Draft) -> None:
    state = draft.state
    step = state.step or Step.SANDBOX
    if step is Step.BACKOFF:
        draft.launch()
        return
    cause = f"the agent did not get past {step} within {state.limits.for_step(step):g} s (limits.{step})"
    draft.stop(Reason.START_TIMEOUT, by="manager", cause=cause, failed=True)


def _lost(draft: Draft) -> None:
    state = draft.state
    learnt = f"could not be had back within {state.limits.lost_grace:g} s: {state.refused}"
    if not state.refused:
        learnt = f"nothing was learnt within {state.limits.lost_grace:g} s"
    cause = f"the channel to the agent was lost and {learnt}"
    draft.stop(Reason.CHANNEL_LOST, by="manager", cause=cause, failed=True)


def _loss(draft: Draft) -> None:
    state = draft.state
    cause = f"the agent has been out of reach for {state.limits.loss_told:g} s"
    if state.refused:
        cause = f"{cause}: {state.refused}"
    draft.emit(LossConfirmed(at=draft.now, attempt=state.attempt, number=state.losses, cause=cause))


def _request(draft: Draft) -> None:
    for request in draft.state.open_requests:
        if request.deadline <= draft.now:
            close(draft, request, reject(request.options), by="deadline")


def _task(draft: Draft) -> None:
    task = draft.state.active
    if task is not None:
        cause = f"the task reached its deadline of {draft.state.limits.task:g} s (limits.task)"
        draft.cancel(task, goal=TaskState.TIMED_OUT, cause=cause, by="manager")


def _cancel(draft: Draft) -> None:
    """End an agent that does not answer a cancel; another attempt goes on in its session while one is left."""
    task = draft.state.active
    if task is None:
        return
    grace = draft.state.limits.cancel_grace
    cause = f"{task.cause}; the agent did not answer the cancel within {grace:g} s"
    draft.end(task, task.goal, cause=cause, by=task.cancelled_by)
    if draft.state.can_restart():
        draft.restart()
    else:
        draft.stop(Reason.CANCEL_IGNORED, by="manager", cause="the agent did not answer a cancel", failed=True)


def _steer(draft: Draft) -> None:
    for steer in draft.state.open_steers:
        if steer.deadline <= draft.now:
            draft.emit(SteerEnded(at=draft.now, steer_id=steer.id, outcome=Steering.UNKNOWN))


def _retry(_draft: Draft) -> None:
    """Nothing: the coupling rule gives the task to the agent now."""


def _idle(draft: Draft) -> None:
    cause = f"the subagent was idle for {draft.state.limits.idle:g} s"
    draft.stop(Reason.IDLE_TIMEOUT, by="manager", cause=cause, failed=False)


_RULES: dict[Timer, Callable[[Draft], None]] = {
    "stop": _stop,
    "lifetime": _lifetime,
    "start": _start,
    "lost": _lost,
    "loss": _loss,
    "request": _request,
    "task": _task,
    "cancel": _cancel,
    "steer": _steer,
    "retry": _retry,
    "idle": _idle,
}
