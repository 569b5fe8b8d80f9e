"""The two sides of the proxy as lines: pipes that are read no faster than the other side takes what comes of them."""

import asyncio
import os
import stat
from collections.abc import Callable
from typing import IO, Final, cast

from acp_runtime.core.errors import Rejected
from acp_runtime.wire.ndjson import LineSplitter, Oversized

# Editors send pictures inside of a prompt's line.
LINE_CAP: Final = 64 * 1024 * 1024
FLUSH_SECONDS: Final = 5.0


def check_stream(pipe: IO[bytes]) -> None:
    """Refuse what cannot be waited for, as a file. Raises `Rejected` (invalid)."""
    mode = os.fstat(pipe.fileno()).st_mode
    if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or os.isatty(pipe.fileno())):
        raise Rejected("invalid", "an editor starts this command and talks to it over pipes; a file cannot be served")


class Incoming(asyncio.Protocol):
    """What one side says: its lines are handed over as they come, a last one without an end too, then its end."""

    def __init__(
        self, on_lines: Callable[[list[bytes | Oversized]], None], on_end: Callable[[], None], cap: int = LINE_CAP
    ) -> None:
        self._on_lines = on_lines
        self._on_end = on_end
        self._splitter = LineSplitter(cap)
        self._transport: asyncio.ReadTransport | None = None
        self._reasons: set[str] = set()

    async def connect(self, pipe: IO[bytes]) -> None:
        """Read this pipe from now on; it is closed with what reads it."""
        await asyncio.get_running_loop().connect_read_pipe(lambda: self, pipe)

    def hold(self, reason: str) -> None:
        """Read nothing more while there is a reason. Idempotent for each of them."""
        if not self._reasons and self._transport is not None:
            self._transport.pause_reading()
        self._reasons.add(reason)

    def release(self, reason: str) -> None:
        """Take a reason away. Idempotent."""
        if reason in self._reasons:
            self._reasons.discard(reason)
            if not self._reasons and self._transport is not None:
                self._transport.resume_reading()

    def close(self) -> None:
        """Read nothing more; `on_end` is called."""
        if self._transport is not None:
            self._transport.close()

    # ---- asyncio's callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.ReadTransport, transport)
        if self._reasons:
            self._transport.pause_reading()

    def data_received(self, data: bytes) -> None:
        if lines := self._splitter.feed(data):
            self._on_lines(lines)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._transport = None
        if (rest := self._splitter.finish()) is not None:
            self._on_lines([rest])
        self._on_end()


class Outgoing(asyncio.BaseProtocol):
    """What is said to one side. `on_crowded` is told that it does not read, and then that it does again."""

    def __init__(self, on_crowded: Callable[[bool], None], on_lost: Callable[[], None] = lambda: None) -> None:
        self._on_crowded = on_crowded
        self._on_lost = on_lost
        self._transport: asyncio.WriteTransport | None = None
        self._lost = asyncio.Event()

    @property
    def waiting(self) -> int:
        """How many bytes the other side has not read."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    async def connect(self, pipe: IO[bytes]) -> None:
        """Write to this pipe from now on; it is closed with what writes it."""
        await asyncio.get_running_loop().connect_write_pipe(lambda: self, pipe)

    def write(self, lines: list[bytes]) -> None:
        """Write whole lines, without their ends. What is written to a side that is gone is dropped."""
        if self._transport is not None and lines:
            lines.append(b"")
            self._transport.write(b"\n".join(lines))

    def pass_on(self, data: bytes) -> None:
        """Write bytes as they came. What is written to a side that is gone is dropped."""
        if self._transport is not None:
            self._transport.write(data)

    async def close(self) -> None:
        """Write what is left, at most for `FLUSH_SECONDS`, and say that this was all. Idempotent."""
        if self._transport is None:
            return
        self._transport.close()
        try:
            async with asyncio.timeout(FLUSH_SECONDS):
                await self._lost.wait()
        except TimeoutError:
            self.abort()

    def abort(self) -> None:
        """Drop what is left. Idempotent."""
        if self._transport is not None:
            self._transport.abort()

    # ---- asyncio's callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)

    def pause_writing(self) -> None:
        self._on_crowded(True)

    def resume_writing(self) -> None:
        self._on_crowded(False)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._transport = None
        self._lost.set()
        self._on_crowded(False)
        self._on_lost()
