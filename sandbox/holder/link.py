"""A link: duplex bytes to a holder. Two exist: its unix socket, and the exec of `holder attach` (an `ExecChannel`)."""

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol, cast

from sandbox.channel import Receiver
from sandbox.errors import ChannelClosed, ChannelStalled
from sandbox.holder.errors import HolderGone

SEND_PATIENCE = 10.0  # seconds
WRITE_HIGH_WATER = 1024 * 1024
READ_AT_ONCE = 256 * 1024
HUNG_UP = "closed by this side"


class Link(Protocol):
    """What a held channel needs below it. Its receiver gets the holder's bytes as `on_stdout`."""

    async def send(self, data: bytes) -> None: ...

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    async def close(self) -> None: ...


Opener = Callable[[Receiver], Awaitable[Link]]


class Watcher(Protocol):
    """Who is told what a plain channel does not know. Called on the event loop; must not block."""

    def on_lost(self, reason: str) -> None:
        """Hear that the link broke while the agent goes on: once for each successful `attach`, not after `close`."""
        ...

    def on_gap(self, stream: int, offset: int, length: int) -> None:
        """Hear that `length` bytes of stdout (1) or stderr (2) are gone; what comes next is behind them."""
        ...


class SocketLink(asyncio.Protocol):
    """A connection to a holder's socket. `on_closed` is called exactly once, last; `close` never waits."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._room = asyncio.Event()
        self._room.set()
        self._transport: asyncio.Transport | None = None
        self._reason = ""
        self._lost = False

    @classmethod
    async def open(cls, path: Path, receiver: Receiver) -> "SocketLink":
        """Connect to the socket at `path`, however long that is. Raises HolderGone when nobody listens there."""
        try:
            folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                name = f"/proc/self/fd/{folder}/{path.name}"  # an address has room for 107 bytes only
                _, link = await asyncio.get_running_loop().create_unix_connection(lambda: cls(receiver), name)
            finally:
                os.close(folder)
        except OSError as error:
            raise HolderGone("holder_gone", f"Nobody answers at {path} ({error.strerror}).") from error
        return link

    async def send(self, data: bytes) -> None:
        """Write; waits while the holder does not read. Raises ChannelStalled (nothing was sent) or ChannelClosed."""
        if not self._room.is_set():
            try:
                async with asyncio.timeout(SEND_PATIENCE):
                    await self._room.wait()
            except TimeoutError as error:
                raise ChannelStalled(f"The holder has not read for {SEND_PATIENCE:g} s; nothing was sent.") from error
        if self._lost or self._transport is None or self._transport.is_closing():
            raise ChannelClosed(f"Nothing can be sent to the holder: {self._reason or 'the connection has ended'}.")
        self._transport.write(data)

    def pause(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    async def close(self) -> None:
        self._reason = self._reason or HUNG_UP
        if self._transport is not None:
            self._transport.abort()

    # ---- called by the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=WRITE_HIGH_WATER)

    def data_received(self, data: bytes) -> None:
        self._receiver.on_stdout(data)

    def pause_writing(self) -> None:
        self._room.clear()

    def resume_writing(self) -> None:
        self._room.set()

    def connection_lost(self, exc: Exception | None) -> None:
        if isinstance(exc, OSError) and not self._reason:
            self._drain()
        self._lost = True
        self._reason = self._reason or ("the holder ended the connection" if exc is None else f"it broke ({exc})")
        self._room.set()
        self._receiver.on_closed(self._reason)

    def _drain(self) -> None:
        """Read what the holder said before it went: a write that fails makes the transport drop it."""
        descriptor = cast("asyncio.Transport", self._transport).get_extra_info("socket").fileno()
        with contextlib.suppress(OSError):
            while data := os.read(descriptor, READ_AT_ONCE):
                self._receiver.on_stdout(data)
