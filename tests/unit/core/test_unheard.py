"""A subagent that is stopped while its agent is out of reach: what the agent had said decides, once it is heard."""

import pytest

from acp_runtime.core.decide import decide
from acp_runtime.core.effects import Halt
from acp_runtime.core.evolve import evolve
from acp_runtime.core.inputs import (
    Asked,
    CancelTask,
    ChannelClosed,
    DeadlinePassed,
    Halted,
    Heard,
    Input,
    PromptAnswered,
    PromptBroke,
    PromptLaid,
    Send,
    StopSubagent,
)
from acp_runtime.core.model import Lifecycle, Limits, Permissions, Reason, Subagent, TaskState
from acp_runtime.core.nudge import nudges_for
from acp_runtime.core.timers import outstanding
from acp_runtime.core.transcript import MessageEntry
from tests.histories import REJECT, after, ready, spawn

T1 = "bg-0000000000.t1"
LOST_GRACE = Limits(lost_grace=10.0)
LIFETIME = Limits(lost_grace=10.0, lifetime=5.0)
BY_PARENT = StopSubagent(Reason.STOPPED_BY_PARENT, "parent", "enough")
BY_OPERATOR = StopSubagent(Reason.STOPPED_BY_OPERATOR, "operator", "enough")
ANSWER = PromptAnswered(1, T1, "end_turn", 1)
HALTED = Halted(1, confirmed=True, exported=True)


def lost(*more: Input, limits: Limits = LOST_GRACE) -> Subagent:
    """A subagent that was given its prompt and is out of reach since."""
    return after(ready(spawn(limits=limits)), PromptLaid(1, T1, 7, 100), *more, ChannelClosed(1, "eof"))


def stopped(state: Subagent, way: StopSubagent | None) -> Subagent:
    """Stop it in one way; without one its time to come back runs out."""
    return after(state, DeadlinePassed(), now=10_000) if way is None else after(state, way)


def outcome(state: Subagent) -> tuple[TaskState, str]:
    task = state.task(T1)
    assert task is not None
    return task.state, task.cause


def told(state: Subagent, *inputs: Input) -> list[str]:
    """Return the headlines of what a parent is told from here on."""
    found = []
    for given in inputs:
        events, _ = decide(state, given, 10_000)
        for event in events:
            before, state = state, evolve(state, event)
            found += [nudge.headline for nudge in nudges_for(before, state, event)]
    return found


@pytest.mark.parametrize("way", [None, BY_PARENT, BY_OPERATOR], ids=["given up", "parent", "operator"])
def test_an_answer_that_is_heard_in_a_stop_ends_the_task_as_the_agent_said(way: StopSubagent | None) -> None:
    state = stopped(lost(), way)
    assert outstanding(state) == (Halt(1),)
    state = after(state, Heard(1, (MessageEntry("agent", "done"),)), ANSWER)
    assert outcome(state)[0] is TaskState.COMPLETED
    assert after(state, HALTED).lifecycle.over


@pytest.mark.parametrize(
    ("way", "state", "words"),
    [
        (None, TaskState.INTERRUPTED, "the outcome is unknown"),
        (BY_PARENT, TaskState.CANCELLED, "enough"),
        (BY_OPERATOR, TaskState.CANCELLED, "enough"),
    ],
    ids=["given up", "parent", "operator"],
)
def test_without_an_answer_the_reason_of_the_stop_decides(
    way: StopSubagent | None, state: TaskState, words: str
) -> None:
    found, cause = outcome(after(stopped(lost(), way), HALTED))
    assert found is state
    assert words in cause


@pytest.mark.parametrize("way", [None, BY_PARENT, BY_OPERATOR], ids=["given up", "parent", "operator"])
def test_where_the_end_of_the_agent_is_not_certain_the_outcome_is_unknown(way: StopSubagent | None) -> None:
    found, cause = outcome(after(stopped(lost(), way), Halted(1, confirmed=False)))
    assert found is TaskState.INTERRUPTED
    assert "the outcome is unknown" in cause


@pytest.mark.parametrize("confirmed", [True, False])
@pytest.mark.parametrize("way", [None, BY_PARENT, BY_OPERATOR], ids=["given up", "parent", "operator"])
def test_nothing_is_unknown_of_a_task_that_the_agent_was_never_given(way: StopSubagent | None, confirmed: bool) -> None:
    never = Halted(1, confirmed=confirmed, accepted=100)
    state = after(stopped(lost(), way), never)
    found, cause = outcome(state)
    assert found is TaskState.CANCELLED
    assert cause.endswith("; the agent was never given the task")
    assert state.note == "", "the next attempt would be told of an interruption"
    given = outcome(after(stopped(lost(), way), Halted(1, confirmed=confirmed, accepted=101)))
    assert given == outcome(after(stopped(lost(), way), Halted(1, confirmed=confirmed)))
    assert told(stopped(lost(), way), never) == ([] if way is BY_PARENT else ["cancelled"])


def test_a_lifetime_that_ends_out_of_reach_times_its_task_out() -> None:
    state = after(lost(limits=LIFETIME), DeadlinePassed(), now=5_000)
    assert outcome(state)[0] is TaskState.RUNNING
    assert outcome(after(state, HALTED))[0] is TaskState.TIMED_OUT


def test_what_was_cancelled_before_ends_as_it_was_asked_to() -> None:
    state = stopped(lost(CancelTask(T1, "parent", "no")), BY_OPERATOR)
    assert outcome(after(state, ANSWER))[0] is TaskState.CANCELLED
    assert outcome(after(state, HALTED))[0] is TaskState.CANCELLED


def test_a_task_whose_model_failed_is_not_delivered_again_by_who_is_being_stopped() -> None:
    state = after(stopped(lost(), BY_PARENT), PromptBroke(1, T1, "429 too many requests"))
    assert outcome(state)[0] is TaskState.FAILED


def test_nobody_is_asked_for_who_is_being_stopped() -> None:
    asking = after(
        ready(spawn(permissions=Permissions.ASK)), PromptLaid(1, T1, 7, 100), Asked(1, "1-1", "may I", (REJECT,))
    )
    state = stopped(after(asking, ChannelClosed(1, "eof")), BY_OPERATOR)
    assert state.open_requests == ()
    late = Asked(1, "1-2", "may I", (REJECT,))
    assert told(state, late) == []
    assert after(state, late).open_requests == ()


def test_a_prompt_that_was_never_laid_out_is_not_waited_for() -> None:
    state = after(ready(spawn()), ChannelClosed(1, "eof"), BY_PARENT)
    assert outcome(state)[0] is TaskState.CANCELLING


@pytest.mark.parametrize(
    ("way", "headlines"),
    [(None, ["completed", "was given up"]), (BY_PARENT, ["completed"]), (BY_OPERATOR, ["completed", "stopped"])],
    ids=["given up", "parent", "operator"],
)
def test_an_end_that_no_task_tells_is_told_beside_the_result(way: StopSubagent | None, headlines: list[str]) -> None:
    stop: Input = DeadlinePassed() if way is None else way
    heard = Heard(1, (MessageEntry("agent", "done"),))
    assert told(lost(), stop, heard, ANSWER, HALTED) == headlines


def test_an_end_is_told_once_when_its_task_tells_it() -> None:
    assert told(lost(), DeadlinePassed(), HALTED) == ["interrupted"]
    assert told(lost(), BY_OPERATOR, HALTED) == ["cancelled"]
    cancelled = lost(CancelTask(T1, "parent", "no"))
    assert told(cancelled, BY_OPERATOR, HALTED) == ["stopped"]
    assert told(cancelled, DeadlinePassed(), ANSWER, HALTED) == ["was given up"]


def test_a_queue_behind_it_ends_at_once() -> None:
    state = stopped(lost(Send("second")), None)
    assert state.queued == ()
    assert state.lifecycle is Lifecycle.STOPPING
