"""What a death, a lost session and a retry mean for the tasks of a subagent."""

from dataclasses import replace

import pytest

from acp_runtime.core.decide import decide
from acp_runtime.core.effects import Answer, Launch, Prompt, Steer
from acp_runtime.core.errors import Rejected
from acp_runtime.core.events import LossConfirmed, TaskRetried, TaskStarted
from acp_runtime.core.evolve import FORGOTTEN, INTERRUPTED
from acp_runtime.core.inputs import (
    AnswerRequest,
    Asked,
    CancelTask,
    ChannelClosed,
    DeadlinePassed,
    DeathProven,
    Halted,
    Heard,
    PromptAnswered,
    PromptBroke,
    PromptLaid,
    ResumeSubagent,
    Send,
    SessionReady,
    StartBroke,
    SteerAnswered,
    SteerTask,
    StopSubagent,
)
from acp_runtime.core.model import (
    Lifecycle,
    Limits,
    Opening,
    Order,
    Reason,
    Steering,
    Step,
    Subagent,
    TaskState,
    Verdict,
)
from acp_runtime.core.observations import MANAGER_ENDED
from acp_runtime.core.status import Status, status
from acp_runtime.core.timers import next_deadline, outstanding, timers
from acp_runtime.core.transcript import MessageEntry, ToolEntry
from tests.histories import REJECT, after, born, fold, ready, spawn

T1, T2 = "bg-0000000000.t1", "bg-0000000000.t2"
TWICE = Limits(restarts=2)
STOP = StopSubagent(Reason.STOPPED_BY_PARENT, "parent", "enough")
RESUMED = SessionReady(2, "s", "agent", "1", Opening.RESUMED)
FORGOT = SessionReady(2, "s2", "agent", "1", Opening.LOST)


def dead(state: Subagent, *, now: int = 0) -> Subagent:
    return after(state, ChannelClosed(state.attempt, "eof"), DeathProven(state.attempt, 137, "killed"), now=now)


def again(state: Subagent, opened: SessionReady) -> Subagent:
    """Return the state after the pause of a restart and the session that followed."""
    return after(state, DeadlinePassed(), opened, now=next_deadline(state) or 0)


def busy(limits: Limits = TWICE) -> Subagent:
    """Return a subagent with one task at work and one queued."""
    return after(ready(spawn(limits=limits)), Send("second"))


def test_a_death_interrupts_only_the_delivered_task_and_the_queue_goes_on_in_the_resumed_session() -> None:
    state = dead(busy())
    assert (state.lifecycle, state.attempt, state.step) == (Lifecycle.STARTING, 2, Step.BACKOFF)
    assert [task.state for task in state.tasks] == [TaskState.INTERRUPTED, TaskState.QUEUED]
    assert outstanding(state) == (), "the pause before a restart launches nothing"
    waited = after(state, DeadlinePassed(), now=next_deadline(state) or 0)
    assert outstanding(waited) == (Launch(2),)
    state = after(waited, RESUMED)
    assert outstanding(state) == (Prompt(2, T2),)
    assert state.active is not None
    assert state.active.note == INTERRUPTED
    assert state.note == ""


def test_a_session_that_could_not_be_resumed_holds_the_queue_until_the_parent_decides() -> None:
    state = again(dead(busy()), FORGOT)
    assert status(state) is Status.WAITING
    assert state.active is None
    assert state.question is not None
    assert outstanding(state) == (), "the manager's own question is no request of the agent"
    on = after(state, AnswerRequest("q2", "continue", "parent"))
    assert on.active is not None
    assert on.active.id == T2
    assert on.active.note == f"{INTERRUPTED}\n\n{FORGOTTEN}"
    assert not any(isinstance(each, Answer) for each in outstanding(on))
    off = after(state, AnswerRequest("q2", "drop", "parent"))
    assert off.tasks[-1].state is TaskState.CANCELLED
    assert status(off) is Status.IDLE


def test_a_question_nobody_answers_drops_the_queue_at_its_deadline() -> None:
    state = again(dead(busy()), FORGOT)
    state = after(state, DeadlinePassed(), now=dict(timers(state))["request"])
    assert state.tasks[-1].state is TaskState.CANCELLED
    assert state.question is None


def test_a_question_about_a_queue_that_was_emptied_is_closed() -> None:
    state = after(again(dead(busy()), FORGOT), CancelTask(T2, "parent", "never mind"))
    assert state.question is None
    assert status(state) is Status.IDLE


@pytest.mark.requirement("O07")
def test_a_new_session_without_a_queue_asks_nothing_and_its_next_task_tells_the_instructions_again() -> None:
    order = Order(agent="scripted", workspace="/w", instructions="Be brief.")
    lost, kept = (again(dead(ready(spawn(limits=TWICE, order=order))), way) for way in (FORGOT, RESUMED))
    assert after(lost, Send("go on")).tasks[-1].note == f"Be brief.\n\n{INTERRUPTED}\n\n{FORGOTTEN}"
    assert (lost.question, after(kept, Send("go on")).tasks[-1].note) == (None, INTERRUPTED)


def test_restarts_are_spent_by_deaths_and_earned_back_by_a_completed_task() -> None:
    state = again(dead(busy(Limits(restarts=1))), RESUMED)
    spent = dead(state)
    assert spent.lifecycle is Lifecycle.STOPPING
    assert spent.stop is not None
    assert spent.stop.reason is Reason.AGENT_DIED
    state = after(state, PromptAnswered(2, T2, "end_turn", 1), Send("third"))
    assert dead(state).lifecycle is Lifecycle.STARTING


def test_the_pause_before_a_restart_doubles() -> None:
    state = dead(busy(Limits(restarts=3, backoff=2.0)))
    assert state.deadline == 2_000
    broken = after(state, DeadlinePassed(), StartBroke(2, "the engine hiccuped"), now=2_000)
    assert (broken.attempt, broken.step) == (3, Step.BACKOFF)
    assert broken.deadline == 2_000 + 4_000


def test_a_first_start_that_fails_is_told_at_once_and_not_tried_again() -> None:
    state = after(born(spawn(limits=TWICE)), StartBroke(1, "no such image", "image_missing"))
    assert state.lifecycle is Lifecycle.STOPPING


def test_a_first_start_whose_manager_ended_is_begun_again() -> None:
    state = after(born(spawn(limits=TWICE)), StartBroke(1, "the manager ended", "manager_ended"))
    assert (state.lifecycle, state.attempt) == (Lifecycle.STARTING, 2)
    assert [task.state for task in state.tasks] == [TaskState.QUEUED]


def test_a_manager_may_end_as_often_as_it_likes_without_spending_a_restart() -> None:
    state = ready(spawn(limits=Limits(restarts=1)))
    for _ in range(4):
        lost = after(state, ChannelClosed(state.attempt, "gone"))
        state = after(lost, DeathProven(lost.attempt, None, "it went with its manager", MANAGER_ENDED))
        assert (state.lifecycle, state.restarts) == (Lifecycle.STARTING, 0)
        state = after(state, StartBroke(state.attempt, "the next manager ended too", MANAGER_ENDED))
        assert (state.lifecycle, state.restarts) == (Lifecycle.STARTING, 0)
        state = again(state, replace(RESUMED, attempt=state.attempt))
    once = dead(state)
    twice = dead(again(once, replace(RESUMED, attempt=once.attempt)))
    assert (once.lifecycle, twice.lifecycle) == (Lifecycle.STARTING, Lifecycle.STOPPING), "its own deaths are counted"


@pytest.mark.parametrize("kind", ["engine_unreachable", "engine_timeout"])
def test_an_engine_that_is_away_for_a_while_spends_no_restart_of_an_agent_that_died_meanwhile(kind: str) -> None:
    state = dead(busy(Limits(restarts=1, sandbox=10.0)))
    for _ in range(3):
        state = after(state, DeadlinePassed(), now=next_deadline(state) or 0)
        state = after(state, StartBroke(state.attempt, "no engine", kind), now=(state.deadline or 0) - 9_000)
        assert (state.lifecycle, state.restarts) == (Lifecycle.STARTING, 1)
    back = again(state, replace(RESUMED, attempt=state.attempt))
    assert [task.state for task in back.tasks] == [TaskState.INTERRUPTED, TaskState.RUNNING]


def test_an_engine_that_stays_away_for_the_whole_time_of_a_start_ends_it() -> None:
    state = dead(busy(Limits(restarts=1, sandbox=10.0)), now=1_000)
    state = after(state, DeadlinePassed(), StartBroke(2, "no engine", "engine_unreachable"), now=10_999)
    assert state.attempt == 3
    state = after(state, DeadlinePassed(), now=next_deadline(state) or 0)
    state = after(state, StartBroke(3, "no engine", "engine_unreachable"), now=11_000)
    assert (state.lifecycle, state.stop and state.stop.kind) == (Lifecycle.STOPPING, "engine_unreachable")


def test_a_first_start_without_an_engine_is_told_at_once() -> None:
    state = after(born(spawn(limits=TWICE)), StartBroke(1, "no engine", "engine_unreachable"))
    assert state.lifecycle is Lifecycle.STOPPING


def unsent(state: Subagent) -> Subagent:
    """Return the state after the death of an agent whose input was kept, and to which no prompt was laid out."""
    return after(state, ChannelClosed(1, "eof"), DeathProven(1, 137, "killed", kept=True))


def test_a_task_that_never_reached_a_dying_agent_is_queued_again_before_the_others() -> None:
    state = unsent(busy())
    assert [(task.id, task.state) for task in state.tasks] == [(T1, TaskState.QUEUED), (T2, TaskState.QUEUED)]
    given = again(state, RESUMED)
    assert given.active is not None
    assert (given.active.id, given.active.retries, given.active.note) == (T1, 0, ""), "nothing was interrupted"


def test_a_task_whose_prompt_was_laid_out_may_have_reached_a_dying_agent() -> None:
    state = unsent(after(busy(), PromptLaid(1, T1, 7, 100)))
    assert [task.state for task in state.tasks] == [TaskState.INTERRUPTED, TaskState.QUEUED]


@pytest.mark.requirement("D08.5")
@pytest.mark.parametrize(("accepted", "again"), [(100, True), (99, True), (101, False), (None, False)])
def test_a_laid_out_prompt_is_given_to_the_next_agent_where_the_journal_proves_that_none_had_it(
    accepted: int | None, again: bool
) -> None:
    state = after(busy(), PromptLaid(1, T1, 7, 100), ChannelClosed(1, "eof"))
    state = after(state, DeathProven(1, 137, "killed", kept=True, accepted=accepted))
    assert state.tasks[0].state is (TaskState.QUEUED if again else TaskState.INTERRUPTED)


def test_a_cancelled_task_that_never_reached_a_dying_agent_is_cancelled() -> None:
    state = unsent(after(busy(), CancelTask(T1, "parent", "enough")))
    assert [task.state for task in state.tasks] == [TaskState.CANCELLED, TaskState.QUEUED]


def test_a_task_that_never_reached_an_agent_is_cancelled_with_the_queue_when_no_restart_is_left() -> None:
    state = unsent(busy(Limits(restarts=0)))
    assert state.lifecycle is Lifecycle.STOPPING
    assert all(task.state is TaskState.CANCELLED for task in state.tasks)


def test_where_no_restart_is_allowed_none_follows_the_end_of_a_manager() -> None:
    lost = after(ready(spawn(limits=Limits(restarts=0))), ChannelClosed(1, "gone"))
    state = after(lost, DeathProven(1, None, "it went with its manager", MANAGER_ENDED))
    assert state.lifecycle is Lifecycle.STOPPING


def test_an_agent_that_ignores_a_cancel_is_replaced_and_its_queue_goes_on() -> None:
    state = after(busy(), CancelTask(T1, "parent", "enough"))
    events, effects = decide(state, DeadlinePassed(), 5_000)
    state = fold(state, events)
    assert [task.state for task in state.tasks] == [TaskState.CANCELLED, TaskState.QUEUED]
    assert (state.lifecycle, state.attempt) == (Lifecycle.STARTING, 2)
    assert effects == ()
    assert again(state, RESUMED).active is not None


def test_a_parent_is_told_of_a_loss_only_after_a_grace() -> None:
    state = after(ready(spawn(limits=Limits(restarts=2, lost_grace=60.0))), ChannelClosed(1, "eof"), now=1_000)
    assert decide(state, DeadlinePassed(), 30_999)[0] == ()
    events, _ = decide(state, DeadlinePassed(), 31_000)
    assert [(type(each), each.number) for each in events if isinstance(each, LossConfirmed)] == [(LossConfirmed, 1)]
    told = fold(state, events)
    assert "loss" not in dict(timers(told))


def test_a_loss_goes_on_through_the_restart_until_a_session_is_open() -> None:
    state = dead(ready(spawn(limits=TWICE)), now=1_000)
    assert dict(timers(state))["loss"] == 31_000
    assert "loss" not in dict(timers(again(state, RESUMED)))


@pytest.mark.parametrize("cause", ["429 Too Many Requests", "503", "model overloaded", "read ECONNRESET", "timed out"])
def test_a_provider_that_failed_before_anything_was_produced_is_asked_again_visibly(cause: str) -> None:
    state = busy()
    events, _ = decide(state, PromptBroke(1, T1, cause), 1_000)
    assert [(each.cause, each.retry_at) for each in events if isinstance(each, TaskRetried)] == [(cause, 16_000)]
    waiting = fold(state, events)
    assert waiting.active is None, "the second task must not overtake the first"
    assert [task.id for task in waiting.queued] == [T1, T2]
    given = after(waiting, DeadlinePassed(), now=16_000)
    assert given.active is not None
    assert (given.active.id, given.active.retries) == (T1, 1)


def test_a_task_that_is_put_back_and_started_in_one_decision_is_given_to_its_agent_once_more() -> None:
    events, effects = decide(ready(spawn(limits=Limits(retry_delay=0.0001))), PromptBroke(1, T1, "429"), 1_000)
    assert [type(each) for each in events] == [TaskRetried, TaskStarted]
    assert effects == (Prompt(1, T1, 2),)


def test_what_a_prompt_asked_that_is_given_again_is_asked_no_more() -> None:
    asked = after(ready(), Asked(1, "1-1", "may I", (REJECT,)))  # of that no policy allows anything
    assert [each.id for each in asked.open_requests] == ["1-1"]
    again = after(asked, PromptBroke(1, T1, "429 slow down"))
    assert again.active is None
    assert again.open_requests == ()


def test_a_retry_gives_up_when_its_number_is_spent() -> None:
    state = ready(spawn(limits=Limits(retries=1)))
    state = after(state, PromptBroke(1, T1, "429"))
    state = after(state, DeadlinePassed(), now=next_deadline(state) or 0)
    state = after(state, PromptBroke(1, T1, "429"))
    assert state.tasks[-1].state is TaskState.FAILED


@pytest.mark.parametrize("cause", ["401 invalid key", "400 bad request", "no such model"])
def test_an_error_that_will_not_pass_fails_the_task_at_once(cause: str) -> None:
    assert after(ready(), PromptBroke(1, T1, cause)).tasks[-1].state is TaskState.FAILED


def test_what_ran_out_in_the_sandbox_is_told_with_the_cause_and_is_no_reason_to_try_again() -> None:
    shortage = "its limit is 512 MiB"  # a number that a provider's error could have
    broke = after(ready(), PromptBroke(1, T1, "it broke", shortage=shortage)).tasks[-1]
    assert (broke.state, broke.cause) == (TaskState.FAILED, f"it broke; {shortage}")
    again, _ = decide(busy(), PromptBroke(1, T1, "429", shortage=shortage), 1_000)
    assert [each.cause for each in again if isinstance(each, TaskRetried)] == [f"429; {shortage}"]
    answered = after(ready(), PromptAnswered(1, T1, "end_turn", 1, shortage=shortage)).tasks[-1]
    told = after(ready(), PromptAnswered(1, T1, "end_turn", 1, ran_out=(2, 0)))
    assert told.ran_out == (2, 0), "the next manager of the attempt begins to count there"
    assert (answered.state, answered.cause) == (TaskState.COMPLETED, f"the agent ended its turn; {shortage}")


def test_a_task_that_had_begun_to_produce_is_never_given_again() -> None:
    spoke = after(ready(), Heard(1, (MessageEntry("agent", "I deleted"),)), PromptBroke(1, T1, "429"))
    assert spoke.tasks[-1].state is TaskState.FAILED
    wrote = after(ready(), PromptBroke(1, T1, "429", files_changed=1))
    assert wrote.tasks[-1].state is TaskState.FAILED


def test_a_message_is_put_into_the_running_task_where_the_agent_takes_one() -> None:
    steering = after(born(), SessionReady(1, "s", "agent", "1", steering=True))
    events, effects = decide(steering, SteerTask("left, please", "parent"), 0)
    state = fold(steering, events)
    assert effects == (Steer(1, "bg-0000000000.s1"),)
    taken = after(state, SteerAnswered(1, "bg-0000000000.s1", Steering.INJECTED))
    assert [each.outcome for each in taken.steers] == [Steering.INJECTED]
    assert taken.task_count == 1
    refused = after(state, SteerAnswered(1, "bg-0000000000.s1", Steering.QUEUED))
    assert [task.text for task in refused.queued] == ["left, please"]


def test_a_message_that_cannot_be_put_in_becomes_a_task() -> None:
    assert [task.text for task in after(ready(), SteerTask("left", "parent")).queued] == ["left"]


def test_nobody_knows_whether_a_dead_agent_took_the_message() -> None:
    state = after(
        born(spawn(limits=TWICE)), SessionReady(1, "s", "agent", "1", steering=True), SteerTask("x", "parent")
    )
    assert [each.outcome for each in dead(state).steers] == [Steering.UNKNOWN]
    late = after(state, DeadlinePassed(), now=15_000)
    assert [each.outcome for each in late.steers] == [Steering.UNKNOWN]
    assert late.task_count == 1, "it may have been taken: giving it as a task too would be a second time"


def test_an_ended_subagent_is_started_again_only_when_it_was_kept_and_asked_for() -> None:
    ended = after(ready(), STOP, Halted(1, confirmed=True))
    with pytest.raises(Rejected, match="has not ended") as open_:
        decide(ready(), ResumeSubagent("more", "parent"), 0)
    assert open_.value.kind == "still_open"
    events, effects = decide(ended, ResumeSubagent("more", "parent"), 9_000)
    state = fold(ended, events)
    assert effects == (Launch(2),)
    assert (state.lifecycle, state.stop, state.requested_at) == (Lifecycle.STARTING, None, 9_000)
    opened = after(state, SessionReady(2, "s2", "agent", "1", Opening.LOST))
    assert opened.question is None, "the parent gave this task itself; it is not asked whether it wants it"
    assert opened.active is not None
    assert FORGOTTEN in opened.active.note
    unkept = after(ready(spawn(order=Order(agent="scripted", workspace="/w"))), STOP, Halted(1, confirmed=True))
    with pytest.raises(Rejected, match="nothing of it was kept") as refused:
        decide(unkept, ResumeSubagent("more", "parent"), 0)
    assert refused.value.kind == "not_resumable"


def test_a_one_shot_subagent_ends_with_its_task_whatever_became_of_it() -> None:
    order = Order(agent="scripted", workspace="/w", one_shot=True)
    for given in (PromptAnswered(1, T1, "end_turn", 1), PromptBroke(1, T1, "no")):
        state = after(ready(spawn(order=order)), given)
        assert state.lifecycle is Lifecycle.STOPPING
        assert state.stop is not None
        assert state.stop.reason is Reason.FINISHED
    assert after(born(spawn(order=order)), CancelTask(T1, "parent", "no")).lifecycle is Lifecycle.STOPPING
    assert dead(ready(spawn(order=order, limits=TWICE))).lifecycle is Lifecycle.STOPPING


def test_instructions_stand_before_the_first_task_and_only_there() -> None:
    state = ready(spawn(order=Order(agent="scripted", workspace="/w", instructions="Be brief.")))
    assert state.active is not None
    assert state.active.note == "Be brief."
    state = after(state, PromptAnswered(1, T1, "end_turn", 1), Send("second"))
    assert state.active is not None
    assert state.active.note == ""


def test_what_could_not_be_exported_is_told_with_the_end() -> None:
    state = after(ready(), STOP, Halted(1, confirmed=True, exported=False))
    assert (state.confirmed, state.exported) == (True, False)
    late = after(ready(), STOP)
    late = after(late, DeadlinePassed(), now=next_deadline(late) or 0)
    assert (late.confirmed, late.exported) == (False, False)


def test_what_an_earlier_task_changed_is_no_evidence_for_a_later_one() -> None:
    first = after(ready(spawn(limits=TWICE)), PromptAnswered(1, T1, "end_turn", files_changed=3), Send("second"))
    failed = Heard(1, (ToolEntry("t1", status="failed"),))
    told = after(first, failed, PromptAnswered(1, T2, "end_turn", files_changed=3)).tasks[-1]
    assert (told.verdict, told.evidence.files_changed) == (Verdict.SUSPECT, 3)
    more = after(first, failed, PromptAnswered(1, T2, "end_turn", files_changed=4)).tasks[-1]
    assert more.verdict is Verdict.FULL
    again = after(first, PromptBroke(1, T2, "429 Too Many Requests", files_changed=3)).tasks[-1]
    assert again.state is TaskState.QUEUED, "nothing was produced, so it is tried again"
