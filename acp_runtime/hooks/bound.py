"""The time that a hook has. Its host waits from the moment at which it starts the process, so it counts from there.

Promise: when the time is over the process ends with 0, whatever it is at, the loading of its modules too. Light, since
nothing is bounded before this is loaded. A hook that ran out of its time says nothing, so it is counted.
"""

import os
import signal
import time
from collections.abc import Sequence
from typing import Final

# In seconds. A host is held up for 200 ms at most; the rest is for the process to end.
BOUND: Final = 0.18
LONGEST: Final = 30.0
# A timer of 0 is none.
SHORTEST: Final = 0.001
# The file of the runtime folder that has a byte for each hook that ran out of its time.
LATE: Final = "hooks-late"

_count = ""


def begin(words: Sequence[str]) -> None:
    """Have the process end when it is as old as the words of its command line say, by default `BOUND`."""
    try:
        seconds = within(words)
    except ValueError:
        seconds = SHORTEST
    signal.signal(signal.SIGALRM, _give_up)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGALRM,))
    signal.setitimer(signal.ITIMER_REAL, max(seconds - _age(), SHORTEST))


def count_in(folder: object) -> None:
    """Have this hook counted in a folder, where there is one, should its time be over."""
    global _count  # noqa: PLW0603 - what handles a signal is the process's, too
    _count = f"{folder}/{LATE}"


def over() -> None:
    """Have the process go on: it has its answer."""
    signal.setitimer(signal.ITIMER_REAL, 0)


def within(words: Sequence[str]) -> float:
    """Return the bound that a command line says, in seconds. Raises `ValueError` for one that is no number."""
    given = float(dict(zip(words[1::2], words[2::2], strict=False)).get("--within", BOUND * 1000)) / 1000
    if given != given:  # noqa: PLR0124 - NaN
        raise ValueError("no number")
    return min(max(given, SHORTEST), LONGEST)


def _age() -> float:
    """Return for how many seconds there has been this process, to a hundredth; 0 where nobody can tell.

    A host has given up a process as old as `LONGEST`: that one began as something else.
    """
    try:
        with open("/proc/self/stat", "rb") as file:  # noqa: PTH123 - light
            ticks = int(file.read().rpartition(b")")[2].split()[19])
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, AttributeError):
        return 0.0
    return age if 0 < age < LONGEST else 0.0


def _give_up(*_: object) -> None:
    """End at once. What was claimed meanwhile is offered to the next event of this door."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        if _count:
            os.write(os.open(_count, flags, 0o600), b".")
    finally:
        os._exit(0)
