"""What SIGINT, SIGTERM and SIGHUP ask of a run."""

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from acp_runtime.cli.codes import Exit

_NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Signals:
    """Counts what came and tells the listener of each; a run that has not begun asks before it begins.

    The first Ctrl-C asks politely; a second one, SIGTERM and SIGHUP ask for an end at once.
    """

    def __init__(self, listener: Callable[[], None]) -> None:
        self._listener = listener
        self._interrupts = 0
        self._terminated = False

    @property
    def code(self) -> Exit | None:
        """The exit code that was asked for, None when no signal came."""
        if self._terminated:
            return Exit.TERMINATED
        return Exit.CANCELLED if self._interrupts else None

    @property
    def urgent(self) -> bool:
        """Whether an end at once was asked for."""
        return self._terminated or self._interrupts > 1

    @contextmanager
    def handled(self) -> Iterator[None]:
        """Take the signals inside the block; one that this process was started to ignore (`nohup`) stays ignored."""
        loop = asyncio.get_running_loop()
        taken = [number for number in _NUMBERS if signal.getsignal(number) is not signal.SIG_IGN]
        for number in taken:
            loop.add_signal_handler(number, self._take, number)
        try:
            yield
        finally:
            for number in taken:
                loop.remove_signal_handler(number)

    def _take(self, number: signal.Signals) -> None:
        if number == signal.SIGINT:
            self._interrupts += 1
        else:
            self._terminated = True
        self._listener()
