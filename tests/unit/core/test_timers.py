"""Readings of another boot go on from where its clock was left: what was left of a time is left of it still."""

from collections.abc import Callable

from acp_runtime.core.decide import decide
from acp_runtime.core.events import BootBegan
from acp_runtime.core.inputs import (
    Asked,
    CancelTask,
    ChannelClosed,
    Halted,
    Input,
    PromptAnswered,
    PromptBroke,
    Rebooted,
    SessionReady,
    SteerTask,
    StopSubagent,
)
from acp_runtime.core.model import Limits, Permissions, Reason, Subagent
from acp_runtime.core.timers import moved, timers
from tests.histories import REJECT, after, born, spawn

READY = SessionReady(1, "s", "agent", "1", steering=True)
STOP = StopSubagent(Reason.FINISHED, "parent", "done")
T1 = "bg-0000000000.t1"


def at(now: int, *inputs: Input, **limits: float) -> Subagent:
    asking = spawn(limits=Limits(**limits), permissions=Permissions.ASK)  # type: ignore[arg-type]
    return after(moved(born(asking), now), *inputs, now=now)


def armed(*inputs: Input, **limits: float) -> Callable[[int], dict[str, int]]:
    """Return which timers are armed at 1 000 of a boot, of a state that was left at `old` + 700 of another."""

    def of(old: int) -> dict[str, int]:
        state = after(at(old, *inputs, **limits), Rebooted(old + 700), now=1_000)
        return dict(timers(state))  # type: ignore[arg-type]

    return of


def test_every_timer_has_the_time_that_it_had_left() -> None:
    for old in (7, 8_640_000_000):
        assert armed(READY)(old) == {"task": 3_600_300}
        assert armed(READY, CancelTask(T1, "parent", "x"))(old) == {"cancel": 5_300}
        assert armed(READY, ChannelClosed(1, "eof"))(old) == {"lost": 300_300, "loss": 30_300}
        assert armed(READY, STOP)(old) == {"stop": 30_300}
        assert armed(READY, Asked(1, "1-1", "?", (REJECT,)))(old) == {"request": 900_300}
        assert armed(READY, SteerTask("left", "parent"))(old) == {"task": 3_600_300, "steer": 15_300}
        assert armed(READY, PromptBroke(1, T1, "429 slow down"))(old) == {"retry": 15_300}
        assert armed(READY, PromptAnswered(1, T1, "end_turn", 0), idle=50.0)(old) == {"idle": 50_300}
        assert armed(lifetime=60.0)(old) == {"lifetime": 60_300, "start": 600_300}


def test_what_had_no_deadline_gets_none() -> None:
    assert armed(READY, PromptAnswered(1, T1, "end_turn", 0))(7) == {}
    ended = at(7, READY, STOP, Halted(1, confirmed=True))
    assert decide(ended, Rebooted(9), 1_000) == ((), ())


def test_nothing_but_readings_is_touched_and_the_log_says_that_they_are() -> None:
    state = at(7, READY, Asked(1, "1-1", "?", (REJECT,)), ChannelClosed(1, "eof"))
    assert decide(state, Rebooted(9), 1_000) == ((BootBegan(at=1_000, last=9),), ())
    there = after(state, Rebooted(9), now=1_000)
    assert there != state
    assert after(there, Rebooted(1_000), now=9) == state
    assert there.tasks[0].remaining == state.tasks[0].remaining == 3_600_000
