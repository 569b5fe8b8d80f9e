"""The last step of a stop: what is still open ends, and the subagent with it."""

from acp_runtime.core.draft import Draft
from acp_runtime.core.events import SubagentFailed, SubagentStopped, SubtreeEnded
from acp_runtime.core.inputs import SubtreeOver
from acp_runtime.core.model import Reason, Stop, Task, TaskState


def subtree_over(draft: Draft, given: SubtreeOver) -> None:
    """Let a subagent that is being stopped go on with its own end."""
    if given.attempt == draft.state.attempt:
        leave_subtree(draft)


def leave_subtree(draft: Draft) -> None:
    """Wait no longer for those that a subagent leads; nothing when it waits for none."""
    if draft.state.leading:
        draft.emit(SubtreeEnded(at=draft.now, deadline=draft.after(draft.state.limits.stop)))


def finish(draft: Draft, *, confirmed: bool, exported: bool, given: bool = True) -> None:
    """End a subagent that is being stopped. What its agent was busy with is unknown unless its end is confirmed.

    Nothing is unknown of a task that the agent was never `given`.
    """
    state, stop = draft.state, draft.state.stop
    if stop is None:
        return
    task = state.active
    if task is not None and not given:
        _call_off(draft, task, stop, f"{stop.cause}; the agent was never given the task")
    elif task is not None and stop.reason is Reason.CHANNEL_LOST:
        draft.end(task, TaskState.INTERRUPTED, cause=f"{stop.cause}; the outcome is unknown", by=stop.by)
    elif task is not None and confirmed:
        _call_off(draft, task, stop, stop.cause)
    elif task is not None:
        cause = f"{stop.cause}; the removal of its sandbox could not be confirmed, so the outcome is unknown"
        draft.end(task, TaskState.INTERRUPTED, cause=cause, by="manager")
    end = SubagentFailed if stop.failed else SubagentStopped
    draft.emit(end(at=draft.now, confirmed=confirmed, exported=exported))


def _call_off(draft: Draft, task: Task, stop: Stop, cause: str) -> None:
    """End a task as the stop has it, or as it was asked to end before."""
    if task.state is TaskState.RUNNING:
        draft.call_off(task, stop.reason, cause=cause, by=stop.by)
        task = draft.state.active or task
    draft.end(task, task.goal, cause=task.cause, by=task.cancelled_by)
