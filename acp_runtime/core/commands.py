"""What callers ask of a subagent: each command changes something, or raises `Rejected` and changes nothing."""

import json

from acp_runtime.core.draft import Draft
from acp_runtime.core.errors import Rejected
from acp_runtime.core.events import BudgetChanged, RequestClosed, SteerRequested
from acp_runtime.core.form import DECLINE, content
from acp_runtime.core.inputs import AnswerRequest, CancelTask, ResumeSubagent, Send, SetBudget, SteerTask, StopSubagent
from acp_runtime.core.logins import AGAIN, give_up
from acp_runtime.core.model import Lifecycle, Reason, Step, TaskState
from acp_runtime.core.plaintext import quiet
from acp_runtime.core.request import WRITTEN, Option, Request, RequestKind
from acp_runtime.core.wishes import ALLOW, ALWAYS, REFUSE

CONTINUE = Option("continue", "Go on with the queued tasks in the new session", "allow_once")
DROP = Option("drop", "Cancel the queued tasks", "reject_once")
WISH_OPTIONS = (
    Option(ALLOW, "Allow it for this task", "allow_once"),
    Option(REFUSE, "Refuse it for this task", "reject_once"),
    Option(ALWAYS, "Allow it for good, to all of this preset: the operator alone may", "allow_always"),
)


def send(draft: Draft, given: Send) -> None:
    """Queue a task. Kinds: not_running, queue_full."""
    if not given.woken or all(task.state.over for task in draft.state.tasks):
        _queue(draft, given.text, woken=given.woken)


def _queue(draft: Draft, text: str, *, woken: bool = False) -> None:
    state = draft.state
    _must_run(draft)
    if len(state.queued) >= state.limits.queue:
        full = (
            f"{state.name} has {len(state.queued)} queued tasks, the limit; wait for one to end or raise limits.queue"
        )
        raise Rejected("queue_full", full)
    draft.queue(text, woken=woken)


def _must_run(draft: Draft) -> None:
    state = draft.state
    if state.lifecycle is Lifecycle.STOPPING or state.lifecycle.over:
        raise Rejected("not_running", f"Background subagent {state.name} is no longer running.")


def steer(draft: Draft, given: SteerTask) -> None:
    """Hand a message to the running task, or queue it where that cannot be. Kinds: not_running, queue_full."""
    state = draft.state
    _must_run(draft)
    task = state.active
    takes = state.lifecycle is Lifecycle.READY and state.steering
    if not takes or task is None or task.state is not TaskState.RUNNING:
        _queue(draft, given.text)
        return
    number = state.steer_count + 1
    draft.emit(
        SteerRequested(
            at=draft.now,
            steer_id=f"{state.id}.s{number}",
            number=number,
            task_id=task.id,
            text=given.text,
            by=given.by,
            deadline=draft.after(state.limits.steer),
        )
    )


def set_budget(draft: Draft, given: SetBudget) -> None:
    """Change the budget; one that is as it was is no change. Kinds: not_running."""
    _must_run(draft)
    state = draft.state
    if given.budget != state.order.budget:
        draft.emit(BudgetChanged(at=draft.now, budget=given.budget, by=given.by, period=state.period + 1))


def resume(draft: Draft, given: ResumeSubagent) -> None:
    """Start an ended subagent again with its next task. Kinds: still_open, not_resumable."""
    state = draft.state
    if not state.lifecycle.over:
        raise Rejected("still_open", f"{state.name} has not ended; send it a message instead")
    if not state.order.keep:
        raise Rejected("not_resumable", f"{state.name} was started for one use, so nothing of it was kept; spawn anew")
    draft.start(Step.SANDBOX, state.limits.for_step(Step.SANDBOX), by=given.by)
    draft.queue(given.text)


def cancel_task(draft: Draft, given: CancelTask) -> None:
    """Cancel one open task. Kinds: task_over."""
    task = draft.state.task(given.task_id)
    if task is None or task.state.over:
        raise Rejected("task_over", f"task {given.task_id} is not open, so there is nothing to cancel")
    if task.state is TaskState.QUEUED:
        draft.end(task, TaskState.CANCELLED, cause=given.cause, by=given.by)
    elif task.state is TaskState.RUNNING:
        draft.cancel(task, goal=TaskState.CANCELLED, cause=given.cause, by=given.by)


def stop(draft: Draft, given: StopSubagent) -> None:
    """Begin the end of a subagent; nothing when it has begun already."""
    if draft.state.lifecycle is Lifecycle.STOPPING or draft.state.lifecycle.over:
        return
    bug = given.reason is Reason.MANAGER_FAILED
    draft.stop(given.reason, by=given.by, cause=given.cause, failed=bug, kind="internal_error" if bug else "")


def answer(draft: Draft, given: AnswerRequest) -> None:
    """Answer an open question with one of its options, or a text where it takes one.

    Kinds: request_closed, option_unknown, answer_invalid, needs_operator.
    """
    request = next((each for each in draft.state.open_requests if each.id == given.request_id), None)
    if request is None:
        open_ones = ", ".join(each.id for each in draft.state.open_requests) or "none"
        sentence = f"request {quiet(given.request_id, 60)} is not open; nothing was answered; open: {open_ones}"
        raise Rejected("request_closed", sentence)
    if given.text:
        _write(draft, request, given)
        return
    if given.option_id not in {option.id for option in request.options}:
        # The ids are the agent's words, and this sentence is read by a model as ours.
        offered = ", ".join(f'"{quiet(option.id, 60)}"' for option in request.options) or "none"
        offered += f"; as text: {request.writing}" if request.writing else ""
        named = quiet(given.option_id, 60)
        said = f"option {named!r} was not offered" if named else "the answer names no option"
        raise Rejected("option_unknown", f"{said}; offered: {offered}")
    if request.kind is RequestKind.EGRESS and given.option_id == ALWAYS and given.by != "operator":
        sentence = f"only the operator may allow {request.rule} for good; allow it for this task with {ALLOW!r}"
        raise Rejected("needs_operator", sentence)
    close(draft, request, given.option_id, by=given.by)


def _write(draft: Draft, request: Request, given: AnswerRequest) -> None:
    """Answer by a text."""
    if given.option_id or not request.writing:
        why = "it is answered by an option or by a text, not both" if request.writing else "it takes no text"
        raise Rejected("answer_invalid", f"request {request.id} was not answered: {why}")
    filled = json.dumps(content(request.fields, "", given.text)) if request.kind is RequestKind.FORM else ""
    draft.emit(
        RequestClosed(at=draft.now, request_id=request.id, answer=WRITTEN, by=given.by, text=given.text, content=filled)
    )


def close(draft: Draft, request: Request, option_id: str, *, by: str) -> None:
    """Close a question; a no to the manager's own ends what it was about."""
    fills = request.kind is RequestKind.FORM and option_id not in ("", DECLINE.id)
    filled = json.dumps(content(request.fields, option_id, "")) if fills else ""
    draft.emit(RequestClosed(at=draft.now, request_id=request.id, answer=option_id, by=by, content=filled))
    if request.kind is RequestKind.QUESTION and option_id == DROP.id:
        for task in draft.state.queued:
            cause = "the earlier session was lost, and the queued tasks were not wanted without it"
            draft.end(task, TaskState.CANCELLED, cause=cause, by=by)
    if request.kind is RequestKind.LOGIN and option_id != AGAIN:
        give_up(draft, request.title, by=by)
