"""One end of an HTTP/1.1 conversation over a stream, by h11.

Promises that every wait has a bound, that what was sent has left this process before `send` returns (but for one
buffer of 64 KiB), and that no more than two chunks are read ahead of what was received.
"""

import asyncio
import contextlib
from dataclasses import dataclass

import h11

__all__ = ["CHUNK", "Event", "HttpPeer"]

CHUNK = 64 * 1024
_CLOSE_BOUND = 5.0  # seconds for a peer to take what is still buffered

Event = h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]


@dataclass(frozen=True, slots=True)
class HttpPeer:
    """A connection with the role that we have in it; `idle` is how many seconds the other side may do nothing."""

    http: h11.Connection
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    idle: float

    async def receive(self) -> Event:
        """Return the next event; h11.ConnectionClosed at an orderly end.

        Raises h11.RemoteProtocolError (also at an end in the middle of a message), OSError, and TimeoutError after
        `idle` seconds without a byte.
        """
        while (event := self.http.next_event()) is h11.NEED_DATA:
            self.http.receive_data(await self.read())
        return event

    def at_hand(self) -> Event:
        """Return the next event if all of it has come, or else NEED_DATA. Raises h11.RemoteProtocolError."""
        return self.http.next_event()

    async def read(self) -> bytes:
        """Return the next bytes without looking at them; none at the end. Raises OSError and TimeoutError."""
        async with asyncio.timeout(self.idle):
            return await self.reader.read(CHUNK)

    async def send(self, event: h11.Event) -> None:
        """Send an event. Raises OSError, and TimeoutError when nothing was taken for `idle` seconds."""
        self.writer.write(self.http.send(event) or b"")
        async with asyncio.timeout(self.idle):
            await self.writer.drain()

    async def close(self) -> None:
        """Send what is buffered, within a bound, and close. Raises nothing; may be called again."""
        self.writer.close()
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(_CLOSE_BOUND):
                await self.writer.wait_closed()
        await self.abort()

    async def abort(self) -> None:
        """Close without sending what is buffered. Raises nothing; may be called again."""
        self.writer.transport.abort()
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(_CLOSE_BOUND):
                await self.writer.wait_closed()
