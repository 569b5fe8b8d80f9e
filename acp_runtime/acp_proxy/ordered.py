"""Lines of the editor in their order, also where one of them waits for what is put into it."""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Final

from acp_runtime.wire.ndjson import Oversized

# What a line takes beside its bytes.
OVERHEAD: Final = 100
# The lines to pass on for one, or what returns them and never raises.
Passed = list[bytes] | Coroutine[Any, Any, list[bytes]]


class Ordered:
    """A queue in front of the agent. `on_held` is told when a message is held back, and when it has gone on.

    `waiting`: the bytes that the lines behind that message take.
    """

    def __init__(
        self,
        handle: Callable[[bytes | Oversized], Passed],
        write: Callable[[list[bytes]], None],
        on_held: Callable[[bool], None],
    ) -> None:
        self._handle = handle
        self._write = write
        self._on_held = on_held
        self.waiting = 0
        self._waiting: deque[bytes | Oversized] = deque()
        self._held: asyncio.Task[list[bytes]] | None = None

    def put(self, lines: list[bytes | Oversized]) -> None:
        """Pass lines on, behind those that wait."""
        self._waiting.extend(lines)
        self.waiting += sum(map(_size, lines))
        if self._held is None:
            self._go_on()

    async def empty(self, seconds: float) -> None:
        """Return when nothing waits any more, at the latest after `seconds`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._held is not None:
                    await asyncio.wait((self._held,))

    def _go_on(self) -> None:
        passed: list[bytes] = []
        try:
            while self._waiting and self._held is None:
                line = self._waiting.popleft()
                self.waiting -= _size(line)
                found = self._handle(line)
                if isinstance(found, list):
                    passed += found
                else:
                    self._on_held(True)
                    self._held = asyncio.create_task(found, name="acp-prompt")
                    self._held.add_done_callback(self._let_go)
        finally:
            self._write(passed)

    def _let_go(self, held: "asyncio.Task[list[bytes]]") -> None:
        self._held = None
        try:
            if not held.cancelled():
                self._write(held.result())
        finally:  # whatever became of it, the others go on
            self._on_held(False)
            self._go_on()


def _size(line: bytes | Oversized) -> int:
    return OVERHEAD + (len(line) if isinstance(line, bytes) else len(line.prefix) + len(line.tail))
