"""`evolve(state, event) -> state`: the fold that makes a subagent out of its log. Pure and total over legal logs."""

from dataclasses import replace
from typing import Final

from acp_runtime.core.errors import IllegalTransition
from acp_runtime.core.events import (
    AnswerTaken,
    AttemptStarted,
    BootBegan,
    BudgetChanged,
    BudgetReached,
    CallRefused,
    CancelRequested,
    ChannelLost,
    ChannelRecovered,
    EgressChanged,
    Event,
    LossConfirmed,
    PromptSent,
    RecoveryRefused,
    RequestClosed,
    RequestOpened,
    ResultReported,
    SessionOpened,
    SteerEnded,
    SteerRequested,
    StepReached,
    StopRequested,
    SubagentFailed,
    SubagentRequested,
    SubagentStopped,
    SubtreeEnded,
    TaskEnded,
    TaskQueued,
    TaskRetried,
    TaskStarted,
    TranscriptAdded,
    TreeTimeOver,
)
from acp_runtime.core.model import (
    MAX_RESULT_CHARS,
    MAX_STEERS_KEPT,
    MAX_TOOLS_COUNTED,
    Evidence,
    Lifecycle,
    Opening,
    Steer,
    Steering,
    Stop,
    Subagent,
    Task,
    TaskState,
)
from acp_runtime.core.requesting import put_task, request
from acp_runtime.core.tables import LIFECYCLE_EVENTS, TaskEvent, lifecycle_after, task_after
from acp_runtime.core.timers import milliseconds, moved
from acp_runtime.core.transcript import OUTPUT_LOST, MessageEntry, OtherEntry, ToolEntry

INTERRUPTED: Final = (
    "(Note from the manager: your last task was interrupted because your process or the channel to it ended. How far "
    "it got is unknown; look at the workspace before you go on.)"
)
FORGOTTEN: Final = (
    "(Note from the manager: this is a new session. The earlier conversation could not be restored; the files in the "
    "workspace are as you left them.)"
)
CUT_OFF: Final = (
    "(Note from the manager: your last turn was cut off because the login for your model had expired. There is one "
    "again, and this is the same task: look at what you have done of it, and go on from there.)"
)
MESSAGE_GAP: Final = "\n\n"


def evolve(state: Subagent | None, event: Event) -> Subagent:
    """Return the state after one stored fact. Raises `IllegalTransition` for a fact that cannot follow."""
    if isinstance(event, SubagentRequested):
        if state is not None:
            raise IllegalTransition(f"subagent {event.id} was requested twice")
        return _born(event)
    if state is None:
        raise IllegalTransition(f"{type(event).__name__} stands before the subagent was requested")
    if isinstance(event, BootBegan):
        return moved(state, event.at - event.last)
    if type(event) in LIFECYCLE_EVENTS:
        return _lifecycle(replace(state, lifecycle=lifecycle_after(state.lifecycle, event)), event, state.lifecycle)
    if isinstance(event, BudgetReached | TreeTimeOver | BudgetChanged | CallRefused):
        return _budget(state, event)
    if isinstance(event, EgressChanged):
        return replace(state, order=replace(state.order, egress=event.egress))
    return _within(state, event)


def _within(state: Subagent, event: Event) -> Subagent:
    match event:
        case TaskQueued():
            return _queued(state, event)
        case TaskStarted() | TaskRetried() | CancelRequested() | TaskEnded():
            return _task(state, event)
        case PromptSent():
            return _sent(state, event)
        case SteerRequested() | SteerEnded():
            return _steer(state, event)
        case RequestOpened() | RequestClosed() | AnswerTaken() | ResultReported():
            return request(state, event)
        case TranscriptAdded():
            return _heard(state, event)
        case _:
            raise IllegalTransition(f"{type(event).__name__} is not a fact about a subagent")


def _budget(state: Subagent, event: BudgetReached | TreeTimeOver | BudgetChanged | CallRefused) -> Subagent:
    if isinstance(event, TreeTimeOver):
        return state
    if isinstance(event, BudgetReached):
        return state if event.key else replace(state, reached=(*state.reached, event.bound))
    if isinstance(event, BudgetChanged):
        before, after = state.order.budget, event.budget
        reached = tuple(each for each in state.reached if getattr(before, each) == getattr(after, each))
        return replace(state, order=replace(state.order, budget=after), reached=reached, period=event.period)
    marked = (replace(each, doomed=event.cause) if each.id == event.task_id else each for each in state.tasks)
    return replace(state, tasks=tuple(marked))


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
        note=event.order.instructions,
    )


def _lifecycle(state: Subagent, event: Event, before: Lifecycle) -> Subagent:
    match event:
        case AttemptStarted():
            state = _attempt(state, event, before)
        case StepReached():
            state = replace(state, step=event.step, deadline=event.deadline)
            if event.container or event.pid is not None:
                state = replace(state, container=event.container, pid=event.pid)
        case SessionOpened():
            state = _opened(state, event)
        case ChannelLost():
            state = replace(state, deadline=event.deadline, idle_since=None, losses=state.losses + 1, lost_at=event.at)
        case ChannelRecovered():
            state = replace(state, deadline=None, lost_at=None, loss_told=False, idle_since=_idle(state, event))
            state = _heard_first(replace(state, refused=""), event.at, anew=event.adopted)
        case RecoveryRefused() | LossConfirmed():
            state = _out_of_reach(state, event)
        case StopRequested() | SubtreeEnded():
            state = _stopping(state, event)
        case SubagentStopped() | SubagentFailed():
            state = replace(state, confirmed=event.confirmed, exported=event.exported, deadline=None, lost_at=None)
            state = replace(state, requests=(), leading=False)
    return state


def _stopping(state: Subagent, event: StopRequested | SubtreeEnded) -> Subagent:
    if isinstance(event, SubtreeEnded):
        return replace(state, leading=False, deadline=event.deadline)
    stop = Stop(event.reason, event.by, event.cause, event.failed, event.deadline, event.kind)
    state = replace(state, stop=stop, deadline=event.deadline, step=None, idle_since=None, refused="")
    return replace(state, leading=state.order.lineage.leads)


def _out_of_reach(state: Subagent, event: RecoveryRefused | LossConfirmed) -> Subagent:
    if isinstance(event, RecoveryRefused):
        return replace(state, refused=event.cause)
    return replace(state, loss_told=True)


def _heard_first(state: Subagent, at: int, *, anew: bool) -> Subagent:
    """Give an agent that is in reach again a moment: the word that it is late with may have been on its way.

    Each deadline once: a channel that comes and goes for ever must not put it off for ever. `anew` for another manager,
    which has heard nothing yet: what the one before it was given was gone with it.
    """
    soonest = at + milliseconds(state.limits.cancel_grace)
    task = state.active
    if task is not None and task.deadline is not None and task.deadline < soonest and (anew or not task.put_off):
        state = put_task(state, replace(task, deadline=soonest, put_off=True))
    steers = tuple(
        replace(each, deadline=soonest, put_off=True) if each.deadline < soonest and not each.put_off else each
        for each in state.steers
    )
    return replace(state, steers=steers)


def _attempt(state: Subagent, event: AttemptStarted, before: Lifecycle) -> Subagent:
    """Begin a start. One after the end begins everything anew but the history; any other counts as a restart."""
    state = replace(state, attempt=event.attempt, step=event.step, deadline=event.deadline, container="", pid=None)
    state = replace(state, heard=0, answer_at=None, asked=0, refused="", ran_out=(0, 0))
    if before is not Lifecycle.STARTING or event.counted:
        state = replace(state, begun=event.at)
    if before is Lifecycle.REQUESTED:
        return state
    if before.over:
        state = replace(state, stop=None, confirmed=True, exported=True, restarts=0, requested_at=event.at)
        return replace(state, first=event.attempt)
    return replace(state, restarts=state.restarts + event.counted, idle_since=None)


def _opened(state: Subagent, event: SessionOpened) -> Subagent:
    note, told = state.note, state.order.instructions
    if event.opening is Opening.LOST:  # with the session went what its first prompt had said
        note = _joined("" if told in note else told, note, FORGOTTEN)
    return replace(
        state,
        session_id=event.session_id,
        opening=event.opening,
        steering=event.steering,
        note=note,
        step=None,
        deadline=None,
        lost_at=None,
        loss_told=False,
        idle_since=_idle(state, event),
        pid=state.pid if event.pid is None else event.pid,
        heard=event.upto,
    )


def _cut_off(task: Task) -> str:
    """Return what an agent is to know of a task that it had begun before it had no login."""
    begun = task.evidence.text or task.evidence.tools
    return CUT_OFF if task.logged_out and begun else ""


def _joined(*notes: str) -> str:
    return "\n\n".join(note for note in notes if note)


def _idle(state: Subagent, event: Event) -> int | None:
    ready = state.lifecycle is Lifecycle.READY
    return event.at if ready and all(task.state.over for task in state.tasks) else None


def _queued(state: Subagent, event: TaskQueued) -> Subagent:
    task = Task(id=event.task_id, number=event.number, text=event.text, woken=event.woken)
    return replace(state, tasks=(*state.tasks, task), task_count=event.number, idle_since=None)


def _task(state: Subagent, event: TaskEvent) -> Subagent:
    old = state.task(event.task_id)
    if old is None:
        raise IllegalTransition(f"{type(event).__name__} names an unknown or long ended task {event.task_id}")
    new = replace(old, state=task_after(old.state, event))
    match event:
        case TaskStarted():
            new = replace(new, deadline=event.deadline, put_off=False, note=event.note)
            new = replace(new, retry_at=None, cause="", prompt=None, logged_out="", deliveries=old.deliveries + 1)
            state = replace(state, note="", answers=())
        case TaskRetried():
            new = replace(new, deadline=None, remaining=None, evidence=Evidence(), cause=event.cause)
            new = replace(new, retries=event.number, retry_at=event.retry_at)
            state = replace(state, note=_joined(new.note, _cut_off(old), state.note))
        case CancelRequested():
            new = replace(new, deadline=event.deadline, put_off=False, remaining=None, goal=event.goal)
            new = replace(new, cause=event.cause, cancelled_by=event.by)
        case TaskEnded():
            new = replace(new, deadline=None, remaining=None, retry_at=None, cause=event.cause, verdict=event.verdict)
            new = replace(new, evidence=_closed(new.evidence, event))
            state = replace(state, files=state.files if event.files_changed is None else event.files_changed)
    # The place of an answer that waits to be stored goes with its task alone: it is needed until that is over.
    if not isinstance(event, CancelRequested) and state.active in (None, old):
        state = replace(state, answer_at=None)
    if isinstance(event, TaskRetried | TaskEnded):
        state = replace(state, ran_out=_most(state.ran_out, event.ran_out))
    after = put_task(state, new)
    return _after_end(after, event) if isinstance(event, TaskEnded) else after


def _most(before: tuple[int, int], told: tuple[int, int]) -> tuple[int, int]:
    return max(before[0], told[0]), max(before[1], told[1])


def _sent(state: Subagent, event: PromptSent) -> Subagent:
    task = state.task(event.task_id)
    return state if task is None else put_task(state, replace(task, prompt=(event.request, event.offset)))


def _after_end(state: Subagent, event: TaskEnded) -> Subagent:
    requests = tuple(each for each in state.requests if each.task_id != event.task_id)
    if event.outcome is TaskState.INTERRUPTED:
        state = replace(state, note=_joined(state.note, INTERRUPTED))
    if event.outcome is TaskState.COMPLETED:
        state = replace(state, restarts=0)
    return replace(state, requests=requests, idle_since=_idle(state, event))


def _steer(state: Subagent, event: SteerRequested | SteerEnded) -> Subagent:
    if isinstance(event, SteerRequested):
        new = Steer(event.steer_id, event.task_id, event.text, event.deadline)
        return replace(state, steers=(*state.steers, new), steer_count=event.number)
    steers = [replace(each, outcome=event.outcome) if each.id == event.steer_id else each for each in state.steers]
    told = [each.id for each in steers if each.outcome is not Steering.OPEN]
    gone = set(told[:-MAX_STEERS_KEPT])
    return replace(state, steers=tuple(each for each in steers if each.id not in gone))


def _closed(evidence: Evidence, event: TaskEnded) -> Evidence:
    return replace(
        evidence,
        files_changed=event.files_changed,
        stderr_tail=event.stderr_tail,
        skipped_lines=event.skipped_lines,
    )


def _heard(state: Subagent, event: TranscriptAdded) -> Subagent:
    if event.upto:
        state = replace(state, heard=max(state.heard, event.upto), answer_at=event.answer_at)
    task = state.task(event.task_id) if event.task_id and not event.late else None
    if task is None or task.state.over:
        return state
    evidence = task.evidence
    match event.entry:
        case MessageEntry(role="agent", text=text, message_id=ident):
            between = "" if ident == evidence.message_id else MESSAGE_GAP
            joined = evidence.text + between + text if evidence.message_open else text
            evidence = replace(evidence, text=joined[-MAX_RESULT_CHARS:], message_open=True, message_id=ident)
        case ToolEntry():
            evidence = replace(evidence, tools=_tools(evidence, event.entry), message_open=False)
        case OtherEntry(kind=kind) if kind == OUTPUT_LOST:
            evidence = replace(evidence, lost_parts=evidence.lost_parts + 1)
        case _:
            return state
    return put_task(state, replace(task, evidence=evidence))


def _tools(evidence: Evidence, entry: ToolEntry) -> tuple[tuple[str, str], ...]:
    tools = dict(evidence.tools)
    if entry.tool_call_id in tools or len(tools) < MAX_TOOLS_COUNTED:
        tools[entry.tool_call_id] = entry.status or tools.get(entry.tool_call_id, "pending")
    return tuple(tools.items())
