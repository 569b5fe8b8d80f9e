"""One checker over the events of a subagent: what must hold of every log, however it came about.

The invariants are those of the security and reliability notes: only legal edges, ends absorb (I2); a task is started
at most once and ends exactly once (I3); one nudge for each end that a parent must be told of, and none without (I4).
"""

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from acp_runtime.core.events import (
    AttemptStarted,
    BootBegan,
    Event,
    RequestClosed,
    RequestOpened,
    SteerEnded,
    StopRequested,
    SubagentFailed,
    SubagentRequested,
    SubagentStopped,
    TaskEnded,
    TaskQueued,
    TaskRetried,
    TaskStarted,
    TranscriptAdded,
)
from acp_runtime.core.evolve import evolve
from acp_runtime.core.model import HOLDING_THE_QUEUE, Lifecycle, Subagent, TaskState
from acp_runtime.core.nudge import About, nudges_for
from acp_runtime.core.request import RequestKind


def check_log(events: Sequence[Event]) -> Subagent:
    """Fold a log from its beginning, judge it, and return the state it ends in."""
    state: Subagent | None = None
    nudges: Counter[str] = Counter()
    ended = 0
    for event in events:
        # Raises IllegalTransition for an edge that the tables do not hold.
        before, state = state, evolve(state, event)
        made = nudges_for(before, state, event)
        nudges.update(nudge.id for nudge in made)
        ended += sum(nudge.about is About.TASK for nudge in made)
        if isinstance(event, TaskEnded):
            task = state.task(event.task_id)
            assert task is not None, f"{event.task_id} was pushed out of the state by its own end"
            assert task.state is event.outcome
    assert state is not None, "the log is empty"
    assert all(count == 1 for count in nudges.values()), f"told twice: {nudges}"
    told = [event for event in events if isinstance(event, TaskEnded) and event.by != "parent"]
    assert ended == len(told)
    _check_times(events)
    _check_order(events)
    _check_tasks(events, state)
    _check_requests(events, state)
    return state


def _check_times(events: Sequence[Event]) -> None:
    """Time goes on within one boot. What had ended may be started again in any."""
    for before, event in pairwise(events):
        if isinstance(event, BootBegan):
            assert event.last >= before.at, "the last boot ended before it did"
        elif not (isinstance(event, AttemptStarted) and event.by):
            assert event.at >= before.at, "time went backwards"


def _check_order(events: Sequence[Event]) -> None:
    assert isinstance(events[0], SubagentRequested)
    attempts = [event.attempt for event in events if isinstance(event, AttemptStarted)]
    assert attempts == list(range(1, len(attempts) + 1)), "attempts are counted one by one"
    stop: StopRequested | None = None
    over = False
    for event in events:
        if over:
            assert isinstance(event, AttemptStarted), f"{event} happened after the end"
            assert event.by, "an ended subagent was started unasked"
            over, stop = False, None
        elif isinstance(event, StopRequested):
            assert stop is None, "stopped twice"
            stop = event
        elif isinstance(event, SubagentStopped | SubagentFailed):
            assert stop is not None, "an end without a stop"
            assert isinstance(event, SubagentFailed) == stop.failed
            over = True


def _check_tasks(events: Sequence[Event], state: Subagent) -> None:
    queued = [event.task_id for event in events if isinstance(event, TaskQueued)]
    started = Counter(event.task_id for event in events if isinstance(event, TaskStarted))
    ended = Counter(event.task_id for event in events if isinstance(event, TaskEnded))
    assert len(queued) == len(set(queued)) == state.task_count
    assert set(started) | set(ended) <= set(queued)
    retried = Counter(event.task_id for event in events if isinstance(event, TaskRetried))
    assert all(count == 1 for count in ended.values()), "ended twice"
    for ident, count in started.items():
        assert count - retried[ident] in (0, 1), f"{ident} was given to an agent again, and nobody said why"
    assert list(started) == [ident for ident in queued if ident in started], "out of order"
    open_tasks = {task.id for task in state.tasks if not task.state.over}
    assert open_tasks == set(queued) - set(ended)
    if state.lifecycle.over:
        assert open_tasks == set(), "open tasks in an ended subagent"
    for event in events:
        if isinstance(event, TaskEnded) and event.outcome is TaskState.COMPLETED:
            assert event.stop_reason is not None, "completed without the agent's answer"
            assert event.verdict is not None, "completed without a verdict"
        if isinstance(event, TranscriptAdded) and event.late:
            assert event.task_id in ended, "late before the end"


def _check_requests(events: Sequence[Event], state: Subagent) -> None:
    opened = [event.request_id for event in events if isinstance(event, RequestOpened)]
    closed = Counter(event.request_id for event in events if isinstance(event, RequestClosed))
    assert len(opened) == len(set(opened)), "two questions with one id"
    assert set(closed) <= set(opened)
    assert all(count == 1 for count in closed.values()), "answered twice"
    offered = {event.request_id: event.options for event in events if isinstance(event, RequestOpened)}
    for event in events:
        if isinstance(event, RequestClosed) and event.answer and not event.text:
            assert event.answer in {option.id for option in offered[event.request_id]}, (
                "answered with what nobody offered"
            )
    active = state.active
    asked = {each.task_id for each in state.open_requests if each.kind not in (*HOLDING_THE_QUEUE, RequestKind.ASK)}
    assert asked <= ({active.id} if active else set())
    assert state.question is None or state.queued or active, "a question about no task"
    steers = Counter(event.steer_id for event in events if isinstance(event, SteerEnded))
    assert all(count == 1 for count in steers.values()), "a steer has two outcomes"
    assert not (state.lifecycle is Lifecycle.STOPPING and state.open_requests), "a question stays open in a stop"
