"""`evolve(state, event) -> state`: the fold that makes a subagent out of its log. Pure and total over legal logs."""

from dataclasses import replace

from acp_runtime.core.errors import IllegalTransition
from acp_runtime.core.events import (
    AttemptStarted,
    CancelRequested,
    ChannelLost,
    Event,
    RequestClosed,
    RequestOpened,
    SessionOpened,
    StepReached,
    StopRequested,
    SubagentFailed,
    SubagentRequested,
    SubagentStopped,
    TaskEnded,
    TaskQueued,
    TaskStarted,
    TranscriptAdded,
)
from acp_runtime.core.model import (
    MAX_RESULT_CHARS,
    MAX_TOOLS_COUNTED,
    Evidence,
    Lifecycle,
    Request,
    Stop,
    Subagent,
    Task,
    TaskState,
)
from acp_runtime.core.tables import LIFECYCLE_EVENTS, lifecycle_after, task_after
from acp_runtime.core.transcript import MessageEntry, ToolEntry


def evolve(state: Subagent | None, event: Event) -> Subagent:
    """Return the state after one stored fact. Raises `IllegalTransition` for a fact that cannot follow."""
    if isinstance(event, SubagentRequested):
        if state is not None:
            raise IllegalTransition(f"subagent {event.id} was requested twice")
        return _born(event)
    if state is None:
        raise IllegalTransition(f"{type(event).__name__} stands before the subagent was requested")
    if type(event) in LIFECYCLE_EVENTS:
        return _lifecycle(replace(state, lifecycle=lifecycle_after(state.lifecycle, event)), event)
    return _within(state, event)


def _within(state: Subagent, event: Event) -> Subagent:
    match event:
        case TaskQueued():
            return _queued(state, event)
        case TaskStarted() | CancelRequested() | TaskEnded():
            return _task(state, event)
        case RequestOpened() | RequestClosed():
            return _request(state, event)
        case TranscriptAdded():
            return _heard(state, event)
        case _:
            raise IllegalTransition(f"{type(event).__name__} is not a fact about a subagent")


def _born(event: SubagentRequested) -> Subagent:
    return Subagent(
        id=event.id,
        parent=event.parent,
        name=event.name,
        purpose=event.purpose,
        order=event.order,
        permissions=event.permissions,
        limits=event.limits,
        requested_at=event.at,
    )


def _lifecycle(state: Subagent, event: Event) -> Subagent:
    match event:
        case AttemptStarted() | StepReached():
            return replace(state, attempt=event.attempt, step=event.step, deadline=event.deadline)
        case SessionOpened():
            return replace(state, session_id=event.session_id, step=None, deadline=None, idle_since=_idle(state, event))
        case ChannelLost():
            return replace(state, deadline=event.deadline, idle_since=None)
        case StopRequested():
            stop = Stop(event.reason, event.by, event.cause, event.failed, event.deadline, event.kind)
            return replace(state, stop=stop, deadline=event.deadline, step=None, idle_since=None)
        case SubagentStopped() | SubagentFailed():
            return replace(state, confirmed=event.confirmed, deadline=None, requests=())
        case _:
            return state


def _idle(state: Subagent, event: Event) -> int | None:
    ready = state.lifecycle is Lifecycle.READY
    return event.at if ready and all(task.state.over for task in state.tasks) else None


def _queued(state: Subagent, event: TaskQueued) -> Subagent:
    task = Task(id=event.task_id, number=event.number, text=event.text)
    return replace(state, tasks=(*state.tasks, task), task_count=event.number, idle_since=None)


def _task(state: Subagent, event: TaskStarted | CancelRequested | TaskEnded) -> Subagent:
    old = state.task(event.task_id)
    if old is None:
        raise IllegalTransition(f"{type(event).__name__} names an unknown or long ended task {event.task_id}")
    new = replace(old, state=task_after(old.state, event))
    match event:
        case TaskStarted():
            new = replace(new, deadline=event.deadline)
        case CancelRequested():
            new = replace(new, deadline=event.deadline, remaining=None, goal=event.goal)
            new = replace(new, cause=event.cause, cancelled_by=event.by)
        case TaskEnded():
            new = replace(new, deadline=None, remaining=None, cause=event.cause, verdict=event.verdict)
            new = replace(new, evidence=_closed(new.evidence, event))
    after = _put(state, new)
    if isinstance(event, TaskEnded):
        requests = tuple(each for each in after.requests if each.task_id != new.id)
        after = replace(after, requests=requests, idle_since=_idle(after, event))
    return after


def _closed(evidence: Evidence, event: TaskEnded) -> Evidence:
    return replace(
        evidence,
        files_changed=event.files_changed,
        stderr_tail=event.stderr_tail,
        skipped_lines=event.skipped_lines,
    )


def _put(state: Subagent, new: Task) -> Subagent:
    """Replace a task. Of the ended ones only that which ended last stays: the others live in the log."""
    kept = (task for task in state.tasks if task.id == new.id or not (new.state.over and task.state.over))
    return replace(state, tasks=tuple(new if task.id == new.id else task for task in kept))


def _request(state: Subagent, event: RequestOpened | RequestClosed) -> Subagent:
    if isinstance(event, RequestOpened):
        opened = Request(event.request_id, event.task_id, event.title, event.options, event.deadline)
        # Answered ones have been sent by now; a task that asks a thousand times must not carry them all along.
        return _pause(replace(state, requests=(*state.open_requests, opened)), event.at)
    requests = tuple(
        replace(each, answer=event.answer) if each.id == event.request_id else each for each in state.requests
    )
    return _unpause(replace(state, requests=requests), event.at)


def _pause(state: Subagent, at: int) -> Subagent:
    """Stop the clock of the running task while a question is open: the agent is not the one who dawdles."""
    task = state.active
    if task is None or task.state is not TaskState.RUNNING or task.deadline is None:
        return state
    return _put(state, replace(task, deadline=None, remaining=max(0, task.deadline - at)))


def _unpause(state: Subagent, at: int) -> Subagent:
    task = state.active
    if task is None or task.remaining is None or state.open_requests:
        return state
    return _put(state, replace(task, deadline=at + task.remaining, remaining=None))


def _heard(state: Subagent, event: TranscriptAdded) -> Subagent:
    task = state.task(event.task_id) if event.task_id and not event.late else None
    if task is None or task.state.over:
        return state
    evidence = task.evidence
    match event.entry:
        case MessageEntry(role="agent", text=text):
            joined = evidence.text + text if evidence.message_open else text
            evidence = replace(evidence, text=joined[:MAX_RESULT_CHARS], message_open=True)
        case ToolEntry():
            evidence = replace(evidence, tools=_tools(evidence, event.entry), message_open=False)
        case _:
            return state
    return _put(state, replace(task, evidence=evidence))


def _tools(evidence: Evidence, entry: ToolEntry) -> tuple[tuple[str, str], ...]:
    tools = dict(evidence.tools)
    if entry.tool_call_id in tools or len(tools) < MAX_TOOLS_COUNTED:
        tools[entry.tool_call_id] = entry.status or tools.get(entry.tool_call_id, "pending")
    return tuple(tools.items())
