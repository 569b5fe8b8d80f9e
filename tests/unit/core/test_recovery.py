"""An agent that comes back in reach, to its manager or to another one: what goes on, what is void, what is told."""

from acp_runtime.core.decide import decide
from acp_runtime.core.effects import Answer, Cancel, Inspect, Prompt
from acp_runtime.core.events import (
    CancelRequested,
    ChannelRecovered,
    LossConfirmed,
    PromptSent,
    RecoveryRefused,
    TaskEnded,
    TaskRetried,
    TaskStarted,
)
from acp_runtime.core.inputs import (
    AnswerRequest,
    Asked,
    CancelTask,
    ChannelClosed,
    DeadlinePassed,
    DeathProven,
    Heard,
    PromptAnswered,
    PromptBroke,
    PromptLaid,
    Reattached,
    Refused,
    Send,
    SessionReady,
    SteerTask,
)
from acp_runtime.core.model import Lifecycle, Permissions, Steering, Subagent, TaskState
from acp_runtime.core.nudge import NudgeKind, nudges_for, superseded
from acp_runtime.core.timers import outstanding, taken_over, timers
from acp_runtime.core.transcript import MessageEntry
from acp_runtime.manager.recovery import never_delivered
from tests.histories import ALLOW, after, born, fold, ready, spawn

T1 = "bg-0000000000.t1"
LOST = ChannelClosed(1, "the link broke")


def lost(*inputs: object, permissions: Permissions = Permissions.ALLOW, steering: bool = False) -> Subagent:
    opened = SessionReady(1, "s", "agent", "1", steering=steering)
    return after(born(spawn(permissions=permissions)), opened, *inputs, LOST)  # type: ignore[arg-type]


def test_an_agent_that_is_in_reach_again_goes_on_with_its_task_and_is_asked_for_it_again() -> None:
    state = lost()
    assert outstanding(state) == (Inspect(1),)
    events, effects = decide(state, Reattached(1), 1_000)
    assert [type(each) for each in events] == [ChannelRecovered]
    assert effects == (Prompt(1, T1),)
    again = after(state, Reattached(1))
    assert (again.lifecycle, again.active and again.active.state) == (Lifecycle.READY, TaskState.RUNNING)


def test_a_return_of_an_earlier_attempt_or_without_a_loss_changes_nothing() -> None:
    assert decide(lost(), Reattached(2), 0) == ((), ())
    assert decide(ready(spawn()), Reattached(1), 0) == ((), ())
    dead = after(lost(), DeathProven(1, 137, "killed"))
    assert decide(dead, Reattached(1), 0) == ((), ())


def test_a_cancel_and_an_answer_that_may_not_have_arrived_are_given_again() -> None:
    asked = Asked(1, "1-1", "may I", (ALLOW,), wire="7")
    state = lost(asked, AnswerRequest("1-1", ALLOW.id, "parent"), permissions=Permissions.ASK)
    assert Answer(1, "1-1", ALLOW.id) in decide(state, Reattached(1, adopted=True), 0)[1]
    state = lost(CancelTask(T1, "parent", "enough"))
    assert Cancel(1, T1) in decide(state, Reattached(1, adopted=True), 0)[1]


def test_a_deadline_that_passed_during_the_loss_leaves_the_agent_a_moment_to_be_heard() -> None:
    state = after(lost(CancelTask(T1, "parent", "enough")), Reattached(1), now=60_000)
    assert dict(timers(state))["cancel"] == 65_000
    assert decide(state, DeadlinePassed(), 60_001) == ((), ())
    ended = after(state, PromptAnswered(1, T1, "cancelled", 0), now=60_100)
    assert ended.tasks[-1].state is TaskState.CANCELLED


def test_a_cancelled_prompt_that_never_reached_its_agent_is_not_delivered_behind_its_own_cancel() -> None:
    state = lost(PromptLaid(1, T1, 7, 319), CancelTask(T1, "parent", "enough"))
    events, effects = decide(state, Reattached(1, adopted=True, undelivered=True), 0)
    assert effects == ()
    assert [(each.outcome, each.by) for each in events if isinstance(each, TaskEnded)] == [
        (TaskState.CANCELLED, "parent")
    ]
    assert fold(state, events).lifecycle is Lifecycle.READY


def test_that_a_prompt_never_reached_its_agent_is_in_the_log_before_it_is_written_again() -> None:
    """What the second manager writes moves the agent's input beyond the offset that the first one noted."""
    state = lost(PromptLaid(1, T1, 7, 319))
    events, effects = decide(state, Reattached(1, adopted=True, undelivered=True), 0)
    assert [type(each) for each in events] == [ChannelRecovered, TaskRetried, TaskStarted]
    assert effects == (Prompt(1, T1, 2),)
    third = after(fold(state, events), LOST)
    assert third.active is not None
    assert (third.active.prompt, third.active.retries) == (None, 0)
    assert never_delivered(third, 319 + 93)
    assert not never_delivered(after(state, PromptLaid(1, T1, 7, 319)), 319 + 93)


def test_a_deadline_is_put_off_once_and_then_comes_at_the_next_return() -> None:
    again = after(lost(), Reattached(1), now=3_599_000)
    assert dict(timers(again))["task"] == 3_604_000, "the word may need a moment, right before the end as well"
    state = after(again, LOST, now=3_600_000)
    assert dict(timers(after(state, Reattached(1), now=3_602_000)))["task"] == 3_604_000
    events, effects = decide(state, Reattached(1), 3_604_000)
    assert [type(each) for each in events] == [ChannelRecovered, CancelRequested]
    assert effects == (Prompt(1, T1), Cancel(1, T1))
    cancelled = after(state, Reattached(1), LOST, now=3_604_000)
    assert dict(timers(after(cancelled, Reattached(1), now=3_660_000)))["cancel"] == 3_665_000, "a deadline of its own"


def test_each_manager_gives_a_moment_to_an_agent_that_it_takes_up_when_a_deadline_has_passed() -> None:
    """Two managers died in a row: what the agent has answered stands in its journal, unread by the third."""
    asked = after(lost(), Reattached(1), CancelTask(T1, "parent", "enough"), now=1_000)
    second = after(after(asked, LOST, now=2_000), Reattached(1, adopted=True), now=5_900)
    assert dict(timers(second))["cancel"] == 10_900
    third = after(after(second, LOST, now=6_000), Reattached(1, adopted=True), now=20_000)
    assert dict(timers(third))["cancel"] == 25_000


def test_a_task_that_is_given_again_has_a_deadline_that_was_never_put_off() -> None:
    state = after(lost(), Reattached(1), PromptBroke(1, T1, "429 slow down"), now=3_599_000)
    state = after(state, DeadlinePassed(), now=3_614_000)
    assert dict(timers(state)) == {"task": 7_214_000}
    assert dict(timers(after(state, LOST, Reattached(1), now=7_213_000))) == {"task": 7_218_000}


def test_another_manager_does_not_know_what_became_of_a_steer_and_the_same_one_waits_on() -> None:
    steered = (SteerTask("left", "parent"),)
    kept = after(lost(*steered, steering=True), Reattached(1))
    assert [each.outcome for each in kept.steers] == [Steering.OPEN]
    taken = after(lost(*steered, steering=True), Reattached(1, adopted=True))
    assert [each.outcome for each in taken.steers] == [Steering.UNKNOWN]


def test_only_who_was_told_of_a_loss_is_told_of_the_return() -> None:
    quiet, (event,) = lost(), decide(lost(), Reattached(1), 1_000)[0]
    assert nudges_for(quiet, after(quiet, Reattached(1)), event) == ()
    told = after(lost(), DeadlinePassed(), now=30_000)
    assert told.loss_told
    (nudge,) = nudges_for(told, after(told, Reattached(1)), event)
    assert nudge.kind is NudgeKind.RECOVERED
    assert len(superseded(told, after(told, Reattached(1)), event)) == 1, "the loss that was not shown yet is over"


REFUSED = Refused(1, "its holder refused this manager (token_refused): the token is wrong")


def test_why_an_agent_was_not_had_back_is_noted_once_and_is_the_cause_of_its_end() -> None:
    events, effects = decide(lost(), REFUSED, 1)
    assert ([type(each) for each in events], effects) == ([RecoveryRefused], ())
    state = after(lost(), REFUSED)
    assert decide(state, REFUSED, 2) == ((), ())
    ended = after(state, DeadlinePassed(), now=300_000)
    ended = after(ended, DeadlinePassed(), now=400_000)
    assert ended.tasks[-1].cause == (
        "the channel to the agent was lost and could not be had back within 300 s: its holder refused this manager "
        "(token_refused): the token is wrong; the outcome is unknown"
    )


def test_who_is_told_of_a_loss_is_told_of_the_refusal_behind_it() -> None:
    (told,) = decide(after(lost(), REFUSED), DeadlinePassed(), 30_000)[0]
    assert isinstance(told, LossConfirmed)
    assert told.cause == f"the agent has been out of reach for 30 s: {REFUSED.cause}"


def test_a_refusal_is_of_no_account_once_the_agent_is_back_or_another_one_begins() -> None:
    for given in (Reattached(1), DeathProven(1, 137, "killed")):
        state = after(after(lost(), REFUSED), given)
        assert (state.refused, decide(state, REFUSED, 1)) == ("", ((), ()))
    assert decide(lost(), Refused(2, "of an attempt to come"), 1) == ((), ())


def test_the_log_says_from_where_the_output_is_to_be_read_again() -> None:
    say = (MessageEntry("agent", "a"), MessageEntry("agent", "b", "2"))
    state = after(ready(spawn()), Heard(1, say, upto=100))
    assert (state.heard, state.answer_at) == (100, None)
    state = after(state, Heard(1, say[:1], upto=300, answer_at=200))
    assert (state.heard, state.answer_at) == (300, 200)
    assert after(state, PromptAnswered(1, T1, "end_turn", 0)).answer_at is None
    assert after(state, Asked(1, "1-3", "may I", (ALLOW,), upto=350)).heard == 350
    again = after(state, LOST, DeathProven(1, 1, "died"), DeadlinePassed(), now=300_000)
    assert (again.attempt, again.heard, again.asked) == (2, 0, 0)


def test_an_answer_that_is_not_stored_yet_is_read_again_whatever_its_parent_cancels_meanwhile() -> None:
    say = (MessageEntry("agent", "a"),)
    heard = after(ready(spawn()), Send("second"), Heard(1, say, upto=300, answer_at=200))
    both = after(heard, CancelTask(f"{heard.id}.t2", "parent", "no"), CancelTask(T1, "parent", "no"))
    assert {task.state for task in both.tasks} == {TaskState.CANCELLING, TaskState.CANCELLED}
    for state in (heard, both):
        assert after(state, LOST).answer_at == 200
    assert after(both, PromptAnswered(1, T1, "end_turn", 0)).answer_at is None


def test_where_a_prompt_was_laid_out_is_stored_for_the_task_that_is_with_the_agent_only() -> None:
    state = ready(spawn())
    (event,) = decide(state, PromptLaid(1, T1, 16_777_219, 640), 0)[0]
    assert isinstance(event, PromptSent)
    laid = after(state, PromptLaid(1, T1, 16_777_219, 640))
    assert laid.active is not None
    assert laid.active.prompt == (16_777_219, 640)
    assert decide(state, PromptLaid(2, T1, 1, 0), 0) == ((), ())
    assert decide(state, PromptLaid(1, "bg-0000000000.t2", 1, 0), 0) == ((), ())


def test_a_loss_that_was_left_by_another_manager_has_its_whole_grace_again_and_nothing_else_has() -> None:
    assert dict(timers(taken_over(lost(), 1_000_000)))["lost"] == 1_300_000
    assert dict(timers(taken_over(lost(), -1_000)))["lost"] == 300_000
    assert taken_over(ready(spawn()), 1_000_000) == ready(spawn())
