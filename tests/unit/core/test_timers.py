"""Clocks that were begun on another boot say nothing on this one: each is begun anew."""

from acp_runtime.core.inputs import Asked, CancelTask, ChannelClosed, Input, PromptAnswered, SessionReady, StopSubagent
from acp_runtime.core.model import Limits, Reason, Step, Subagent
from acp_runtime.core.timers import rebased, timers
from tests.histories import REJECT, after, born, spawn

READY = SessionReady(1, "s", "agent", "1")
STOP = StopSubagent(Reason.FINISHED, "parent", "done")
T1 = "bg-0000000000.t1"


def at(now: int, *inputs: Input, **limits: float) -> Subagent:
    return after(born(spawn(limits=Limits(**limits))), *inputs, now=now)  # type: ignore[arg-type]


def armed(state: Subagent) -> dict[str, int]:
    return dict(timers(rebased(state, 1_000)))  # type: ignore[arg-type]


def test_every_timer_has_its_whole_duration_again() -> None:
    for old in (7, 8_640_000_000):
        assert armed(at(old, READY)) == {"task": 3_601_000}
        assert armed(at(old, READY, CancelTask(T1, "parent", "x"))) == {"cancel": 6_000}
        assert armed(at(old, READY, ChannelClosed(1, "eof"))) == {"lost": 301_000, "loss": 31_000}
        assert armed(at(old, READY, STOP)) == {"stop": 31_000}
        assert armed(at(old, READY, Asked(1, "1-1", "?", (REJECT,)))) == {"request": 901_000}
        assert armed(at(old, READY, PromptAnswered(1, T1, "end_turn", 0), idle=50.0)) == {"idle": 51_000}
        assert armed(at(old, lifetime=60.0)) == {"lifetime": 61_000, "start": 601_000}


def test_what_had_no_deadline_gets_none() -> None:
    assert armed(at(7, READY, PromptAnswered(1, T1, "end_turn", 0))) == {}
    assert timers(rebased(after(born(), READY, STOP), 1_000))[0][0] == "stop"


def test_a_start_has_the_time_of_the_step_it_is_busy_with() -> None:
    assert rebased(born(), 1_000).step is Step.SANDBOX
    assert armed(born()) == {"start": 601_000}


def test_nothing_but_clocks_is_touched() -> None:
    state = at(7, READY, Asked(1, "1-1", "?", (REJECT,)))
    assert rebased(rebased(state, 99), 7) == rebased(state, 7)
    assert rebased(state, 1_000).tasks[0].remaining == state.tasks[0].remaining
