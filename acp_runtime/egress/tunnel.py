"""A tunnel that a CONNECT has opened: first the client's hello is judged, then bytes are carried both ways.

Promises: not a byte of the client leaves before its TLS hello has named the host that was allowed; each wait has a
bound and few chunks of each direction are held; after `run` the connection to the host is closed.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterator

from acp_runtime.carrying.observer import How
from acp_runtime.carrying.peer import CHUNK, HttpPeer
from acp_runtime.carrying.upstream import Streams
from acp_runtime.egress.client_hello import HelloRefused, read_server_name
from acp_runtime.egress.hosts import HostRefused, canonical

__all__ = ["Tunnel", "TunnelBroken"]

# The TLS alert access_denied, as a server that understood the hello would send it.
_DENIED = b"\x15\x03\x03\x00\x02\x02\x31"
_CLOSE_BOUND = 5.0  # seconds


class TunnelBroken(Exception):  # noqa: N818 - reads as what happened
    """One side broke the connection, or nothing moved for too long. `how`: whose doing it was."""

    def __init__(self, how: How, sentence: str) -> None:
        super().__init__(sentence)
        self.how = how


class Tunnel:
    """`seconds` bound the wait for the hello, `idle` the time in which not a byte moves in either direction."""

    def __init__(self, client: HttpPeer, upstream: Streams, host: str, *, seconds: float, idle: float) -> None:
        self.over = False  # both sides have ended
        self.bytes_up = 0
        self.bytes_down = 0
        self._client = client
        self._reader, self._writer = upstream
        self._host = host
        self._seconds = seconds
        self._idle = idle

    async def run(self, early: bytes) -> None:
        """Carry until both sides have ended; `early` is what the client said already.

        Raises HelloRefused, which the client has been told then, and TunnelBroken.
        """
        try:
            hello = await self._judged_hello(early)
            await self._carry(hello)
            self.over = True
            self._writer.close()  # in order: what is still buffered is sent
            await self._closed()
        except HelloRefused:
            with contextlib.suppress(OSError):
                self._client.writer.write(_DENIED)
            raise
        except TimeoutError as error:
            raise TunnelBroken("broken", f"nothing moved in the tunnel for {self._idle:g} s") from error
        finally:
            await self.close()

    async def close(self) -> None:
        """Cut the connection to the host. Raises nothing; may be called again."""
        self._writer.transport.abort()
        await self._closed()

    async def _closed(self) -> None:
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(_CLOSE_BOUND):
                await self._writer.wait_closed()

    async def _judged_hello(self, data: bytes) -> bytes:
        try:
            async with asyncio.timeout(self._seconds):
                while (name := read_server_name(data)) is None:
                    with _failing("left"):
                        more = await self._client.reader.read(CHUNK)
                    if not more:
                        raise HelloRefused("it said no TLS hello")
                    data += more
        except TimeoutError as error:
            raise HelloRefused(f"it said no TLS hello within {self._seconds:g} s") from error
        try:
            named = canonical(name)
        except HostRefused as error:
            raise HelloRefused(f"its TLS hello names no host: {error}") from error
        if named != self._host:
            raise HelloRefused(f"its TLS hello names {named}, and the tunnel leads to {self._host}")
        return data

    async def _carry(self, hello: bytes) -> None:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(self._idle) as clock:

            def moved() -> None:
                clock.reschedule(loop.time() + self._idle)

            up = loop.create_task(self._up(hello, moved))
            down = loop.create_task(self._down(moved))
            try:
                await asyncio.wait({up, down}, return_when=asyncio.FIRST_EXCEPTION)
                for each in (up, down):
                    if each.done():
                        each.result()
            finally:
                up.cancel()
                down.cancel()
                await asyncio.gather(up, down, return_exceptions=True)

    async def _up(self, data: bytes, moved: Callable[[], None]) -> None:
        while data:
            with _failing("broken"):
                self._writer.write(data)
                await self._writer.drain()
            self.bytes_up += len(data)
            moved()
            with _failing("left"):
                data = await self._client.reader.read(CHUNK)
        with _failing("broken"):
            self._writer.write_eof()

    async def _down(self, moved: Callable[[], None]) -> None:
        while True:
            with _failing("broken"):
                data = await self._reader.read(CHUNK)
            with _failing("left"):
                if not data:
                    self._client.writer.write_eof()
                    return
                self._client.writer.write(data)
                await self._client.writer.drain()
            self.bytes_down += len(data)
            moved()


@contextlib.contextmanager
def _failing(how: How) -> Iterator[None]:
    """Say whose doing it is that the connection breaks off meanwhile."""
    try:
        yield
    except OSError as error:
        whose = "client" if how == "left" else "host"
        raise TunnelBroken(how, f"the {whose} broke the tunnel off: {error.strerror or error}") from error
