"""`decide(state, input, now) -> (events, effects)`: every choice the manager makes about a subagent. Pure.

Commands of callers may raise `Rejected` and then change nothing. Observations never raise: a late or stale one (of an
older attempt, of a task that is not active, after the end) gives no events.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from acp_runtime.core.draft import Draft
from acp_runtime.core.effects import Effect
from acp_runtime.core.errors import Rejected
from acp_runtime.core.events import (
    AgentDied,
    AttemptStarted,
    ChannelLost,
    Event,
    RequestClosed,
    RequestOpened,
    SessionOpened,
    StepReached,
    SubagentFailed,
    SubagentRequested,
    SubagentStopped,
    TaskEnded,
    TaskQueued,
    TranscriptAdded,
)
from acp_runtime.core.evolve import evolve
from acp_runtime.core.ids import task_id
from acp_runtime.core.inputs import (
    AnswerRequest,
    Asked,
    CancelTask,
    ChannelClosed,
    DeadlinePassed,
    DeathProven,
    Halted,
    Heard,
    Input,
    PromptAnswered,
    PromptBroke,
    Send,
    SessionReady,
    Spawn,
    StartBroke,
    StepBegan,
    StopSubagent,
)
from acp_runtime.core.model import Lifecycle, Reason, Step, Subagent, Task, TaskState
from acp_runtime.core.outcome import Judgement, judge
from acp_runtime.core.permission import choose, reject
from acp_runtime.core.timers import Timer, outstanding, timers


def decide(state: Subagent | None, given: Input, now: int) -> tuple[tuple[Event, ...], tuple[Effect, ...]]:
    """Return the facts that follow from an input, and the effects that the state after them newly calls for."""
    if isinstance(given, Spawn):
        return _spawn(state, given, now)
    if state is None:
        raise Rejected("unknown_subagent", f"{type(given).__name__} names a subagent that does not exist")
    draft = Draft(state, now)
    _HANDLERS[type(given)](draft, given)
    draft.dispatch()
    before = outstanding(state)
    return tuple(draft.events), tuple(each for each in outstanding(draft.state) if each not in before)


def _spawn(state: Subagent | None, given: Spawn, now: int) -> tuple[tuple[Event, ...], tuple[Effect, ...]]:
    if state is not None:
        raise Rejected("already_exists", f"subagent {given.id} exists already")
    born = SubagentRequested(
        at=now,
        id=given.id,
        parent=given.parent,
        name=given.name,
        purpose=given.purpose,
        order=given.order,
        permissions=given.permissions,
        limits=given.limits,
    )
    draft = Draft(evolve(None, born), now)
    draft.events.append(born)
    _queue(draft, given.task)
    deadline = draft.after(given.limits.for_step(Step.SANDBOX))
    draft.emit(AttemptStarted(at=now, attempt=1, step=Step.SANDBOX, deadline=deadline))
    return tuple(draft.events), outstanding(draft.state)


def _queue(draft: Draft, text: str) -> None:
    number = draft.state.task_count + 1
    draft.emit(TaskQueued(at=draft.now, task_id=task_id(draft.state.id, number), number=number, text=text))


def _send(draft: Draft, given: Send) -> None:
    state = draft.state
    if state.lifecycle is Lifecycle.STOPPING or state.lifecycle.over:
        raise Rejected("not_running", f"Background subagent {state.name} is no longer running.")
    if len(state.queued) >= state.limits.queue:
        full = (
            f"{state.name} has {len(state.queued)} queued tasks, the limit; wait for one to end or raise limits.queue"
        )
        raise Rejected("queue_full", full)
    _queue(draft, given.text)


def _cancel_task(draft: Draft, given: CancelTask) -> None:
    task = draft.state.task(given.task_id)
    if task is None or task.state.over:
        raise Rejected("task_over", f"task {given.task_id} is not open, so there is nothing to cancel")
    if task.state is TaskState.QUEUED:
        draft.end(task, TaskState.CANCELLED, cause=given.cause, by=given.by)
    elif task.state is TaskState.RUNNING:
        draft.cancel(task, goal=TaskState.CANCELLED, cause=given.cause, by=given.by)


def _stop(draft: Draft, given: StopSubagent) -> None:
    if draft.state.lifecycle is Lifecycle.STOPPING or draft.state.lifecycle.over:
        return
    draft.stop(given.reason, by=given.by, cause=given.cause, failed=False)


def _answer(draft: Draft, given: AnswerRequest) -> None:
    request = next((each for each in draft.state.open_requests if each.id == given.request_id), None)
    if request is None:
        raise Rejected("request_closed", f"request {given.request_id} is not open any more; nothing was answered")
    if given.option_id not in {option.id for option in request.options}:
        offered = ", ".join(option.id for option in request.options) or "none"
        raise Rejected("option_unknown", f"option {given.option_id!r} was not offered; offered: {offered}")
    draft.emit(RequestClosed(at=draft.now, request_id=request.id, answer=given.option_id, by=given.by))


def _starting(draft: Draft, attempt: int) -> bool:
    return draft.state.lifecycle is Lifecycle.STARTING and draft.state.attempt == attempt


def _step_began(draft: Draft, given: StepBegan) -> None:
    if _starting(draft, given.attempt) and draft.state.step is not given.step:
        deadline = draft.after(draft.state.limits.for_step(given.step))
        draft.emit(StepReached(at=draft.now, attempt=given.attempt, step=given.step, deadline=deadline))


def _session_ready(draft: Draft, given: SessionReady) -> None:
    if _starting(draft, given.attempt):
        draft.emit(
            SessionOpened(
                at=draft.now,
                attempt=given.attempt,
                session_id=given.session_id,
                agent_name=given.agent_name,
                agent_version=given.agent_version,
            )
        )


def _start_broke(draft: Draft, given: StartBroke) -> None:
    if _starting(draft, given.attempt):
        draft.stop(Reason.START_FAILED, by="agent", cause=given.cause, failed=True, kind=given.kind)


def _heard(draft: Draft, given: Heard) -> None:
    if given.attempt != draft.state.attempt or draft.state.lifecycle.over:
        return
    task = draft.state.active
    late = task is None
    newest = draft.state.tasks[-1] if late and draft.state.tasks else task
    owner = newest.id if newest is not None and newest.state is not TaskState.QUEUED else None
    for entry in given.entries:
        draft.emit(TranscriptAdded(at=draft.now, task_id=owner, entry=entry, late=late and owner is not None))


def _asked(draft: Draft, given: Asked) -> None:
    state = draft.state
    task = state.active
    known = any(request.id == given.request_id for request in state.requests)
    if given.attempt != state.attempt or task is None or known:
        return
    deadline = draft.after(state.limits.request)
    draft.emit(
        RequestOpened(
            at=draft.now,
            request_id=given.request_id,
            task_id=task.id,
            title=given.title,
            options=given.options,
            deadline=deadline,
        )
    )
    chosen = choose(given.options, state.permissions) if task.state is TaskState.RUNNING else ""
    if chosen is not None:
        draft.emit(RequestClosed(at=draft.now, request_id=given.request_id, answer=chosen, by="policy"))


def _active(draft: Draft, attempt: int, task_id: str) -> Task | None:
    task = draft.state.active
    return task if task is not None and task.id == task_id and draft.state.attempt == attempt else None


def _prompt_answered(draft: Draft, given: PromptAnswered) -> None:
    if task := _active(draft, given.attempt, given.task_id):
        evidence = replace(task.evidence, files_changed=given.files_changed, skipped_lines=given.skipped_lines)
        _end_prompt(draft, task, given, judge(given.stop_reason, evidence), given.stop_reason)


def _prompt_broke(draft: Draft, given: PromptBroke) -> None:
    if task := _active(draft, given.attempt, given.task_id):
        _end_prompt(draft, task, given, Judgement(TaskState.FAILED, None, given.cause), None)


def _end_prompt(
    draft: Draft, task: Task, given: PromptAnswered | PromptBroke, judged: Judgement, stop_reason: str | None
) -> None:
    """End a task by its agent's answer: what was asked of the agent meanwhile (a cancel) goes before what it says."""
    cancelling = task.state is TaskState.CANCELLING
    draft.emit(
        TaskEnded(
            at=draft.now,
            task_id=task.id,
            outcome=task.goal if cancelling else judged.outcome,
            cause=task.cause if cancelling else judged.cause,
            by=task.cancelled_by if cancelling else "agent",
            verdict=None if cancelling else judged.verdict,
            stop_reason=stop_reason,
            files_changed=given.files_changed,
            stderr_tail=given.stderr_tail,
            skipped_lines=given.skipped_lines,
        )
    )


def _channel_closed(draft: Draft, given: ChannelClosed) -> None:
    state = draft.state
    if given.attempt == state.attempt and state.lifecycle is Lifecycle.READY:
        deadline = draft.after(state.limits.lost_grace)
        draft.emit(ChannelLost(at=draft.now, attempt=given.attempt, cause=given.cause, deadline=deadline))


def _death_proven(draft: Draft, given: DeathProven) -> None:
    state = draft.state
    if given.attempt != state.attempt or state.lifecycle is not Lifecycle.LOST:
        return
    draft.emit(AgentDied(at=draft.now, attempt=given.attempt, exit_code=given.exit_code, cause=given.cause))
    draft.stop(Reason.AGENT_DIED, by="agent", cause=given.cause, failed=True)


def _halted(draft: Draft, given: Halted) -> None:
    if draft.state.lifecycle is Lifecycle.STOPPING and given.attempt == draft.state.attempt:
        _finish(draft, confirmed=given.confirmed)


def _finish(draft: Draft, *, confirmed: bool) -> None:
    state, stop = draft.state, draft.state.stop
    if stop is None:
        return
    task = state.active
    if task is not None and confirmed:
        draft.end(task, task.goal, cause=task.cause, by=task.cancelled_by)
    elif task is not None:
        cause = f"{stop.cause}; the removal of its sandbox could not be confirmed, so the outcome is unknown"
        draft.end(task, TaskState.INTERRUPTED, cause=cause, by="manager")
    end = SubagentFailed if stop.failed else SubagentStopped
    draft.emit(end(at=draft.now, confirmed=confirmed))


def _deadline_passed(draft: Draft, _given: DeadlinePassed) -> None:
    due: Timer | None = next((name for name, moment in timers(draft.state) if moment <= draft.now), None)
    if due is not None:
        _DUE[due](draft)


def _stop_due(draft: Draft) -> None:
    _finish(draft, confirmed=False)


def _lifetime_due(draft: Draft) -> None:
    cause = f"the subagent reached its lifetime of {draft.state.limits.lifetime:g} s"
    draft.stop(Reason.LIFETIME, by="manager", cause=cause, failed=False)


def _start_due(draft: Draft) -> None:
    step = draft.state.step or Step.SANDBOX
    cause = f"the agent did not get past {step} within {draft.state.limits.for_step(step):g} s (limits.{step})"
    draft.stop(Reason.START_TIMEOUT, by="manager", cause=cause, failed=True)


def _lost_due(draft: Draft) -> None:
    cause = f"the channel to the agent was lost and nothing was learnt within {draft.state.limits.lost_grace:g} s"
    draft.stop(Reason.CHANNEL_LOST, by="manager", cause=cause, failed=True)


def _request_due(draft: Draft) -> None:
    for request in draft.state.open_requests:
        if request.deadline <= draft.now:
            answer = reject(request.options)
            draft.emit(RequestClosed(at=draft.now, request_id=request.id, answer=answer, by="deadline"))


def _task_due(draft: Draft) -> None:
    task = draft.state.active
    if task is not None:
        cause = f"the task reached its deadline of {draft.state.limits.task:g} s (limits.task)"
        draft.cancel(task, goal=TaskState.TIMED_OUT, cause=cause, by="manager")


def _cancel_due(draft: Draft) -> None:
    task = draft.state.active
    if task is None:
        return
    grace = draft.state.limits.cancel_grace
    cause = f"{task.cause}; the agent did not answer the cancel within {grace:g} s"
    draft.end(task, task.goal, cause=cause, by=task.cancelled_by)
    draft.stop(Reason.CANCEL_IGNORED, by="manager", cause="the agent did not answer a cancel", failed=True)


def _idle_due(draft: Draft) -> None:
    cause = f"the subagent was idle for {draft.state.limits.idle:g} s"
    draft.stop(Reason.IDLE_TIMEOUT, by="manager", cause=cause, failed=False)


_DUE: dict[Timer, Callable[[Draft], None]] = {
    "stop": _stop_due,
    "lifetime": _lifetime_due,
    "start": _start_due,
    "lost": _lost_due,
    "request": _request_due,
    "task": _task_due,
    "cancel": _cancel_due,
    "idle": _idle_due,
}

_HANDLERS: dict[type[Input], Callable[[Draft, Any], None]] = {
    Send: _send,
    CancelTask: _cancel_task,
    StopSubagent: _stop,
    AnswerRequest: _answer,
    StepBegan: _step_began,
    SessionReady: _session_ready,
    StartBroke: _start_broke,
    Heard: _heard,
    Asked: _asked,
    PromptAnswered: _prompt_answered,
    PromptBroke: _prompt_broke,
    ChannelClosed: _channel_closed,
    DeathProven: _death_proven,
    Halted: _halted,
    DeadlinePassed: _deadline_passed,
}
