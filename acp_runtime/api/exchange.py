"""The asynchronous way to the daemon: one connection for each request, every wait with a bound.

No thread and no parser of HTTP has a part in it: the ACP proxy asks with each prompt of an editor.
"""

import asyncio
import json
import socket
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from acp_runtime.api.errors import DaemonError, told
from acp_runtime.api.start import start_daemon
from acp_runtime.api.unix_client import (
    END_LINE,
    OK,
    SILENCE_SECONDS,
    TICK_HEADER,
    lost,
    request_of,
    status_of,
    unreachable,
)
from acp_runtime.api.unix_socket import connect, usual_folder, usual_socket

CONNECT_SECONDS: Final = 10.0
MAX_LINE: Final = 16 * 1024 * 1024
MAX_HEAD: Final = 65_536
CHUNK: Final = 65_536
_HEAD_END: Final = b"\r\n\r\n"
_TICK: Final = TICK_HEADER.lower().encode()


@dataclass(frozen=True, slots=True)
class Answer:
    """What the daemon answered; `tick` changes with its commits."""

    status: int
    tick: int
    body: bytes

    def json(self) -> Any:
        """Return the body. Raises `DaemonError` (daemon_lost) when it is no JSON."""
        try:
            return json.loads(self.body)
        except ValueError as error:
            raise lost(error) from error


class Way:
    """The way to the daemon at a socket, by default this user's; it is started when none answers and `start` holds."""

    def __init__(self, path: Path | None, *, start: bool) -> None:
        self._path = path or usual_socket()
        self._start = start
        self._folder = usual_folder() if path is None else ""

    async def ask(self, verb: str, target: str, body: bytes | None, seconds: float) -> Answer:
        """Send one request and return its answer, within `seconds`. Raises `DaemonError`."""
        try:
            async with asyncio.timeout(seconds):
                with await self._connect() as connection:
                    return await self._asked(connection, verb, target, body)
        except (OSError, TimeoutError, ValueError) as error:
            raise lost(error) from error

    async def follow(self, target: str) -> AsyncGenerator[bytes]:
        """Yield the data of server-sent events until the daemon ends the stream. Raises `DaemonError`."""
        with await self._connect() as connection:
            try:
                async with aclosing(self._followed(connection, target)) as lines:
                    async for line in lines:
                        yield line
            except (OSError, TimeoutError, ValueError) as error:
                raise lost(error) from error

    async def _asked(self, connection: socket.socket, verb: str, target: str, body: bytes | None) -> Answer:
        await asyncio.get_running_loop().sock_sendall(connection, request_of(verb, target, body, self._folder))
        head, data = await _head(connection)
        while len(data) < head.length:
            if not (piece := await _received(connection)):
                if head.length != _UNTIL_END:
                    raise ConnectionError("the answer broke off")
                break
            data += piece
        return Answer(head.status, head.tick, bytes(data))

    async def _followed(self, connection: socket.socket, target: str) -> AsyncGenerator[bytes]:
        async with asyncio.timeout(SILENCE_SECONDS):
            await asyncio.get_running_loop().sock_sendall(connection, request_of("GET", target, None, self._folder))
            head, data = await _head(connection)
        while True:
            if head.status == OK:
                *lines, rest = data.split(b"\n")
                for line in lines:
                    if line == END_LINE.rstrip():
                        return
                    if line.startswith(b"data: "):
                        yield bytes(line[6:])
                data = bytearray(rest)
            if len(data) > MAX_LINE:
                raise DaemonError("daemon_lost", f"the daemon sent a line of more than {MAX_LINE} bytes")
            async with asyncio.timeout(SILENCE_SECONDS):
                piece = await _received(connection)
            if not piece and head.status != OK:
                raise told(head.status, Answer(head.status, 0, bytes(data)).json())
            if not piece:
                raise ConnectionError("the stream broke off")
            data += piece

    async def _connect(self) -> socket.socket:
        try:
            try:
                return connect(self._path, 0)
            except (
                BlockingIOError,
                FileNotFoundError,
                ConnectionRefusedError,
            ):  # its queue is full, or nobody is there
                return await asyncio.to_thread(self._connected)
        except OSError as error:
            raise unreachable(self._path, error) from error

    def _connected(self) -> socket.socket:
        try:
            connection = connect(self._path, CONNECT_SECONDS)
        except (FileNotFoundError, ConnectionRefusedError):
            if not self._start:
                raise
            start_daemon()
            connection = connect(self._path, CONNECT_SECONDS)
        connection.setblocking(False)
        return connection


@dataclass(frozen=True, slots=True)
class _Head:
    status: int
    tick: int
    length: int


# What no body is as long as: one of unknown length ends with its connection.
_UNTIL_END: Final = 1 << 62


async def _head(connection: socket.socket) -> tuple[_Head, bytearray]:
    """Return what an answer begins with, and what has come of its body. Raises `OSError` and `ValueError`."""
    data = bytearray()
    while (end := data.find(_HEAD_END)) < 0:
        if not (piece := await _received(connection)) or len(data) > MAX_HEAD:
            raise ConnectionError("it closed the connection without an answer")
        data += piece
    first, *lines = bytes(data[:end]).split(b"\r\n")
    given = dict(line.lower().split(b":", 1) for line in lines)
    head = _Head(status_of(first), int(given.get(_TICK, 0)), int(given.get(b"content-length", _UNTIL_END)))
    return head, data[end + len(_HEAD_END) :]


async def _received(connection: socket.socket) -> bytes:
    return await asyncio.get_running_loop().sock_recv(connection, CHUNK)
