"""What is to be written to the agent: queued at once, written in order by one task, never by two.

A line of which nothing was taken (no room below us, an agent that does not read) is given again until it is taken: the
agent lives, and who waits for its answer has a deadline. Any other failure to write means that the channel is over.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

from acp_runtime.session.backoff import Backoff
from acp_runtime.session.channel import NOTHING_TAKEN, Channel

log = logging.getLogger(__name__)

CROWDED_BYTES: Final = 1_048_576
FIRST_PAUSE: Final = 0.1

First = Callable[[int], Awaitable[None]]


class Outgoing:
    """A queue in front of a channel. `crowded` asks the owner to stop reading from the agent that does not read.

    With a `gate` nothing is written before that is set.
    """

    def __init__(self, channel: Channel, relieved: Callable[[], None], gate: asyncio.Event | None = None) -> None:
        self._channel = channel
        self._gate = gate
        self._relieved = relieved
        self._lines: deque[tuple[bytes, First | None]] = deque()
        self._bytes = 0
        self._more = asyncio.Event()
        self._task = asyncio.create_task(self._write_for_ever(), name="session-writer")

    @property
    def crowded(self) -> bool:
        return self._bytes > CROWDED_BYTES

    def put(self, line: bytes, first: First | None = None) -> None:
        """Queue one line. Bounded by the owner: it stops reading from the agent while `crowded`.

        Where input is kept for the agent, `first` is awaited with the offset of the line before the line is written.
        """
        self._lines.append((line, first))
        self._bytes += len(line)
        self._more.set()

    async def close(self) -> None:
        """End the writer; what is still queued is dropped. Idempotent."""
        self._task.cancel()
        await asyncio.wait((self._task,))

    async def _write_for_ever(self) -> None:
        if self._gate is not None:
            await self._gate.wait()
        while True:
            await self._more.wait()
            while self._lines:
                line, first = self._lines.popleft()
                try:
                    if first is not None and (offset := self._channel.input_end) is not None:
                        await first(offset)
                    await self._write(line)
                except Exception:  # noqa: BLE001 - any failure to write means that the channel is over
                    await self._channel.close()
                    return
                finally:
                    self._bytes -= len(line)
                self._relieved()
            self._more.clear()

    async def _write(self, line: bytes) -> None:
        backoff = Backoff(FIRST_PAUSE)
        while True:
            try:
                return await self._channel.send(line)
            except Exception as error:
                if getattr(error, "kind", None) not in NOTHING_TAKEN:
                    raise
                log.warning("a line for an agent waits: %s", error)
            await backoff.pause()
