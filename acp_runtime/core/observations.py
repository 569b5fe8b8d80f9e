"""What the shell saw of a subagent. Late and stale observations (an older attempt, an ended task) change nothing."""

from dataclasses import replace

from acp_runtime.core.commands import CONTINUE, DROP, WISH_OPTIONS
from acp_runtime.core.draft import Draft
from acp_runtime.core.due import deadline_passed
from acp_runtime.core.ending import finish
from acp_runtime.core.events import (
    AgentDied,
    BootBegan,
    ChannelLost,
    ChannelRecovered,
    EgressChanged,
    PromptSent,
    RecoveryRefused,
    RequestClosed,
    RequestOpened,
    SessionOpened,
    SteerEnded,
    StepReached,
    TaskEnded,
    TaskRetried,
    TranscriptAdded,
)
from acp_runtime.core.form import how_to_write
from acp_runtime.core.inputs import (
    Asked,
    ChannelClosed,
    Configured,
    DeadlinePassed,
    DeathProven,
    Denied,
    Halted,
    Heard,
    PromptAnswered,
    PromptBroke,
    PromptLaid,
    Reattached,
    Rebooted,
    Refused,
    SessionReady,
    StartBroke,
    SteerAnswered,
    StepBegan,
)
from acp_runtime.core.logins import put_back, wait_before_start, waits
from acp_runtime.core.model import Lifecycle, Opening, Permissions, Reason, Steering, Step, Task, TaskState, Verdict
from acp_runtime.core.outcome import Judgement, judge, worth_retrying
from acp_runtime.core.permission import ruled
from acp_runtime.core.request import RequestKind
from acp_runtime.core.timers import milliseconds
from acp_runtime.core.wishes import may_ask, title

MANAGER_ENDED = "manager_ended"
LOGIN_EXPIRED = "login_expired"
ENGINE_AWAY = ("engine_unreachable", "engine_timeout")


def rebooted(draft: Draft, given: Rebooted) -> None:
    if not draft.state.lifecycle.over:
        draft.emit(BootBegan(at=draft.now, last=given.last))


def _starting(draft: Draft, attempt: int) -> bool:
    return draft.state.lifecycle is Lifecycle.STARTING and draft.state.attempt == attempt


def step_began(draft: Draft, given: StepBegan) -> None:
    # The pause before a restart is the core's own step: no shell reports it, and nothing is launched in it.
    if (
        _starting(draft, given.attempt)
        and draft.state.step not in (given.step, Step.BACKOFF)
        and given.step is not Step.BACKOFF
    ):
        deadline = draft.after(draft.state.limits.for_step(given.step))
        draft.emit(
            StepReached(
                at=draft.now,
                attempt=given.attempt,
                step=given.step,
                deadline=deadline,
                container=given.container,
                pid=given.pid,
            )
        )


def session_ready(draft: Draft, given: SessionReady) -> None:
    """Open the session. Queued tasks that counted on a session which is lost wait for the parent's word."""
    if not _starting(draft, given.attempt):
        return
    draft.emit(
        SessionOpened(
            at=draft.now,
            attempt=given.attempt,
            session_id=given.session_id,
            agent_name=given.agent_name,
            agent_version=given.agent_version,
            opening=given.opening,
            steering=given.steering,
            pid=given.pid,
            upto=given.upto,
        )
    )
    if draft.state.restarted and given.opening is Opening.LOST and draft.state.queued:
        _ask_about_queue(draft)


def _ask_about_queue(draft: Draft) -> None:
    state = draft.state
    title = f"The session could not be resumed. Go on with {len(state.queued)} queued task(s) in a new one?"
    draft.ask(f"q{state.attempt}", RequestKind.QUESTION, title, (CONTINUE, DROP))


def start_broke(draft: Draft, given: StartBroke) -> None:
    """End the subagent; try again while a restart is left, but a first start only when its manager was lost.

    An engine that is away says nothing about the agent: until a start's whole time is over, that costs no restart. A
    login that has expired is asked for while a task is to be done.
    """
    state = draft.state
    if not _starting(draft, given.attempt):
        return
    if given.kind == LOGIN_EXPIRED and state.queued:
        wait_before_start(draft, given.cause)
        return
    waiting = (
        given.kind in ENGINE_AWAY and state.restarted and draft.now < state.begun + milliseconds(state.limits.sandbox)
    )
    counted = given.kind != MANAGER_ENDED and not waiting
    if state.can_restart(counted=counted) and (state.restarted or not counted):
        draft.restart(counted=counted)
    else:
        draft.stop(Reason.START_FAILED, by="agent", cause=given.cause, failed=True, kind=given.kind)


def heard(draft: Draft, given: Heard) -> None:
    if given.attempt != draft.state.attempt or draft.state.lifecycle.over:
        return
    task = draft.state.active
    late = task is None
    newest = draft.state.tasks[-1] if late and draft.state.tasks else task
    owner = newest.id if newest is not None and newest.state is not TaskState.QUEUED else None
    last = len(given.entries) - 1
    for number, entry in enumerate(given.entries):
        upto, answer_at = (given.upto, given.answer_at) if number == last else (0, None)
        beside = late and owner is not None
        draft.emit(
            TranscriptAdded(at=draft.now, task_id=owner, entry=entry, late=beside, upto=upto, answer_at=answer_at)
        )


def asked(draft: Draft, given: Asked) -> None:
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
            kind=given.kind,
            wire=given.wire,
            upto=given.upto,
            fields=given.fields,
            writing=how_to_write(given.fields) if given.kind is RequestKind.FORM else "",
        )
    )
    wanted = task.state is TaskState.RUNNING and state.lifecycle is not Lifecycle.STOPPING
    chosen = ruled(given.kind, given.options, state.permissions, state.order.questions) if wanted else ""
    if chosen is not None:
        draft.emit(RequestClosed(at=draft.now, request_id=given.request_id, answer=chosen, by="policy"))


def denied(draft: Draft, given: Denied) -> None:
    """Ask whether the task may reach what it was refused: once, and where the sandbox has a way that could be opened.

    `permissions` does not answer this: an agent's own question can be answered with yes because the sandbox bounds it,
    and this widens the sandbox. With `deny` nobody is asked anything.
    """
    state = draft.state
    task, at_work = state.active, state.lifecycle in (Lifecycle.READY, Lifecycle.LOST)
    if given.attempt != state.attempt or not at_work or task is None or task.state is not TaskState.RUNNING:
        return
    shut = state.order.egress is None or state.permissions is Permissions.DENY
    if shut or not may_ask(task.wishes, given.rule):
        return
    ident = f"e{state.wish_count + 1}"
    draft.ask(ident, RequestKind.EGRESS, title(given.rule), WISH_OPTIONS, task=task.id, rule=given.rule)


def configured(draft: Draft, given: Configured) -> None:
    """Note what the sandbox may reach by another configuration. What has no proxy gets none while it runs."""
    before = draft.state.order.egress
    if draft.state.lifecycle.over or before is None:
        return
    gained, lost = given.egress.beyond(before), before.beyond(given.egress)
    if gained or lost:
        draft.emit(EgressChanged(at=draft.now, egress=given.egress, gained=gained, lost=lost, by=given.by))


def steer_answered(draft: Draft, given: SteerAnswered) -> None:
    """Close a steer; what the agent did not take becomes a task of its own, and so is never lost."""
    steer = next((each for each in draft.state.open_steers if each.id == given.steer_id), None)
    if steer is None or given.attempt != draft.state.attempt:
        return
    draft.emit(SteerEnded(at=draft.now, steer_id=steer.id, outcome=given.outcome))
    if given.outcome is Steering.QUEUED:
        draft.queue(steer.text)


def _delivered(draft: Draft, attempt: int, task_id: str) -> Task | None:
    task = draft.state.active
    return task if task is not None and task.id == task_id and draft.state.attempt == attempt else None


def prompt_laid(draft: Draft, given: PromptLaid) -> None:
    if _delivered(draft, given.attempt, given.task_id):
        draft.emit(PromptSent(at=draft.now, task_id=given.task_id, request=given.request, offset=given.offset))


def prompt_answered(draft: Draft, given: PromptAnswered) -> None:
    if task := _delivered(draft, given.attempt, given.task_id):
        changed = _changed_meanwhile(draft, given.files_changed)
        evidence = replace(task.evidence, files_changed=changed, skipped_lines=given.skipped_lines)
        judged = judge(given.stop_reason, evidence)
        if waits(draft, task, done=judged.verdict is Verdict.FULL):
            put_back(draft, task)
        else:
            _end_prompt(draft, task, given, judged, given.stop_reason)


def _changed_meanwhile(draft: Draft, count: int | None) -> int | None:
    """Return the count of changed files, or 0 when it is what it was before the task: then it is no evidence."""
    return 0 if count == (draft.state.files or 0) else count


def prompt_broke(draft: Draft, given: PromptBroke) -> None:
    """Fail the task, or put it back: for a while when its model failed before anything was produced; for its login."""
    task = _delivered(draft, given.attempt, given.task_id)
    if task is None:
        return
    limits = draft.state.limits
    wanted = task.state is TaskState.RUNNING and draft.state.lifecycle is not Lifecycle.STOPPING
    again = wanted and not task.doomed and task.retries < limits.retries
    changed = _changed_meanwhile(draft, given.files_changed)
    if waits(draft, task, done=False):
        put_back(draft, task)
    elif again and worth_retrying(given.cause, task.evidence, changed):
        at = draft.after(limits.retry_delay * 2**task.retries)
        number = task.retries + 1
        draft.close_requests(by="manager")
        cause = _with_shortage(given.cause, given)
        draft.emit(
            TaskRetried(at=draft.now, task_id=task.id, number=number, cause=cause, retry_at=at, ran_out=given.ran_out)
        )
    else:
        _end_prompt(draft, task, given, Judgement(TaskState.FAILED, None, given.cause), None)


def _with_shortage(cause: str, given: PromptAnswered | PromptBroke) -> str:
    return f"{cause}; {given.shortage}" if given.shortage else cause


def _end_prompt(
    draft: Draft, task: Task, given: PromptAnswered | PromptBroke, judged: Judgement, stop_reason: str | None
) -> None:
    """End a task by its agent's answer: what was asked of the agent meanwhile (a cancel) goes before what it says."""
    cancelling = task.state is TaskState.CANCELLING
    if task.doomed:  # whatever the agent makes of it: some call it an end, some an error of their own
        judged = Judgement(TaskState.FAILED, None, task.doomed)
    draft.emit(
        TaskEnded(
            at=draft.now,
            task_id=task.id,
            outcome=task.goal if cancelling else judged.outcome,
            cause=task.cause if cancelling else _with_shortage(judged.cause, given),
            by=task.cancelled_by if cancelling else "agent",
            verdict=None if cancelling else judged.verdict,
            stop_reason=stop_reason,
            files_changed=given.files_changed,
            stderr_tail=given.stderr_tail,
            skipped_lines=given.skipped_lines,
            ran_out=given.ran_out,
        )
    )


def channel_closed(draft: Draft, given: ChannelClosed) -> None:
    state = draft.state
    if given.attempt == state.attempt and state.lifecycle is Lifecycle.READY:
        deadline = draft.after(state.limits.lost_grace)
        draft.emit(ChannelLost(at=draft.now, attempt=given.attempt, cause=given.cause, deadline=deadline))


def reattached(draft: Draft, given: Reattached) -> None:
    """Go on with the agent where it is. Its word on an open steer was for the manager that asked.

    That it never got its prompt is in the log before anything is written to it: a later manager could not tell.
    What is overdue by now follows at once: the channel may be lost again before anyone looks at the clock.
    """
    if given.attempt == draft.state.attempt and draft.state.lifecycle is Lifecycle.LOST:
        if given.adopted:
            draft.end_steers()
        draft.emit(ChannelRecovered(at=draft.now, attempt=given.attempt, adopted=given.adopted))
        if given.undelivered and (task := draft.state.active) is not None:
            _take_back(draft, task, "the manager that was to give the task to the agent ended before it did")
        deadline_passed(draft, DeadlinePassed())


def refused(draft: Draft, given: Refused) -> None:
    """Note why the agent is not had back: its holder answers and turns this manager down."""
    state = draft.state
    if given.attempt == state.attempt and state.lifecycle is Lifecycle.LOST and given.cause != state.refused:
        draft.emit(RecoveryRefused(at=draft.now, attempt=given.attempt, cause=given.cause))


def death_proven(draft: Draft, given: DeathProven) -> None:
    """Only the delivered task is interrupted; another attempt goes on with the queue while one is left.

    What is surely not delivered goes back to the queue: see `_never_given`.
    """
    state = draft.state
    if given.attempt != state.attempt or state.lifecycle is not Lifecycle.LOST:
        return
    draft.emit(AgentDied(at=draft.now, attempt=given.attempt, exit_code=given.exit_code, cause=given.cause))
    counted = given.kind != MANAGER_ENDED
    if state.active is not None and _never_given(state.active, given):
        _take_back(draft, state.active, "the agent died before it was given the task")
    if not state.can_restart(counted=counted):
        draft.stop(Reason.AGENT_DIED, by="agent", cause=given.cause, failed=True)
        return
    if (task := draft.state.active) is not None:
        draft.end(task, TaskState.INTERRUPTED, cause=f"{given.cause}; the outcome is unknown")
    draft.settle()
    if draft.state.lifecycle is Lifecycle.LOST:
        draft.restart(counted=counted)


def _never_given(task: Task, death: DeathProven) -> bool:
    """Tell whether a prompt was to be laid out first and was not, or was laid out where the agent's input had ended."""
    return death.kept if task.prompt is None else _ends_before(task.prompt, death.accepted)


def _ends_before(prompt: tuple[int, int], accepted: int | None) -> bool:
    return accepted is not None and accepted <= prompt[1]


def _take_back(draft: Draft, task: Task, cause: str) -> None:
    """Queue a task again that its agent never got; one that is to end by now ends, as asked for."""
    draft.close_requests(by="manager")
    if task.state is TaskState.CANCELLING:
        draft.end(task, task.goal, cause=task.cause, by=task.cancelled_by)
    else:
        draft.emit(TaskRetried(at=draft.now, task_id=task.id, number=task.retries, cause=cause, retry_at=draft.now))


def halted(draft: Draft, given: Halted) -> None:
    if draft.state.lifecycle is Lifecycle.STOPPING and given.attempt == draft.state.attempt:
        task = draft.state.active
        never = task is not None and task.prompt is not None and _ends_before(task.prompt, given.accepted)
        finish(draft, confirmed=given.confirmed, exported=given.exported, given=not never)
