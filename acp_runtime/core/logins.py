"""The key by which a subagent asks its model is gone, or its login has expired: its task waits until it is back. Pure.

One request for each time, whatever number of calls fail. The agent is not held: it ends its turn by itself, and the
task goes back to the head of the queue, which the request holds.
"""

from typing import Final

from acp_runtime.core.draft import Draft
from acp_runtime.core.events import CallRefused, RequestClosed, TaskRetried
from acp_runtime.core.inputs import LoginExpired, LoginRenewed
from acp_runtime.core.model import Lifecycle, Step, Task, TaskState
from acp_runtime.core.request import Option, RequestKind

__all__ = [
    "AGAIN",
    "GIVE_UP",
    "LOGIN_OPTIONS",
    "give_up",
    "login_expired",
    "login_renewed",
    "put_back",
    "wait_before_start",
    "waits",
]

AGAIN: Final = "again"
GIVE_UP: Final = "give_up"
LOGIN_OPTIONS: Final = (
    Option(AGAIN, "It is there again, or I have logged in: go on", "allow_once"),
    Option(GIVE_UP, "Give the task up", "reject_once"),
)


def login_expired(draft: Draft, given: LoginExpired) -> None:
    """Ask for the key, once, while a task is under way: what is asked between tasks is asked again in the next."""
    state = draft.state
    task, at_work = state.active, state.lifecycle in (Lifecycle.READY, Lifecycle.LOST)
    if given.attempt != state.attempt or not at_work or task is None or task.state is not TaskState.RUNNING:
        return
    if not task.logged_out:
        _ask(draft, given.title)


def wait_before_start(draft: Draft, title: str) -> None:
    """Ask for the login without which the agent does not even start, and try to start it when the question is closed.

    That costs no restart. What is open from before is not asked anew.
    """
    if not any(each.kind is RequestKind.LOGIN for each in draft.state.open_requests):
        _ask(draft, title)
    draft.start(Step.BACKOFF, draft.state.limits.request, counted=False)


def _ask(draft: Draft, title: str) -> None:
    draft.ask(f"l{draft.state.wish_count + 1}", RequestKind.LOGIN, title, LOGIN_OPTIONS)


def login_renewed(draft: Draft, given: LoginRenewed) -> None:
    """Go on without an answer. Also while the agent is out of reach: its task waits in the queue by then."""
    for request in draft.state.open_requests:
        if request.id == given.request_id and request.kind is RequestKind.LOGIN:
            draft.emit(RequestClosed(at=draft.now, request_id=request.id, answer=AGAIN, by="manager"))


def waits(draft: Draft, task: Task, *, done: bool) -> bool:
    """Tell whether a task whose prompt has ended is to be given again once there is a login.

    `done`: by its evidence it is. That counts only when the login came back while it was under way.
    """
    wanted = task.state is TaskState.RUNNING and draft.state.lifecycle is not Lifecycle.STOPPING
    asking = any(each.kind is RequestKind.LOGIN for each in draft.state.open_requests)
    return wanted and bool(task.logged_out) and not task.doomed and (asking or not done)


def put_back(draft: Draft, task: Task) -> None:
    """Queue a task again that had no login. It is none of the tries that its limits allow.

    After a pause where there is a login by now: that may be no good either, and its agent would be asked without end.
    """
    draft.close_requests(by="manager")
    at = draft.after(draft.state.limits.backoff) if draft.state.question is None else draft.now
    draft.emit(TaskRetried(at=draft.now, task_id=task.id, number=task.retries, cause=task.logged_out, retry_at=at))


def give_up(draft: Draft, title: str, *, by: str) -> None:
    """Fail the task that waits for the login. While its agent has it still, it fails when that one ends its turn."""
    state = draft.state
    late = f"nobody gave it its key or login within {state.limits.request:g} s (limits.request)"
    cause = f"{late if by == 'deadline' else 'it was given up without its key or login'}: {title}"
    if (task := state.active) is not None:
        if task.state is TaskState.RUNNING and not task.doomed:
            draft.emit(CallRefused(at=draft.now, task_id=task.id, cause=cause))
    elif state.queued:
        draft.end(state.queued[0], TaskState.FAILED, cause=cause, by=by)
