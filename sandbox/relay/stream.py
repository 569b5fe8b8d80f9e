"""One connection from inside a sandbox, carried to a unix socket of this machine.

Promises: bytes arrive complete and in order, both ways, and an end behind them; no more is kept than the window; a side
that does not read stops the side that writes, and no other stream; what one side cuts is cut for the other.
"""

import asyncio
import contextlib
import os
import select
import socket
from collections import deque
from collections.abc import Awaitable, Callable
from pathlib import Path

from sandbox.holder.frames import encode
from sandbox.relay.frames import CREDIT_AT, PIECE, WINDOW, Type, corrupt, credit

CONNECT_BOUND, CONNECT_PAUSE = 10.0, 0.02  # seconds

Send = Callable[[bytes], Awaitable[None]]


class Stream:
    """See the module. Owner: the attachment, which gives it what the relay sent; `run` ends when it has ended."""

    def __init__(self, number: int, target: Path | None, send: Send) -> None:
        self._number, self._target, self._send = number, target, send
        self._arrived: deque[bytes] = deque()
        self._window, self._credit = WINDOW, WINDOW
        self._ended = False
        self._news, self._may_send = asyncio.Event(), asyncio.Event()

    # ---- what the relay says; never waits

    def on_data(self, data: bytes) -> None:
        """Take what came. Raises RelayError (`frames_corrupt`) for more than may be sent."""
        if len(data) > self._window or self._ended:
            raise corrupt(f"{len(data)} bytes of stream {self._number}, which may not be sent")
        self._window -= len(data)
        self._arrived.append(data)
        self._news.set()

    def on_credit(self, count: int) -> None:
        self._credit += count
        self._may_send.set()

    def on_end(self) -> None:
        self._ended = True
        self._news.set()

    # ---- the carrying

    async def run(self) -> None:
        """Carry until both sides have ended, or one takes no more: then the other is told. Cancelled: both are cut."""
        try:
            line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        except OSError:  # for want of files
            await self._tell(Type.RESET)
            return
        with line:
            if not await self._reached(line):
                await self._tell(Type.RESET)
                return
            up = asyncio.ensure_future(self._carry_up(line))
            try:
                await self._carry_down(line)
                if _hung_up(line):
                    await self._tell(Type.RESET)
                else:
                    await up
            finally:
                up.cancel()
                await asyncio.wait([up])

    async def _reached(self, line: socket.socket) -> bool:
        if self._target is None:
            return False
        try:
            folder = os.open(self._target.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                async with asyncio.timeout(CONNECT_BOUND):
                    # An address has room for 107 bytes only.
                    await _connect(line, f"/proc/self/fd/{folder}/{self._target.name}")
            finally:
                os.close(folder)
        except (OSError, TimeoutError):
            return False
        return True

    async def _carry_up(self, line: socket.socket) -> None:
        """Carry from the relay to the socket. What nobody reads any more is thrown away: the answer may still come."""
        loop, owed, taken = asyncio.get_running_loop(), 0, True
        while True:
            while self._arrived:
                data = self._arrived.popleft()
                if taken:
                    try:
                        await loop.sock_sendall(line, data)
                    except OSError:
                        taken = False
                owed += len(data)
                if owed >= CREDIT_AT:
                    self._window += owed
                    await self._send(credit(self._number, owed))
                    owed = 0
            if self._ended:
                with contextlib.suppress(OSError):
                    line.shutdown(socket.SHUT_WR)
                return
            self._news.clear()
            await self._news.wait()

    async def _carry_down(self, line: socket.socket) -> None:
        """Carry from the socket to the relay. One that fails has nothing more to give: the same as its end."""
        loop = asyncio.get_running_loop()
        while True:
            while self._credit == 0:
                self._may_send.clear()
                await self._may_send.wait()
            try:
                data = await loop.sock_recv(line, min(PIECE, self._credit))
            except OSError:
                data = b""
            if not data:
                await self._tell(Type.END)
                return
            self._credit -= len(data)
            await self._send(encode(Type.DATA, 0, self._number, data))

    async def _tell(self, kind: Type) -> None:
        await self._send(encode(kind, 0, self._number))


async def _connect(line: socket.socket, name: str) -> None:
    """Connect; a full backlog tells nobody when it has room, and the event loop takes it for a connection."""
    while True:
        try:
            line.connect(name)
        except BlockingIOError:
            await asyncio.sleep(CONNECT_PAUSE)
        else:
            return


def _hung_up(line: socket.socket) -> bool:
    """Whether the other end reads no more, which the end of what it writes does not say."""
    poll = select.poll()
    poll.register(line.fileno(), 0)
    return bool(poll.poll(0))
