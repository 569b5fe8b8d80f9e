"""Points in a manager at which it stands still so that a fault can come upon it there, and nowhere else.

`Points` is the driver's side. The manager's is `pointed_daemon.py`, which says where in the program each point is. They
meet in a folder: the driver puts the names of points in the file `armed`; the first manager that comes to one of them
takes the file away, writes `met`, and stops itself.
"""

import json
import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ARMED, CLAIMED, MET = "armed", "claimed", "met"
LOOK_SECONDS = 0.005
STOP_SECONDS = 10.0

# A kind of event is the moment behind its commit, before anything follows from it. The rest are moments of which the
# log knows nothing. `pointed_daemon.py` says what each is.
STARTING = (
    "subagent_requested", "attempt_started", "step_reached", "before:session_opened", "session_opened", "volume-made",
    "helper-made", "container-made", "container-started", "holder-started", "attached", "container-removed",
)  # fmt: skip
WORKING = (
    "task_queued", "task_started", "before:prompt_sent", "prompt_sent", "prompt-written", "request_opened",
    "request_closed", "answer-written", "before:task_ended", "task_ended",
)  # fmt: skip
LOSING = (
    "channel_lost", "attaching-again", "attached-again", "before:channel_recovered", "channel_recovered",
    "stop_requested",
)  # fmt: skip
TELLING = ("transcript_added", "acknowledged", "turn_begun", "turn_committed")
# To these only a manager comes one of whose agents leads others.
TREES = ("leader-told", "before:subtree_ended", "subtree_ended")
POINTS = (*STARTING, *WORKING, *LOSING, *TELLING, *TREES)


@dataclass(frozen=True, slots=True)
class Met:
    """A manager that stands still at a point, and the subagent that it is about there, if it is about one."""

    point: str
    manager: int
    subagent: str

    def go_on(self) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.manager, signal.SIGCONT)


class Points:
    """The folder in which the driver and the managers of a storm meet."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)

    def arm(self, *points: str) -> None:
        """Have the next manager that comes to one of these stand still there."""
        (self.folder / MET).unlink(missing_ok=True)
        new = self.folder / f"{ARMED}.new"
        new.write_text("\n".join(points))
        new.rename(self.folder / ARMED)

    def met(self, seconds: float) -> Met | None:
        """Return who stands still at one of them, once it does; None when nobody has until the bound."""
        until = time.perf_counter() + seconds
        while not (self.folder / MET).exists():
            if time.perf_counter() > until:
                return None
            time.sleep(LOOK_SECONDS)
        return self._standing()

    def disarm(self) -> Met | None:
        """Have nobody stand still any more. Return who does already."""
        try:
            (self.folder / ARMED).unlink()
        except FileNotFoundError:
            return self.met(STOP_SECONDS)
        return None

    def _standing(self) -> Met:
        met = Met(**json.loads((self.folder / MET).read_text()))
        until = time.perf_counter() + STOP_SECONDS
        while not stands(met.manager):
            assert time.perf_counter() < until, f"process {met.manager} came to a point and went on"
            time.sleep(LOOK_SECONDS)
        return met


def stands(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0] == "T"
