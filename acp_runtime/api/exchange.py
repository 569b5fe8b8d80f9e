"""The asynchronous way to the daemon: one connection for each request, every wait with a bound."""

import asyncio
import json
import socket
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import h11

from acp_runtime import __version__
from acp_runtime.api.errors import DaemonError, told
from acp_runtime.api.start import start_daemon
from acp_runtime.api.unix_client import FOLDER_HEADER, SILENCE_SECONDS, TICK_HEADER, VERSION_HEADER, lost, unreachable
from acp_runtime.api.unix_socket import connect, usual_folder, usual_socket
from acp_runtime.carrying.peer import HttpPeer

CONNECT_SECONDS: Final = 10.0
MAX_LINE: Final = 16 * 1024 * 1024


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
        """Send one request and return its answer. Raises `DaemonError`."""
        peer = await self._connect(seconds)
        try:
            response = await _send(peer, verb, target, body, self._folder)
            data = bytearray()
            while isinstance(event := await peer.receive(), h11.Data):
                data += event.data
            return Answer(response.status_code, _tick(response), bytes(data))
        except (OSError, TimeoutError, h11.RemoteProtocolError) as error:
            raise lost(error) from error
        finally:
            await peer.abort()

    async def follow(self, target: str) -> AsyncGenerator[bytes]:
        """Yield the data of server-sent events until the daemon ends the stream. Raises `DaemonError`."""
        peer = await self._connect(SILENCE_SECONDS)
        try:
            response = await _send(peer, "GET", target, None, self._folder)
            rest = b""
            while isinstance(event := await peer.receive(), h11.Data):
                *lines, rest = (rest + bytes(event.data)).split(b"\n")
                if len(rest) > MAX_LINE:
                    raise DaemonError("daemon_lost", f"the daemon sent a line of more than {MAX_LINE} bytes")
                if response.status_code != 200:
                    continue
                for line in lines:
                    if line.startswith(b"data: "):
                        yield line[6:]
            if response.status_code != 200:
                raise told(response.status_code, Answer(response.status_code, 0, rest).json())
        except (OSError, TimeoutError, h11.RemoteProtocolError) as error:
            raise lost(error) from error
        finally:
            await peer.abort()

    async def _connect(self, seconds: float) -> HttpPeer:
        try:
            connection = await asyncio.to_thread(self._connected)
        except OSError as error:
            raise unreachable(self._path, error) from error
        reader, writer = await asyncio.open_unix_connection(sock=connection)
        return HttpPeer(h11.Connection(h11.CLIENT, MAX_LINE), reader, writer, seconds)

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


async def _send(peer: HttpPeer, verb: str, target: str, body: bytes | None, folder: str) -> h11.Response:
    headers = [("Host", "localhost"), (VERSION_HEADER, __version__), (FOLDER_HEADER, folder), ("Connection", "close")]
    if body is not None:
        headers += [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    await peer.send(h11.Request(method=verb, target=target, headers=headers))
    if body is not None:
        await peer.send(h11.Data(data=body))
    await peer.send(h11.EndOfMessage())
    event = await peer.receive()
    if isinstance(event, h11.Response):
        return event
    raise lost(ConnectionError("it closed the connection without an answer"))


def _tick(response: h11.Response) -> int:
    found = next((value for name, value in response.headers if name == TICK_HEADER.lower().encode()), b"0")
    return int(found)
