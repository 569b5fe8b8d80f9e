"""Rules of the machines that a walk over all states does not see: what is lost, told wrongly or grows."""

import pytest

from acp_runtime.core.decide import decide
from acp_runtime.core.effects import Answer, Inspect, Prompt
from acp_runtime.core.events import TaskEnded
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
    Send,
    SessionReady,
    StopSubagent,
)
from acp_runtime.core.model import Lifecycle, Limits, Reason, Subagent, Task, TaskState
from acp_runtime.core.timers import outstanding, timers
from acp_runtime.core.transcript import MessageEntry, ToolEntry
from tests.histories import ALLOW, REJECT, after, born, ready, spawn

T1, T2 = "bg-0000000000.t1", "bg-0000000000.t2"
STOP = StopSubagent(Reason.STOPPED_BY_PARENT, "parent", "enough")


def task(state: Subagent, ident: str = T1) -> Task:
    found = state.task(ident)
    assert found is not None
    return found


def test_a_task_that_ends_after_a_later_one_is_still_there_when_it_ends() -> None:
    """Its row is written from the state after its end: the end of a later task must not push it out."""
    state = after(ready(), Send("second"), STOP)
    assert task(state, T2).state is TaskState.CANCELLED
    ended = after(state, Halted(1, confirmed=True))
    assert task(ended).state is TaskState.CANCELLED
    state = after(ready(), Send("second"), CancelTask(T2, "parent", "no"), PromptAnswered(1, T1, "end_turn", 1))
    assert task(state).state is TaskState.COMPLETED


def test_ended_tasks_do_not_pile_up_in_the_state() -> None:
    state = ready()
    for number in range(1, 50):
        state = after(state, Send("next"), PromptAnswered(1, f"{state.id}.t{number}", "end_turn", 1))
    assert len(state.tasks) == 2
    assert state.task_count == 50


def test_answered_questions_do_not_pile_up_in_the_state() -> None:
    state = ready()
    for number in range(100):
        events, effects = decide(state, Asked(1, f"1-{number}", "may I", (ALLOW,)), 0)
        assert effects == (Answer(1, f"1-{number}", "a"),)
        state = after(state, Asked(1, f"1-{number}", "may I", (ALLOW,)))
        assert len(events) == 2
    assert len(state.requests) == 1
    assert len(outstanding(state)) == 2


def test_an_answer_stays_outstanding_beside_questions_that_are_open() -> None:
    state = after(ready(), Asked(1, "1-1", "may I", (REJECT,)), Asked(1, "1-2", "may I", (REJECT,)))
    events, effects = decide(state, AnswerRequest("1-1", "r", "operator"), 0)
    assert effects == (Answer(1, "1-1", "r"),)
    assert [each.id for each in after(state, AnswerRequest("1-1", "r", "operator")).open_requests] == ["1-2"]
    assert len(events) == 1


def test_while_the_channel_is_lost_nobody_is_said_to_have_ignored_a_cancel() -> None:
    """No cancel can reach the agent then; what became of the task is unknown, not timed out."""
    state = after(ready(spawn(limits=Limits(task=5.0, lost_grace=10.0))), ChannelClosed(1, "eof"))
    assert [name for name, _ in timers(state)] == ["lost", "loss"]
    assert outstanding(state) == (Inspect(1),)
    state = after(state, CancelTask(T1, "operator", "enough"))
    assert [name for name, _ in timers(state)] == ["lost", "loss"]
    state = after(state, DeadlinePassed(), now=10_000)
    assert task(state).state is TaskState.INTERRUPTED
    assert "unknown" in task(state).cause


def test_a_lost_channel_still_has_the_lifetime_of_its_subagent() -> None:
    state = after(ready(spawn(limits=Limits(lifetime=5.0))), ChannelClosed(1, "eof"))
    assert [name for name, _ in timers(state)] == ["lifetime", "lost", "loss"]


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("inf"), float("nan")])
def test_a_deadline_that_is_no_duration_is_refused_where_it_is_made(seconds: float) -> None:
    for name in ("sandbox", "initialize", "authenticate", "session", "task", "request", "cancel_grace", "stop"):
        with pytest.raises(ValueError, match=f"limits.{name} is "):
            Limits(**{name: seconds})
    for name in ("lost_grace", "idle", "lifetime"):
        with pytest.raises(ValueError, match=f"limits.{name} is "):
            Limits(**{name: seconds})


def test_a_queue_cannot_be_shorter_than_empty() -> None:
    with pytest.raises(ValueError, match=r"limits\.queue is -1"):
        Limits(queue=-1)
    assert Limits(queue=0, task=None, idle=None, lifetime=None).queue == 0


def test_a_dead_agent_interrupts_the_delivered_task_and_cancels_the_waiting_ones() -> None:
    state = after(ready(spawn(limits=Limits(restarts=0))), Send("second"), ChannelClosed(1, "eof"))
    events, _ = decide(state, DeathProven(1, 137, "killed"), 0)
    ends = {event.task_id: (event.outcome, event.by) for event in events if isinstance(event, TaskEnded)}
    assert ends == {T1: (TaskState.INTERRUPTED, "agent"), T2: (TaskState.CANCELLED, "agent")}


def test_a_stop_that_cannot_be_confirmed_leaves_the_outcome_unknown() -> None:
    state = after(ready(), STOP, Halted(1, confirmed=False))
    assert (state.lifecycle, state.confirmed) == (Lifecycle.STOPPED, False)
    assert task(state).state is TaskState.INTERRUPTED
    assert "unknown" in task(state).cause


def test_an_answer_that_comes_while_a_stop_is_under_way_does_not_turn_it_into_a_success() -> None:
    state = after(ready(), STOP, PromptAnswered(1, T1, "end_turn", 5))
    assert (task(state).state, task(state).cause) == (TaskState.CANCELLED, "enough")


def test_what_is_heard_after_the_end_of_a_task_does_not_change_its_result() -> None:
    said = Heard(1, (MessageEntry("agent", "on time"),))
    state = after(ready(), said, PromptAnswered(1, T1, "end_turn", 0), Heard(1, (MessageEntry("agent", "late"),)))
    assert task(state).evidence.text == "on time"


def test_the_result_is_the_newest_message_and_a_tool_call_ends_a_message() -> None:
    entries = (
        MessageEntry("agent", "I look"),
        MessageEntry("agent", " at it."),
        ToolEntry("t", status="completed"),
        MessageEntry("agent", "Done."),
    )
    assert task(after(ready(), Heard(1, entries[:2]))).evidence.text == "I look at it."
    assert task(after(ready(), Heard(1, entries))).evidence.text == "Done."


def test_messages_that_follow_each_other_are_told_apart() -> None:
    """An agent that is spoken to while it works answers twice, with no tool call between."""
    pieces = (("I am", "m1"), (" done.", "m1"), ("Done as you said", "m2"), (" then.", "m2"))
    heard = Heard(1, tuple(MessageEntry("agent", text, ident) for text, ident in pieces))
    assert task(after(ready(), heard)).evidence.text == "I am done.\n\nDone as you said then."


def test_the_next_task_is_prompted_in_the_decision_that_ends_the_one_before() -> None:
    state = after(ready(), Send("second"))
    _, effects = decide(state, PromptAnswered(1, T1, "end_turn", 0), 0)
    assert effects == (Prompt(1, T2),)


def test_of_timers_that_are_due_together_only_the_first_in_precedence_acts() -> None:
    limits = Limits(lifetime=5.0, initialize=5.0, sandbox=5.0)
    state = after(born(spawn(limits=limits)), DeadlinePassed(), now=9_000)
    assert state.stop is not None
    assert state.stop.reason is Reason.LIFETIME
    state = after(born(spawn(limits=Limits(sandbox=5.0))), DeadlinePassed(), now=9_000)
    assert state.stop is not None
    assert state.stop.reason is Reason.START_TIMEOUT


def test_an_idle_deadline_counts_from_the_end_of_the_last_task() -> None:
    state = after(born(spawn(limits=Limits(idle=5.0))), SessionReady(1, "s", "a", "1"), now=1_000)
    assert "idle" not in dict(timers(state))
    state = after(state, PromptAnswered(1, T1, "end_turn", 0), now=7_000)
    assert dict(timers(state))["idle"] == 12_000
