"""The machine on long random ways, five tasks deep: what the exhaustive walk cannot reach any more."""

from collections import Counter
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from acp_runtime.core.decide import decide
from acp_runtime.core.effects import Effect, Halt, Launch, Prompt
from acp_runtime.core.errors import Rejected
from acp_runtime.core.events import Event, TaskEnded, TaskStarted
from acp_runtime.core.inputs import (
    Command,
    DeadlinePassed,
    Input,
    PromptAnswered,
    PromptBroke,
    Reattached,
    Rebooted,
    ResumeSubagent,
)
from acp_runtime.core.model import Lifecycle, Limits, Permissions, Subagent
from acp_runtime.core.timers import next_deadline, outstanding, timers
from tests.histories import REACHING, after, fold, moves, spawn, walk
from tests.ledger import check_log

LIMITS = (
    Limits(restarts=2),
    Limits(task=None, restarts=1, retries=0),
    Limits(idle=50.0, lifetime=9_000.0, restarts=2, loss_told=1.0),
    Limits(queue=1, task=20.0, request=10.0, restarts=0),
)


class Machine(RuleBasedStateMachine):
    """Inputs of every kind in any order, also late, stale and about nothing; the log is judged after each."""

    state: Subagent

    def __init__(self) -> None:
        super().__init__()
        self.now = 0
        self.log: list[Event] = []
        self.effects: Counter[Effect] = Counter()

    @initialize(limits=st.sampled_from(LIMITS), policy=st.sampled_from(Permissions))
    def begin(self, limits: Limits, policy: Permissions) -> None:
        events, effects = decide(None, spawn(limits=limits, permissions=policy, order=REACHING), self.now)
        self.log.extend(events)
        self.effects.update(effects)
        self.state = fold(None, events)
        assert effects == (Launch(1),)

    @rule(seed=st.integers(0, 2**16), kind=st.integers(0, 19), wait=st.integers(0, 2_000))
    def something_happens(self, seed: int, kind: int, wait: int) -> None:
        self.now += wait
        options = moves(self.state, Random(seed))
        self.take(options[kind % len(options)])

    @precondition(lambda self: next_deadline(self.state) is not None)
    @rule()
    def the_next_deadline_passes(self) -> None:
        self.now = max(self.now, next_deadline(self.state) or 0)
        before = self.state
        self.take(DeadlinePassed())
        assert self.state != before, f"a due timer changed nothing: {timers(before)}"

    @rule(now=st.integers(0, 10_000_000_000))
    def the_machine_is_started_anew(self, now: int) -> None:
        last, self.now = self.now, now
        left = [(name, moment - last) for name, moment in timers(self.state)]
        self.take(Rebooted(last))
        assert [(name, moment - now) for name, moment in timers(self.state)] == left

    def take(self, given: Input) -> None:
        before = self.state
        try:
            events, effects = decide(before, given, self.now)
        except Rejected:
            assert isinstance(given, Command), f"an observation was rejected: {given}"
            return
        assert (events, effects) == decide(before, given, self.now), "the same question got two answers"
        assert all(event.at == self.now for event in events)
        self.state = fold(before, events)
        self.log.extend(events)
        # An agent that is back in reach is asked for the answer that it owes: that delivers nothing.
        claims = isinstance(given, Reattached) and not any(isinstance(event, TaskStarted) for event in events)
        self.effects.update(each for each in effects if not (claims and isinstance(each, Prompt)))
        self.judge_step(before, given, events, effects)

    def judge_step(
        self, before: Subagent, given: Input, events: tuple[Event, ...], effects: tuple[Effect, ...]
    ) -> None:
        assert set(effects) == set(outstanding(self.state)) - set(outstanding(before))
        assert len(effects) == len(set(effects))
        if before.lifecycle.over and not isinstance(given, ResumeSubagent):
            assert (events, effects) == ((), ()), f"{given} changed an ended subagent"
        started = [event for event in events if isinstance(event, TaskStarted)]
        assert not started or self.state.lifecycle is Lifecycle.READY
        ended = {event.task_id for event in events if isinstance(event, TaskEnded)}
        if before.active is not None and before.active.id in ended and started:
            never_had = isinstance(given, Reattached) and given.undelivered
            answered = never_had or isinstance(given, PromptAnswered | PromptBroke)
            assert answered, "prompted while a prompt may be with the agent"

    @invariant()
    def the_log_is_legal(self) -> None:
        assert check_log(self.log) == self.state

    @invariant()
    def each_prompt_is_delivered_once_for_each_time_it_was_started(self) -> None:
        started = Counter((event.attempt, event.task_id) for event in self.log if isinstance(event, TaskStarted))
        assert started == Counter((each.attempt, each.task_id) for each in self.effects if isinstance(each, Prompt))
        assert all(count == 1 for effect, count in self.effects.items() if isinstance(effect, Launch | Prompt | Halt))

    @invariant()
    def what_is_open_has_a_bound(self) -> None:
        if self.state.lifecycle in (Lifecycle.STARTING, Lifecycle.LOST, Lifecycle.STOPPING):
            assert next_deadline(self.state) is not None
        assert (next_deadline(self.state) is None) or not self.state.lifecycle.over
        assert len(self.state.requests) <= len(self.state.open_requests) + 5


Machine.TestCase.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
TestMachine = Machine.TestCase


@given(st.integers(0, 2**32))
@settings(max_examples=150, deadline=None)
def test_a_long_way_gives_a_legal_log(seed: int) -> None:
    random = Random(seed)
    first = spawn(limits=random.choice(LIMITS), permissions=random.choice(list(Permissions)), order=REACHING)
    events, _ = decide(None, first, 0)
    log = list(events)
    for step in walk(random, first, 120):
        log.extend(step.events)
    check_log(log)


def test_the_ways_are_wide_enough_to_mean_something() -> None:
    ends: Counter[str] = Counter()
    tasks: Counter[str] = Counter()
    for seed in range(300):
        random = Random(seed)
        for step in walk(random, spawn(limits=random.choice(LIMITS)), 120):
            tasks.update(event.outcome for event in step.events if isinstance(event, TaskEnded))
            if step.after.lifecycle.over and not step.before.lifecycle.over:
                ends[step.after.stop.reason if step.after.stop else "?"] += 1
    assert set(tasks) == {"completed", "failed", "refused", "cancelled", "timed_out", "interrupted"}
    assert len(ends) >= 8, ends


def test_time_alone_ends_whatever_was_begun() -> None:
    for seed in range(100):
        random = Random(seed)
        limits = random.choice([limits for limits in LIMITS if limits.task is not None])
        state = None
        now = 0
        for step in walk(random, spawn(limits=limits), random.randrange(1, 60)):
            state, now = step.after, step.now
        if state is None:
            continue
        for _ in range(60):
            moment = next_deadline(state)
            if moment is None:
                break
            now = max(now, moment)
            state = after(state, DeadlinePassed(), now=now)
        assert all(task.state.over for task in state.tasks), f"seed {seed} leaves an open task"
