"""Which deadlines a state has, in the order of precedence, and what the state calls for.

Precedence: stop, lifetime, start (or loss), request, task or cancel grace, steer, retry, idle. All times are monotonic
milliseconds.
"""

from dataclasses import replace
from typing import Literal

from acp_runtime.core.effects import Answer, Cancel, Disband, Effect, Halt, Inspect, Launch, Permit, Prompt, Steer
from acp_runtime.core.model import Lifecycle, Step, Subagent, TaskState
from acp_runtime.core.wishes import granted

Timer = Literal["stop", "lifetime", "start", "lost", "loss", "request", "task", "cancel", "steer", "retry", "idle"]


def timers(state: Subagent) -> list[tuple[Timer, int]]:
    """Return every armed timer with its moment, highest precedence first."""
    if state.lifecycle.over:
        return []
    found: list[tuple[Timer, int]] = []
    if state.lifecycle is Lifecycle.STOPPING:
        return [("stop", state.deadline)] if state.deadline is not None else []
    if state.limits.lifetime is not None:
        found.append(("lifetime", state.requested_at + milliseconds(state.limits.lifetime)))
    if state.lifecycle is Lifecycle.LOST:
        # Neither a cancel nor an answer reaches the agent: nothing can be late until its fate is known.
        found.extend([("lost", state.deadline)] if state.deadline is not None else [])
        return [*found, *_loss(state)]
    if state.deadline is not None:
        found.append(("start", state.deadline))
    return [*found, *_loss(state), *_at_work(state)]


def _loss(state: Subagent) -> list[tuple[Timer, int]]:
    """When the parent is to be told that the agent is out of reach."""
    if state.lost_at is None or state.loss_told:
        return []
    return [("loss", state.lost_at + milliseconds(state.limits.loss_told))]


def _at_work(state: Subagent) -> list[tuple[Timer, int]]:
    found: list[tuple[Timer, int]] = []
    if state.open_requests:
        found.append(("request", min(request.deadline for request in state.open_requests)))
    task = state.active
    if task is not None and task.deadline is not None:
        found.append(("cancel" if task.state is TaskState.CANCELLING else "task", task.deadline))
    if state.open_steers:
        found.append(("steer", min(each.deadline for each in state.open_steers)))
    if (retry := retry_at(state)) is not None:
        found.append(("retry", retry))
    if state.idle_since is not None and state.limits.idle is not None:
        found.append(("idle", state.idle_since + milliseconds(state.limits.idle)))
    return found


def retry_at(state: Subagent) -> int | None:
    """Return when the first queued task may be given to the ready agent again, None when nothing waits for that."""
    if state.lifecycle is not Lifecycle.READY or state.active is not None or state.question is not None:
        return None
    return state.queued[0].retry_at if state.queued else None


def next_deadline(state: Subagent) -> int | None:
    """Return the earliest armed moment, or None when nothing is timed."""
    return min((moment for _, moment in timers(state)), default=None)


def moved(state: Subagent, by: int) -> Subagent:
    """Return a state with every reading of the clock moved: what was left of each deadline is left of it still."""

    def later(reading: int | None) -> int | None:
        return None if reading is None else reading + by

    return replace(
        state,
        requested_at=state.requested_at + by,
        begun=state.begun + by,
        deadline=later(state.deadline),
        idle_since=later(state.idle_since),
        lost_at=later(state.lost_at),
        stop=None if state.stop is None else replace(state.stop, deadline=state.stop.deadline + by),
        steers=tuple(replace(each, deadline=each.deadline + by) for each in state.steers),
        requests=tuple(replace(each, deadline=each.deadline + by) for each in state.requests),
        tasks=tuple(
            replace(each, deadline=later(each.deadline), retry_at=later(each.retry_at)) for each in state.tasks
        ),
    )


def taken_over(state: Subagent, now: int) -> Subagent:
    """Return a state with its whole time to learn of the agent: while no manager was there nobody could."""
    seconds = _grace(state)
    if seconds is None or state.deadline is None:
        return state
    return replace(state, deadline=max(state.deadline, now + milliseconds(seconds)))


def stop_seconds(state: Subagent) -> float:
    """Return how long the step of a stop may take that a subagent is in: each level below it as long as itself."""
    return state.limits.stop * (state.order.lineage.below if state.leading else 1)


def _grace(state: Subagent) -> float | None:
    """Return how many seconds an end or a loss may take; None for a subagent that is in neither."""
    return {Lifecycle.STOPPING: stop_seconds(state), Lifecycle.LOST: state.limits.lost_grace}.get(state.lifecycle)


def outstanding(state: Subagent) -> tuple[Effect, ...]:
    """Return all that the state calls for; each effect may be performed again without harm."""
    if state.lifecycle.over or state.lifecycle is Lifecycle.REQUESTED:
        return ()
    if state.lifecycle is Lifecycle.STOPPING:
        return (Disband(state.attempt),) if state.leading else (Halt(state.attempt),)
    if state.lifecycle is Lifecycle.STARTING:
        return () if state.step is Step.BACKOFF else (Launch(state.attempt),)
    if state.lifecycle is Lifecycle.LOST:
        return (Inspect(state.attempt),)
    effects: list[Effect] = [
        Answer(state.attempt, request.id, request.answer, request.content)
        for request in state.requests
        if request.answer is not None and request.kind.awaited
    ]
    if state.order.egress is not None or state.period:
        effects.append(Permit(state.attempt, granted(state.active), state.period))
    effects += [Steer(state.attempt, each.id) for each in state.open_steers]
    task = state.active
    if task is not None:
        effects.append(Prompt(state.attempt, task.id, task.deliveries))
        if task.state is TaskState.CANCELLING:
            effects.append(Cancel(state.attempt, task.id))
    return tuple(effects)


def milliseconds(seconds: float) -> int:
    """Return a duration of the configuration on the clock of the core."""
    return round(seconds * 1000)
