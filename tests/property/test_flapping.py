"""A channel that comes and goes for ever, with an agent that says nothing: every deadline comes all the same."""

from collections.abc import Iterator
from random import Random

import pytest

from acp_runtime.core.decide import decide
from acp_runtime.core.events import CancelRequested, Event, SteerEnded, TaskEnded
from acp_runtime.core.inputs import (
    CancelTask,
    ChannelClosed,
    DeadlinePassed,
    Input,
    Reattached,
    SessionReady,
    SteerTask,
)
from acp_runtime.core.model import Limits, Subagent
from acp_runtime.core.timers import next_deadline
from tests.histories import after, born, fold, spawn

LIMITS = Limits(task=20.0, steer=10.0, cancel_grace=5.0, lost_grace=60.0, restarts=0)
LOST, GRACE = 60_000, 5_000
# One loss in which it ran out, one moment to be heard, and one loss more before anything can be done about it.
BOUND = 2 * LOST + GRACE
T1 = "bg-0000000000.t1"


class Flapping:
    """A subagent at work, and what its actor would make of it; `late` is how far a deadline was put off."""

    def __init__(self, *first: Input) -> None:
        opened = SessionReady(1, "s", "agent", "1", steering=True)
        self.state: Subagent = after(born(spawn(limits=LIMITS)), opened, *first)
        self.now = 0
        self.events: list[Event] = []

    def take(self, given: Input) -> None:
        events, _ = decide(self.state, given, self.now)
        self.state = fold(self.state, events)
        self.events.extend(events)

    def wait(self, milliseconds: int) -> None:
        """Let time pass. What is due at once is left: the next observation may have come in before."""
        end = self.now + milliseconds
        while self.now < end and (moment := next_deadline(self.state)) is not None and moment <= end:
            self.now = max(self.now, moment)
            self.take(DeadlinePassed())
        self.now = end

    def flap(self, reached: int, away: int) -> None:
        self.wait(reached)
        self.take(ChannelClosed(1, "the link broke"))
        self.wait(away)
        self.take(Reattached(1))

    def first(self, kind: type[Event]) -> Event | None:
        return next((each for each in self.events if isinstance(each, kind)), None)


def ways(seed: int) -> Iterator[tuple[int, int]]:
    """Return how long the channel is there and how long it is away, again and again for long enough."""
    random, passed = Random(seed), 0
    longest, shortest = random.choice([0, 1_000, 6_000]), random.choice([500, 10_000])
    while passed < 400_000:
        reached, away = random.randrange(longest + 1), random.randrange(shortest, LOST)
        passed += reached + away
        yield reached, away


@pytest.mark.requirement("D04.13")
@pytest.mark.parametrize("seed", range(40))
def test_a_channel_that_comes_and_goes_keeps_no_task_from_its_end(seed: int) -> None:
    subagent, true = Flapping(), 20_000
    for reached, away in ways(seed):
        subagent.flap(reached, away)
        task = subagent.state.active
        if task is None or subagent.first(CancelRequested) is not None:
            continue
        assert task.deadline is not None
        assert task.deadline <= true + LOST + GRACE
    asked, ended = subagent.first(CancelRequested), subagent.first(TaskEnded)
    assert asked is not None
    assert true <= asked.at <= true + BOUND
    assert ended is not None
    assert ended.at <= asked.at + GRACE + BOUND


@pytest.mark.requirement("D04.13")
@pytest.mark.parametrize("seed", range(40))
def test_nor_does_it_keep_a_cancel_or_a_steer_without_an_answer(seed: int) -> None:
    steered, cancelled = Flapping(SteerTask("left", "parent")), Flapping(CancelTask(T1, "parent", "enough"))
    for reached, away in ways(seed):
        steered.flap(reached, away)
        cancelled.flap(reached, away)
    told, ended = steered.first(SteerEnded), cancelled.first(TaskEnded)
    assert told is not None
    assert told.at <= 10_000 + BOUND
    assert ended is not None
    assert ended.at <= GRACE + BOUND
