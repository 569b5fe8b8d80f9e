"""One connection to the engine that carries one execution: from the request to the last byte.

An asyncio Protocol that joins the sans-io parts (`tls`, `upgrade`, `framing`) to a transport. Promises: the receiver is
called synchronously and in stream order, never while paused; `finish` is called exactly once and after the last byte;
what the engine had sent before the connection broke is delivered. What was read but not yet delivered is bounded by one
read of the transport, and after a break by the system's own buffer.
"""

import asyncio
import os
from collections import deque
from collections.abc import Callable
from typing import Protocol, cast

from sandbox.errors import SandboxError
from sandbox.framing import Demultiplexer, Piece, Stream
from sandbox.tls import READ_AT_ONCE, Plain, Sealed
from sandbox.upgrade import Reply

WRITE_HIGH_WATER = 1024 * 1024

ENDED = "the program ended or closed its output"
HUNG_UP = "closed by this side"


class Outputs(Protocol):
    """Who takes what a program writes. Called on the event loop, in stream order; must not block."""

    def on_stdout(self, data: bytes) -> None: ...
    def on_stderr(self, data: bytes) -> None: ...


class Line(asyncio.Protocol):
    """The connection. `opened` is done when the stream begins; `lost` says why it ended, None while it lasts.

    `finish` is not called when the stream never began: then `opened` has the error.
    """

    def __init__(
        self, wire: Plain | Sealed, request: bytes, reply: Reply, receiver: Outputs, finish: Callable[[str], None]
    ) -> None:
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.opened.add_done_callback(lambda done: done.cancelled() or done.exception())
        self.room = asyncio.Event()
        self.room.set()
        self.lost: str | None = None
        self.ended_by_engine = False
        self._wire, self._request, self._reply = wire, request, reply
        self._receiver, self._finish = receiver, finish
        self._demultiplexer = Demultiplexer()
        self._waiting: deque[Piece] = deque()
        self._begun = self._paused = self._delivering = self._finished = False
        self._reason: str | None = None
        self._transport: asyncio.Transport | None = None

    # --- called by the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=WRITE_HIGH_WATER)
        self.write(self._request)

    def data_received(self, data: bytes) -> None:
        try:
            plain = self._wire.receive(data)
            self._flush()
            if not self._begun:
                first = self._reply.feed(plain)
                if first is None:
                    return
                self._begin()
                plain = first
        except (SandboxError, OSError) as error:
            self._refuse(error)
            return
        self._waiting.extend(self._demultiplexer.feed(plain))
        self._deliver()
        if self._demultiplexer.corrupt is not None:
            self.hang_up(str(self._demultiplexer.corrupt))
        elif self._wire.ended:
            self.eof_received()

    def eof_received(self) -> bool:
        self.ended_by_engine = self._reason is None and not self._demultiplexer.mid_frame
        if self._transport is not None:
            self._transport.abort()  # not `close`: what we still had to write has no reader any more, and would hold it
        return False

    def pause_writing(self) -> None:
        self.room.clear()

    def resume_writing(self) -> None:
        self.room.set()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._begun and self._reason is None and isinstance(exc, OSError):
            self._drain()
        self.lost = self._reason or self._why(exc)
        self.room.set()
        if self._begun:
            self._deliver()
        elif not self.opened.done():
            self.opened.set_exception(self._reply.ended())

    # --- called by the channel

    def write(self, data: bytes) -> None:
        self._wire.send(data)
        self._flush()

    def end_writing(self) -> None:
        """Let the other side see the end of what we send; reading goes on."""
        if self.lost is not None or self._transport is None or self._transport.is_closing():
            return
        self._wire.end()
        self._flush()
        if self._wire.ends_by_transport:
            self._transport.write_eof()

    def pause(self) -> None:
        self._paused = True
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume(self) -> None:
        self._paused = False
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()
        self._deliver()

    def hang_up(self, reason: str) -> None:
        """End the connection when what is written has gone out; what is not delivered yet is dropped."""
        self._reason = self._reason or reason
        self._waiting.clear()
        if self.lost is not None:
            self._deliver()
        elif self._transport is not None:
            self._transport.close()

    def abort(self, reason: str) -> None:
        """End the connection now; what is still to be written is dropped."""
        self._reason = self._reason or reason
        self._waiting.clear()
        if self._transport is not None:
            self._transport.abort()

    # --- inside

    def _begin(self) -> None:
        self._begun = True
        if not self.opened.done():
            self.opened.set_result(None)

    def _drain(self) -> None:
        """Read what the engine sent before it went.

        A program that ends while we still write makes the write fail, and the transport then drops what it has not
        read yet: the end of the program's output.
        """
        descriptor = cast("asyncio.Transport", self._transport).get_extra_info("socket").fileno()
        try:
            while data := os.read(descriptor, READ_AT_ONCE):
                self._waiting.extend(self._demultiplexer.feed(self._wire.receive(data)))
        except ConnectionError:
            pass
        except OSError:  # nothing more is there, yet no end was sent: the write failed for a reason of its own
            return
        self.ended_by_engine = not self._demultiplexer.mid_frame

    def _flush(self) -> None:
        if self._transport is not None and (data := self._wire.outgoing()):
            self._transport.write(data)

    def _deliver(self) -> None:
        """Hand over what waits, unless paused; the receiver may pause, resume or hang up from within."""
        if self._delivering:
            return
        self._delivering = True
        try:
            while self._waiting and not self._paused:
                stream, data = self._waiting.popleft()
                (self._receiver.on_stdout if stream is Stream.STDOUT else self._receiver.on_stderr)(data)
        finally:
            self._delivering = False
        if self.lost is not None and not self._waiting and not self._finished:
            self._finished = True
            self._finish(self.lost)

    def _refuse(self, error: SandboxError | OSError) -> None:
        self._reason = str(error)
        if not self.opened.done():
            self.opened.set_exception(error)
        if self._transport is not None:
            self._transport.abort()

    def _why(self, exc: Exception | None) -> str:
        if self.ended_by_engine:
            return ENDED
        return "the engine's stream was cut inside a message" if exc is None else f"the connection broke ({exc})"
