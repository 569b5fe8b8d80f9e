"""A login that has expired under a task: asked for once, and the task goes on with it, or fails without it."""

import pytest

from acp_runtime.core.budget import Used
from acp_runtime.core.decide import decide
from acp_runtime.core.effects import Launch, Prompt
from acp_runtime.core.errors import Rejected
from acp_runtime.core.events import RequestClosed, RequestOpened, StepReached, TaskEnded, TaskRetried
from acp_runtime.core.evolve import CUT_OFF
from acp_runtime.core.inputs import (
    AnswerRequest,
    CancelTask,
    ChannelClosed,
    DeadlinePassed,
    DeathProven,
    Heard,
    Input,
    LoginExpired,
    LoginRenewed,
    ModelUsed,
    PromptAnswered,
    PromptBroke,
    Reattached,
    Send,
    SessionReady,
    StartBroke,
    StopSubagent,
)
from acp_runtime.core.logins import AGAIN, GIVE_UP
from acp_runtime.core.model import Lifecycle, Limits, Reason, Subagent, TaskState
from acp_runtime.core.nudge import NudgeKind, nudges_for
from acp_runtime.core.request import RequestKind
from acp_runtime.core.status import Status, status
from acp_runtime.core.timers import outstanding, timers
from acp_runtime.core.transcript import MessageEntry, ToolEntry
from tests.histories import after, born, ready, spawn

WHY = "The login login:claude was not renewed: the vendor answered 400; run `claude` and log in with /login, on host-3"
T1, T2 = "bg-0000000000.t1", "bg-0000000000.t2"
EXPIRED, BROKE = LoginExpired(1, WHY), PromptBroke(1, T1, "API Error: 400")
DONE = PromptAnswered(1, T1, "end_turn", 1)
YES, NO = AnswerRequest("l1", AGAIN, "parent"), AnswerRequest("l1", GIVE_UP, "parent")


def waiting(*more: Input) -> Subagent:
    """Return a subagent whose agent gave up on its task, since it had no login."""
    return after(ready(), *more, EXPIRED, BROKE)


@pytest.mark.requirement("D09.33")
def test_the_parent_is_asked_once_whatever_number_of_calls_fail() -> None:
    state = after(ready(), EXPIRED, EXPIRED, BROKE, EXPIRED, LoginExpired(0, WHY))
    assert [(each.id, each.kind, each.title) for each in state.open_requests] == [("l1", RequestKind.LOGIN, WHY)]
    assert (status(state), state.active, state.queued[0].id) == (Status.WAITING, None, T1)


def test_the_parent_is_told_that_input_is_needed_and_what_may_be_answered() -> None:
    state = ready()
    (event,), _ = decide(state, EXPIRED, 0)
    assert isinstance(event, RequestOpened)
    (nudge,) = nudges_for(state, after(state, EXPIRED), event)
    assert (nudge.kind, nudge.subject, nudge.cause, nudge.reason) == (NudgeKind.NEEDS_INPUT, "l1", WHY, "login")
    assert [each.partition(" ")[0] for each in nudge.result.split("; ")] == [AGAIN, GIVE_UP]


@pytest.mark.parametrize("given", [YES, LoginRenewed("l1")], ids=["answered", "noticed"])
def test_the_task_goes_on_once_there_is_a_login_with_word_of_what_it_had_done(given: Input) -> None:
    for begun, note in (((), ""), ((Heard(1, (ToolEntry("t1", status="completed"),)),), CUT_OFF)):
        state = after(waiting(*begun, Send("second")), given)
        assert state.open_requests == ()
        assert state.active is not None
        assert (state.active.id, state.active.note, state.active.retries, state.active.logged_out) == (T1, note, 0, "")
        assert "task" in dict(timers(state)), "its whole time again"
        state = after(state, DONE)
        assert state.task(T1) is None or state.task(T1).state is TaskState.COMPLETED  # type: ignore[union-attr]


def test_a_task_whose_login_is_back_before_its_turn_has_ended_is_given_to_the_agent_anew() -> None:
    state = after(ready(), EXPIRED, YES, BROKE)
    assert (state.active, state.queued[0].id) == (None, T1)
    _, effects = decide(state, DeadlinePassed(), dict(timers(state))["retry"])
    assert effects == (Prompt(1, T1, 2),)


def test_an_end_that_the_agent_calls_one_is_none_while_its_calls_are_refused() -> None:
    said = Heard(1, (MessageEntry("agent", "API Error: 400 the login was not renewed"),))
    for inputs in (
        (EXPIRED, said, DONE),
        (EXPIRED, YES, said, PromptAnswered(1, T1, "end_turn", 0)),
        (EXPIRED, YES, BROKE),
    ):
        state = after(ready(), *inputs)
        task = state.task(T1)
        assert task is not None
        assert not task.state.over, inputs


def test_a_task_that_was_done_although_a_call_of_it_had_been_refused_is_done() -> None:
    state = after(ready(), EXPIRED, YES, Heard(1, (MessageEntry("agent", "All done."),)), DONE)
    assert state.tasks[0].state is TaskState.COMPLETED


def test_a_login_that_is_none_is_asked_for_anew() -> None:
    state = after(waiting(), YES, EXPIRED)
    assert [each.id for each in state.open_requests] == ["l2"]
    assert after(state, LoginRenewed("l1")) == state, "what was noticed for the first says nothing of the second"


@pytest.mark.parametrize("by", ["parent", "deadline"])
def test_a_task_that_is_given_up_fails_with_the_cause_and_the_next_is_tried(by: str) -> None:
    state = waiting(Send("second"))
    moment = dict(timers(state))["request"]
    given, now = (NO, 0) if by == "parent" else (DeadlinePassed(), moment)
    events, _ = decide(state, given, now)
    (ended,) = (each for each in events if isinstance(each, TaskEnded))
    assert (ended.task_id, ended.outcome, ended.by) == (T1, TaskState.FAILED, by)
    assert WHY in ended.cause
    assert ("limits.request" in ended.cause) == (by == "deadline")
    state = after(state, given, now=now)
    assert (state.active and state.active.id, state.open_requests) == (T2, ())


@pytest.mark.parametrize("end", [BROKE, DONE], ids=["failed", "ended"])
def test_a_task_that_is_given_up_while_its_agent_has_it_fails_when_that_one_ends_its_turn(end: Input) -> None:
    state = after(ready(), EXPIRED, NO)
    assert (state.open_requests, status(state)) == ((), Status.RUNNING)
    task = after(state, end).tasks[0]
    assert (task.state, WHY in task.cause) == (TaskState.FAILED, True)


def test_nobody_is_asked_where_no_task_could_go_on() -> None:
    for state in (after(ready(), DONE), after(ready(), CancelTask(T1, "parent", "enough"))):
        assert after(state, EXPIRED).open_requests == ()


def test_a_task_that_is_over_needs_no_login_and_a_queue_does() -> None:
    cancelled = CancelTask(T1, "parent", "enough")
    for state in (after(waiting(), cancelled), after(ready(), EXPIRED, cancelled, BROKE)):
        assert state.open_requests == ()
    for state in (after(waiting(Send("x")), cancelled), after(ready(), Send("x"), EXPIRED, cancelled, BROKE)):
        assert ([each.id for each in state.open_requests], state.active) == (["l1"], None), "one for each expiry"
        assert after(state, YES).active is not None
    stopped = after(waiting(Send("x")), StopSubagent(Reason.STOPPED_BY_PARENT, "parent", "enough"))
    assert stopped.open_requests == ()


def test_a_death_while_it_waits_asks_nobody_again() -> None:
    state = ready(spawn(limits=Limits(restarts=1)))
    state = after(state, Send("x"), EXPIRED, BROKE, ChannelClosed(1, "eof"), DeathProven(1, 137, "killed"))
    assert ([each.id for each in state.open_requests], len(state.queued)) == (["l1"], 2)
    state = after(state, DeadlinePassed(), now=10_000)
    assert after(state, SessionReady(2, "s", "agent", "1")).active is None
    assert after(state, SessionReady(2, "s", "agent", "1"), YES).active is not None


def test_what_a_manager_asked_is_open_for_the_next_one_and_what_was_refused_meanwhile_is_asked() -> None:
    back = Reattached(1, adopted=True)
    state = after(waiting(), ChannelClosed(1, "the manager ended"), back)
    assert ([each.id for each in state.open_requests], state.active) == (["l1"], None)
    assert after(state, LoginRenewed("l1")).active is not None
    meanwhile = after(ready(), ChannelClosed(1, "the manager ended"), EXPIRED, back, BROKE)
    assert ([each.id for each in meanwhile.open_requests], len(meanwhile.queued)) == (["l1"], 1)


def test_a_budget_that_is_used_up_waits_for_no_login() -> None:
    state = after(ready(), EXPIRED, ModelUsed(Used(tokens=900), "its budget is used up"), BROKE)
    assert (state.tasks[0].state, state.tasks[0].cause) == (TaskState.FAILED, "its budget is used up")


def test_waiting_for_a_login_uses_up_no_try_and_no_time_of_the_task() -> None:
    state = after(ready(), EXPIRED)
    assert "task" not in dict(timers(state))
    assert "task" in dict(timers(after(state, YES)))
    events, _ = decide(after(state, YES), BROKE, 5)
    assert [(each.number, each.retry_at) for each in events if isinstance(each, TaskRetried)] == [(0, 1_005)]


def test_an_answer_that_was_not_offered_is_refused() -> None:
    with pytest.raises(Rejected, match="not offered"):
        decide(waiting(), AnswerRequest("l1", "always", "operator"), 0)


def unstartable(state: Subagent) -> Subagent:
    """Return a subagent whose start found its login expired."""
    return after(state, StartBroke(state.attempt, WHY, "login_expired"))


@pytest.mark.requirement("D09.33")
@pytest.mark.parametrize("given", [YES, LoginRenewed("l1")], ids=["answered", "noticed"])
def test_a_start_that_needs_the_login_waits_for_it_and_costs_no_restart(given: Input) -> None:
    state = unstartable(born(spawn()))
    assert [(each.id, each.kind, each.title) for each in state.open_requests] == [("l1", RequestKind.LOGIN, WHY)]
    assert (status(state), outstanding(state), state.restarts) == (Status.WAITING, (), 0)
    events, effects = decide(state, given, 5)
    assert (effects, [type(each) for each in events]) == ((Launch(2),), [RequestClosed, StepReached])
    again = unstartable(after(state, given))
    assert [each.id for each in again.open_requests] == ["l2"], "it is none yet, and asked for anew"


@pytest.mark.parametrize("by", ["parent", "deadline"])
def test_a_start_whose_login_nobody_gives_fails_its_task_and_asks_again_for_the_next(by: str) -> None:
    state = unstartable(after(born(spawn(limits=Limits(restarts=0))), Send("second")))
    moment = dict(timers(state))["request"]
    given, now = (NO, 0) if by == "parent" else (DeadlinePassed(), moment)
    state = after(state, *([given] if by == "parent" else [given, given]), now=now)
    assert (state.tasks[0].id, state.tasks[0].state, state.queued[0].id) == (T1, TaskState.FAILED, T2)
    assert (state.open_requests, outstanding(state)) == ((), (Launch(2),))
    state = unstartable(state)
    assert [each.id for each in state.open_requests] == ["l2"]
    state = unstartable(after(state, AnswerRequest("l2", GIVE_UP, "parent")))
    assert state.stop is not None, "there is nothing to do"
    assert (state.lifecycle, state.stop.kind) == (Lifecycle.STOPPING, "login_expired")


def test_a_start_that_waits_for_its_login_goes_on_when_its_task_is_wanted_no_more() -> None:
    state = after(unstartable(born(spawn())), CancelTask(T1, "parent", "not wanted"))
    assert (state.open_requests, outstanding(state)) == ((), (Launch(2),))


def test_an_agent_that_is_started_again_asks_for_its_login_but_once() -> None:
    state = after(waiting(), ChannelClosed(1, "gone"), DeathProven(1, 137, "killed"))
    state = unstartable(unstartable(state))
    assert [each.id for each in state.open_requests] == ["l1"]
