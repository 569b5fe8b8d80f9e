"""The machine, walked: every state that up to two tasks can reach, under every input and every timer.

There are several walks, each with one thing that the others leave out: together they would not end in a minute. What
comes of the things mixed is wandered through at random in `tests/property`.
"""

from dataclasses import replace

import pytest

from acp_runtime.core.decide import decide
from acp_runtime.core.effects import Disband, Halt, Permit
from acp_runtime.core.events import (
    AnswerTaken,
    RequestClosed,
    RequestOpened,
    ResultReported,
    SubagentRequested,
    TaskEnded,
    TaskQueued,
    TaskRetried,
    TaskStarted,
)
from acp_runtime.core.evolve import evolve
from acp_runtime.core.inputs import (
    AnswerRequest,
    Asked,
    AskParent,
    DeadlinePassed,
    Halted,
    PromptAnswered,
    PromptBroke,
    Reattached,
    ResumeSubagent,
    Send,
    SessionReady,
    StopSubagent,
    SubtreeOver,
)
from acp_runtime.core.model import HOLDING_THE_QUEUE, Lifecycle, Reason, TaskState
from acp_runtime.core.request import Option, RequestKind
from acp_runtime.core.status import Status, status
from acp_runtime.core.tables import LIFECYCLE, TASK, task_trigger
from acp_runtime.core.timers import next_deadline, outstanding, timers
from acp_runtime.core.wishes import ALLOW, granted
from tests.exhaustive.walk import GROUNDS, TASK_EVENTS, Walk, fold, key, observations, spawn, walk_over


@pytest.fixture(params=GROUNDS, ids=lambda ground: ground.name)
def walk(request: pytest.FixtureRequest) -> Walk:
    return walk_over(request.param)


def test_the_walk_is_wide_enough_to_mean_something(walk: Walk) -> None:
    assert len(walk.states) > 200
    assert {state.lifecycle for state in walk.states.values()} == set(Lifecycle) - {Lifecycle.REQUESTED}


def test_a_task_in_which_a_call_was_refused_is_never_told_as_completed_and_never_tried_again(walk: Walk) -> None:
    refused = {(id(before), task.id) for before, *_ in walk.edges for task in before.tasks if task.doomed}
    assert bool(refused) == (walk.ground.budget is not None or walk.ground.logs_in)
    for before, given, events, _ in walk.edges:
        for event in events:
            if isinstance(event, TaskEnded) and (id(before), event.task_id) in refused:
                assert event.outcome is not TaskState.COMPLETED
            if isinstance(event, TaskRetried) and (id(before), event.task_id) in refused:
                assert not isinstance(given, PromptBroke)


def test_never_are_two_prompts_with_one_agent(walk: Walk) -> None:
    for state in walk.states.values():
        assert sum(task.state.active for task in state.tasks) <= 1


def test_an_agent_that_still_has_a_prompt_never_gets_another(walk: Walk) -> None:
    """Only the agent's own answer ends its prompt; whoever ends the task otherwise ends the agent too."""
    for state, given, events, after in walk.edges:
        active = state.active
        ended = {event.task_id for event in events if isinstance(event, TaskEnded)}
        never_had = isinstance(given, Reattached) and given.undelivered
        answered = never_had or isinstance(given, PromptAnswered | PromptBroke)
        if active is not None and active.id in ended and not answered:
            assert after.lifecycle is not Lifecycle.READY, f"{given} leaves a prompt behind in a ready agent"


def test_a_lifetime_ends_a_subagent_whatever_it_does(walk: Walk) -> None:
    for state in walk.states.values():
        if not state.lifecycle.over and state.lifecycle is not Lifecycle.STOPPING:
            moment = dict(timers(state))["lifetime"]
            after = fold(state, decide(state, DeadlinePassed(), moment)[0])
            assert after.lifecycle is Lifecycle.STOPPING


def test_an_end_absorbs_and_leaves_nothing_open(walk: Walk) -> None:
    for state in walk.states.values():
        if state.lifecycle.over:
            assert all(task.state.over for task in state.tasks)
            assert outstanding(state) == ()
            assert next_deadline(state) is None
    for state, given, events, _ in walk.edges:
        if state.lifecycle.over and not isinstance(given, ResumeSubagent):
            assert events == (), f"{given} changed an ended subagent"


def test_a_ready_agent_with_queued_work_is_never_left_waiting(walk: Walk) -> None:
    for state in walk.states.values():
        if state.lifecycle is Lifecycle.READY and state.queued and state.active is None:
            armed = {name for name, _ in timers(state)}
            assert armed & {"request", "retry"}, "nothing will ever give the queued task to the agent"


def test_every_state_that_is_not_over_ends_by_its_timers_alone(walk: Walk) -> None:
    """Nobody answers any more: no observation comes, only time passes. Every wait has a bound of its own."""
    for start in walk.states.values():
        state = replace(start, limits=replace(start.limits, lifetime=None))
        for _ in range(40):
            moment = next_deadline(state)
            if moment is None:
                break
            events, _ = decide(state, DeadlinePassed(), moment)
            assert events, f"a timer of {state.lifecycle} fires and changes nothing: {timers(state)}"
            state = fold(state, events)
        assert state.lifecycle.over, f"{start.lifecycle} with {key(start)} never ends"


def test_each_task_ends_once_and_only_after_it_was_queued(walk: Walk) -> None:
    for state, _, events, after in walk.edges:
        ends = [event for event in events if isinstance(event, TaskEnded)]
        assert len(ends) == len({event.task_id for event in ends})
        for event in ends:
            before, then = state.task(event.task_id), after.task(event.task_id)
            assert before is None or not before.state.over
            assert then is None or then.state is event.outcome, "the log tells another end than the state"
        queued = [event for event in events if isinstance(event, TaskQueued)]
        assert after.task_count == state.task_count + len(queued)


def test_no_question_outlives_the_running_of_the_task_that_asked(walk: Walk) -> None:
    for state in walk.states.values():
        for request in state.open_requests:
            task = state.task(request.task_id)
            if request.kind is RequestKind.ASK:  # it is of the agent: its answer may stand before the next prompt
                assert state.lifecycle in (Lifecycle.READY, Lifecycle.LOST), key(state)
                continue
            assert request.kind in HOLDING_THE_QUEUE or (task and task.state is TaskState.RUNNING), key(state)


def test_an_agent_asks_and_reports_in_its_running_task_alone_and_takes_an_answer_once(walk: Walk) -> None:
    seen = set()
    for before, given, events, after in walk.edges:
        for event in events:
            if isinstance(event, ResultReported) or (isinstance(event, RequestOpened) and isinstance(given, AskParent)):
                assert before.active is not None
                assert before.active.state is TaskState.RUNNING
                seen.add(type(event))
            if isinstance(event, AnswerTaken):
                assert (len(before.answers), after.answers) == (1, ())
                seen.add(type(event))
    assert seen == ({ResultReported, RequestOpened, AnswerTaken} if walk.ground.tools else set())


@pytest.mark.requirement("D09.32")
def test_what_was_allowed_for_a_task_is_reached_in_it_alone(walk: Walk) -> None:
    """Whatever ends the task takes it back, and the sandbox is to be told."""
    for state, given, events, after in walk.edges:
        if granted(after.active) and not granted(state.active):
            allowed = any(isinstance(event, RequestClosed) and event.answer == ALLOW for event in events)
            again = any(isinstance(event, TaskStarted) and state.task(event.task_id) for event in events)
            assert allowed or again, f"{given} allows what nobody allowed"
        ended = {event.task_id for event in events if isinstance(event, TaskEnded)}
        assert state.active is None or state.active.id not in ended or not granted(after.active), (
            "a task left it behind"
        )
        if after.lifecycle is Lifecycle.READY and (after.order.egress is not None or after.period):
            assert Permit(after.attempt, granted(after.active), after.period) in outstanding(after)


def test_who_is_refused_a_host_neither_waits_nor_has_its_deadline_put_off(walk: Walk) -> None:
    for state in walk.states.values():
        asking = [each for each in state.open_requests if each.kind is RequestKind.EGRESS]
        if asking and len(asking) == len(state.open_requests):
            assert status(state) is not Status.WAITING
            assert state.active is not None
            assert state.active.remaining is None


def test_observations_of_an_older_attempt_change_nothing(walk: Walk) -> None:
    for state in walk.states.values():
        for given in observations(state, state.attempt - 1, walk.ground):
            events, effects = decide(state, given, 0)
            assert (events, effects) == ((), ()), f"stale {given} changed a {state.lifecycle}"


def test_who_leads_others_ends_only_after_them_or_when_they_are_given_up(walk: Walk) -> None:
    for state, given, _, after in walk.edges:
        assert not after.leading or after.lifecycle is Lifecycle.STOPPING
        if state.lifecycle is not Lifecycle.STOPPING and after.lifecycle is Lifecycle.STOPPING:
            assert outstanding(after) == ((Disband if walk.ground.leads else Halt)(after.attempt),)
        if state.leading and not after.leading:
            assert isinstance(given, SubtreeOver | Halted | DeadlinePassed), given


def test_no_row_of_the_tables_is_dead() -> None:
    lifecycle, tasks = set(), set()
    for state, _, events, _ in (edge for ground in GROUNDS for edge in walk_over(ground).edges):
        current = state
        for event in events:
            if isinstance(event, SubagentRequested):
                continue
            lifecycle.add((current.lifecycle, type(event)))
            task = current.task(getattr(event, "task_id", ""))
            if task is not None and type(event).__name__ in TASK_EVENTS:
                tasks.add((task.state, task_trigger(event)))  # type: ignore[arg-type]
            current = evolve(current, event)
    rows = {(state, event) for state, row in LIFECYCLE.items() for event in row}
    assert {row for row in rows if row not in lifecycle} == {row for row in rows if row[0] is Lifecycle.REQUESTED}, (
        "unreached lifecycle rows (REQUESTED is left inside the spawn itself)"
    )
    assert {(state, name) for state, row in TASK.items() for name in row} - tasks == set()


def test_the_clock_of_a_task_stands_while_a_question_is_open() -> None:
    events, _ = decide(None, spawn(), 0)
    state = fold(None, events)
    for given, now in (
        (SessionReady(1, "s", "a", "1"), 1_000),
        (Asked(1, "1-1", "may I", (Option("r", "Reject", "reject_once"),)), 2_000),
    ):
        state = fold(state, decide(state, given, now)[0])
    assert "task" not in dict(timers(state))
    state = fold(state, decide(state, AnswerRequest("1-1", "r", "operator"), 60_000)[0])
    assert dict(timers(state))["task"] == 60_000 + 3_600_000 - 1_000


def test_a_silent_build_is_never_stopped_as_idle(walk: Walk) -> None:
    for state in walk.states.values():
        if any(not task.state.over for task in state.tasks):
            assert "idle" not in dict(timers(state))


def test_a_stop_cancels_what_runs_and_what_waits() -> None:
    events, _ = decide(None, spawn(), 0)
    state = fold(None, events)
    state = fold(state, decide(state, SessionReady(1, "s", "a", "1"), 1)[0])
    state = fold(state, decide(state, Send("second"), 2)[0])
    state = fold(state, decide(state, StopSubagent(Reason.STOPPED_BY_PARENT, "parent", "enough"), 3)[0])
    events, _ = decide(state, Halted(1, confirmed=True), 4)
    final = fold(state, events)
    assert final.lifecycle is Lifecycle.STOPPED
    assert [task.state for task in final.tasks] == [TaskState.CANCELLED]
    assert replace(final).confirmed
