"""The machine, walked: every state that up to two tasks can reach, under every input and every timer.

There are six walks, each with one thing that the others leave out: together they would not end in a minute. What
comes of the things mixed is wandered through at random in `tests/property`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache

import pytest

from acp_runtime.core.budget import Budget, Used
from acp_runtime.core.decide import decide
from acp_runtime.core.errors import Rejected
from acp_runtime.core.events import Event, SubagentRequested, TaskEnded, TaskQueued, TaskRetried
from acp_runtime.core.evolve import evolve
from acp_runtime.core.inputs import (
    AnswerRequest,
    Asked,
    CancelTask,
    ChannelClosed,
    Command,
    DeadlinePassed,
    DeathProven,
    Halted,
    Heard,
    Input,
    ModelUsed,
    PromptAnswered,
    PromptBroke,
    PromptLaid,
    Reattached,
    Refused,
    ResumeSubagent,
    Send,
    SessionReady,
    Spawn,
    StartBroke,
    SteerAnswered,
    SteerTask,
    StepBegan,
    StopSubagent,
)
from acp_runtime.core.model import (
    Lifecycle,
    Limits,
    Opening,
    Option,
    Order,
    Permissions,
    Reason,
    RequestKind,
    Steering,
    Step,
    Subagent,
    TaskState,
)
from acp_runtime.core.observations import MANAGER_ENDED
from acp_runtime.core.tables import LIFECYCLE, TASK, task_trigger
from acp_runtime.core.timers import next_deadline, outstanding, timers
from acp_runtime.core.transcript import MessageEntry, ToolEntry

MAX_TASKS = 2
MAX_ATTEMPTS = 2
STOP_REASONS = ("end_turn", "refusal", "max_tokens", "cancelled", "made_up")
TASK_EVENTS = ("TaskStarted", "TaskRetried", "CancelRequested", "TaskEnded")


@dataclass(frozen=True)
class Ground:
    """What one walk may do beside starting, working on tasks, being cancelled and being stopped."""

    name: str
    asks: bool = False
    restarts: int = 0
    retries: int = 0
    steers: int = 0
    attempts: int = 1
    budget: int | None = None

    @property
    def limits(self) -> Limits:
        return Limits(idle=50.0, lifetime=100_000.0, restarts=self.restarts, retries=self.retries)


GROUNDS = (
    Ground("questions", asks=True),
    Ground("restarts", restarts=1, attempts=2),
    Ground("retries", retries=1),
    Ground("steering", steers=1),
    Ground("resumed", attempts=2),
    Ground("budget", retries=1, budget=10),
)


def spawn(permissions: Permissions = Permissions.ALLOW, ground: Ground = GROUNDS[0]) -> Spawn:
    return Spawn(
        id="bg-0000000000",
        parent="p",
        name="amber-fox",
        purpose="walk",
        order=Order(agent="scripted", workspace="/w", keep=True, budget=Budget(tokens=ground.budget)),
        permissions=permissions,
        limits=ground.limits,
        task="first",
    )


def observations(state: Subagent, attempt: int, ground: Ground) -> Iterator[Input]:
    ids = [task.id for task in state.tasks] or ["none"]
    allow, reject = Option("a", "Allow", "allow_always"), Option("r", "Reject", "reject_once")
    yield from (StepBegan(attempt, step) for step in (Step if ground.asks else (Step.BACKOFF, Step.SESSION)))
    yield SessionReady(attempt, "s", "agent", "1", steering=ground.steers > 0)
    if ground.attempts > 1:
        yield SessionReady(attempt, "s", "agent", "1", opening=Opening.LOST)
    yield StartBroke(attempt, "broke")
    if ground.restarts and state.attempt < MAX_ATTEMPTS:
        yield StartBroke(attempt, "gone", MANAGER_ENDED)
        yield StartBroke(attempt, "away", "engine_unreachable")
        yield DeathProven(attempt, None, "gone", MANAGER_ENDED)
    if ground.restarts:
        yield DeathProven(attempt, 137, "killed", kept=True, accepted=0)
        yield Reattached(attempt, adopted=True, undelivered=True)
    yield Heard(attempt, (MessageEntry("agent", "hi"), ToolEntry("t1", status="completed")))
    if ground.asks:
        yield Asked(attempt, f"{attempt}-1", "may I", (allow, reject))
        yield Asked(attempt, f"{attempt}-2", "may I", (reject,))
    for task in ids:
        yield PromptLaid(attempt, task, 7, 0)
        yield PromptBroke(attempt, task, "error")
        if ground.retries:
            yield PromptBroke(attempt, task, "429 too many requests")
        for reason in STOP_REASONS if ground.asks else STOP_REASONS[:1]:
            yield PromptAnswered(attempt, task, reason, files_changed=1)
    yield ChannelClosed(attempt, "eof")
    yield Reattached(attempt)
    if ground.steers:
        yield Reattached(attempt, adopted=True)
        yield Refused(attempt, "its holder refused this manager")
    yield DeathProven(attempt, 137, "killed")
    yield Halted(attempt, confirmed=True)
    yield Halted(attempt, confirmed=False)
    for steer in state.steers:
        yield SteerAnswered(attempt, steer.id, Steering.INJECTED)
        yield SteerAnswered(attempt, steer.id, Steering.QUEUED)


def calls(ground: Ground) -> Iterator[Input]:
    if ground.budget is not None:
        yield ModelUsed(Used(tokens=ground.budget))
        yield ModelUsed(Used(tokens=ground.budget), refused="its budget is used up")


def commands(state: Subagent, ground: Ground) -> Iterator[Input]:
    if state.task_count < MAX_TASKS:
        yield Send("second")
        if state.attempt < ground.attempts:
            yield ResumeSubagent("again", "parent")
    if state.steer_count < ground.steers and state.task_count < MAX_TASKS:
        yield SteerTask("left, please", "parent")
    yield CancelTask(f"{state.id}.t1", "parent", "enough")
    yield CancelTask(f"{state.id}.t2", "parent", "enough")
    yield StopSubagent(Reason.STOPPED_BY_PARENT, "parent", "enough")
    if ground.asks:
        yield StopSubagent(Reason.FINISHED, "manager", "done")
    if ground.asks:
        yield AnswerRequest(f"{state.attempt}-1", "a", "parent")
        yield AnswerRequest(f"{state.attempt}-2", "r", "operator")
    yield AnswerRequest(f"q{state.attempt}", "continue", "parent")
    yield AnswerRequest(f"q{state.attempt}", "drop", "parent")


def moves(state: Subagent, ground: Ground) -> Iterator[tuple[Input, int]]:
    now = 0
    for each in (*observations(state, state.attempt, ground), *calls(ground), *commands(state, ground)):
        yield each, now
    for _, moment in timers(state):
        yield DeadlinePassed(), moment


def key(state: Subagent) -> tuple[object, ...]:
    """A state without its clock readings: which timers are armed is what matters."""
    tasks = tuple((t.state, t.goal, t.remaining is not None, t.cancelled_by) for t in state.tasks)
    requests = tuple((r.id, r.answer) for r in state.requests)
    more = (state.attempt, state.restarts, state.opening is Opening.LOST, bool(state.note), state.loss_told)
    more = (*more, bool(state.refused), state.reached, tuple(bool(t.over_budget) for t in state.tasks))
    more = (*more, tuple(s.outcome for s in state.steers), tuple(t.retries for t in state.tasks))
    stop = (state.stop.reason, state.stop.by, state.stop.failed) if state.stop else None
    armed = tuple(name for name, _ in timers(state))
    return state.lifecycle, state.step, tasks, requests, stop, state.confirmed, armed, state.task_count, more


def fold(state: Subagent | None, events: tuple[Event, ...]) -> Subagent:
    for event in events:
        state = evolve(state, event)
    assert state is not None
    return state


class Walk:
    """Breadth first over all reachable states; keeps what was seen."""

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self.states: dict[tuple[object, ...], Subagent] = {}
        self.edges: list[tuple[Subagent, Input, tuple[Event, ...], Subagent]] = []
        frontier: list[Subagent] = []
        for policy in (Permissions.ALLOW, Permissions.ASK) if ground.asks else (Permissions.ALLOW,):
            events, _ = decide(None, spawn(policy, ground), 0)
            start = fold(None, events)
            self.states[(policy, key(start))] = start
            frontier.append(start)
        while frontier:
            state = frontier.pop()
            for given, now in moves(state, ground):
                frontier.extend(self.step(state, given, now))

    def step(self, state: Subagent, given: Input, now: int) -> Iterator[Subagent]:
        try:
            events, effects = decide(state, given, now)
        except Rejected:
            assert isinstance(given, Command), f"an observation was rejected: {given}"
            return
        after = fold(state, events)
        assert set(effects) <= set(outstanding(after)), "an effect that the new state does not call for"
        self.edges.append((state, given, events, after))
        name = (state.permissions, key(after))
        if name not in self.states:
            self.states[name] = after
            yield after


@cache
def walk_over(ground: Ground) -> Walk:
    return Walk(ground)


@pytest.fixture(params=GROUNDS, ids=lambda ground: ground.name)
def walk(request: pytest.FixtureRequest) -> Walk:
    return walk_over(request.param)


def test_the_walk_is_wide_enough_to_mean_something(walk: Walk) -> None:
    assert len(walk.states) > 200
    assert {state.lifecycle for state in walk.states.values()} == set(Lifecycle) - {Lifecycle.REQUESTED}


def test_a_task_in_which_a_call_was_refused_is_never_told_as_completed_and_never_tried_again(walk: Walk) -> None:
    refused = {(id(before), task.id) for before, *_ in walk.edges for task in before.tasks if task.over_budget}
    assert bool(refused) == (walk.ground.budget is not None)
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
            assert request.kind is RequestKind.QUESTION or (task and task.state is TaskState.RUNNING), key(state)


def test_observations_of_an_older_attempt_change_nothing(walk: Walk) -> None:
    for state in walk.states.values():
        for given in observations(state, state.attempt - 1, walk.ground):
            events, effects = decide(state, given, 0)
            assert (events, effects) == ((), ()), f"stale {given} changed a {state.lifecycle}"


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
