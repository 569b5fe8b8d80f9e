"""Proxies in front of the engine's socket that make rare timing certain, and one that speaks TLS.

async with merging(path, engine_socket, b"marker"):   # an execution's answer comes in one piece, up to the marker
async with withholding(path, engine_socket, re.compile(b"..."), answer=True):   # the answer to this never comes
with sealed(engine_socket, certificates) as port:     # TLS on loopback, with half closes in both directions
"""

import asyncio
import contextlib
import faulthandler
import re
import select
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

AT_ONCE = 65536

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Ways = tuple[Coroutine[Any, Any, None], Coroutine[Any, Any, None]]


@contextlib.asynccontextmanager
async def merging(path: Path, engine_socket: str, marker: bytes) -> AsyncIterator[None]:
    """Hold what the engine says on a raw stream back until `marker` is in it, then pass it on in one write."""

    def ways(asker: Streams, engine: Streams) -> Ways:
        upgraded = asyncio.Event()
        return _forward(asker[0], engine[1], upgraded), _hold(engine[0], asker[1], upgraded, marker)

    async with _between(path, engine_socket, ways):
        yield


@dataclass
class Withheld:
    """What came of one request: `asked` when it came, `answered` when the engine has answered it.

    Whoever sets `let_go` has a request that is kept from the engine passed on, though nobody may wait for it any more.
    """

    asked: asyncio.Event = field(default_factory=asyncio.Event)
    answered: asyncio.Event = field(default_factory=asyncio.Event)
    let_go: asyncio.Event = field(default_factory=asyncio.Event)


@contextlib.asynccontextmanager
async def withholding(
    path: Path, engine_socket: str, request: re.Pattern[bytes], *, answer: bool
) -> AsyncIterator[Withheld]:
    """Let no answer come to the first request like this; without `answer` the engine does not get it either."""
    withheld = Withheld()

    def ways(asker: Streams, engine: Streams) -> Ways:
        here = asyncio.Event()

        async def ask() -> None:
            said = b""
            while data := await asker[0].read(AT_ONCE):
                said += data
                if not withheld.asked.is_set() and request.search(said):
                    here.set()
                    withheld.asked.set()
                    if not answer:
                        await withheld.let_go.wait()
                engine[1].write(data)
                await engine[1].drain()
            engine[1].write_eof()

        async def tell() -> None:
            while data := await engine[0].read(AT_ONCE):
                if here.is_set():
                    withheld.answered.set()
                else:
                    asker[1].write(data)
                    await asker[1].drain()
            asker[1].write_eof()

        return ask(), tell()

    async with _between(path, engine_socket, ways):
        yield withheld


@contextlib.asynccontextmanager
async def _between(path: Path, engine_socket: str, ways: Callable[[Streams, Streams], Ways]) -> AsyncIterator[None]:
    """Serve a socket before the engine's: for each connection the two ways, there and back."""
    served = set[asyncio.Task[None] | None]()

    async def serve(*asker: Any) -> None:
        engine = await asyncio.open_unix_connection(engine_socket)
        try:
            async with asyncio.TaskGroup() as tasks:
                for way in ways(asker, engine):
                    tasks.create_task(way)
        except* ConnectionError:
            pass
        finally:
            engine[1].close()
            asker[1].close()

    async def serve_until_the_end(*asker: Any) -> None:
        served.add(asyncio.current_task())
        with contextlib.suppress(asyncio.CancelledError):  # which the server would tell as an error
            await serve(*asker)

    server = await asyncio.start_unix_server(serve_until_the_end, path)
    try:
        yield
    finally:
        server.close()
        for task in filter(None, served):
            task.cancel()
        await asyncio.gather(*filter(None, served), return_exceptions=True)
        await server.wait_closed()


async def _forward(reader: asyncio.StreamReader, to_engine: asyncio.StreamWriter, upgraded: asyncio.Event) -> None:
    while data := await reader.read(AT_ONCE):
        if b"Upgrade: tcp" in data:
            upgraded.set()
        to_engine.write(data)
        await to_engine.drain()
    to_engine.write_eof()


async def _hold(
    from_engine: asyncio.StreamReader, writer: asyncio.StreamWriter, upgraded: asyncio.Event, marker: bytes
) -> None:
    held = b""
    while data := await from_engine.read(AT_ONCE):
        held += data
        if upgraded.is_set() and marker and marker not in held:
            continue
        marker = b"" if upgraded.is_set() else marker
        writer.write(held)
        await writer.drain()
        held = b""
    writer.write(held)
    writer.write_eof()


@contextlib.contextmanager
def sealed(engine_socket: str, certificates: Path) -> Iterator[int]:
    """Serve TLS with a client certificate asked for; the port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "cert.pem", certificates / "key.pem")
    context.load_verify_locations(certificates / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    listener = socket.create_server(("127.0.0.1", 0))
    threads: list[threading.Thread] = []

    def accept() -> None:
        while True:
            try:
                line, _ = listener.accept()
            except OSError:
                return
            threads.append(threading.Thread(target=_serve, args=(line, context, engine_socket), daemon=True))
            threads[-1].start()

    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        accepting.join(10)
        for thread in threads:
            thread.join(10)
        if any(thread.is_alive() for thread in threads):
            faulthandler.dump_traceback()
            raise AssertionError("a connection was left open; standard error says where its thread stands")


def _serve(line: socket.socket, context: ssl.SSLContext, engine_socket: str) -> None:
    try:
        with context.wrap_socket(line, server_side=True) as client, socket.socket(socket.AF_UNIX) as engine:
            engine.connect(engine_socket)
            _exchange(client, engine)
    except OSError:  # the handshake failed, or one side went away
        line.close()


def _exchange(client: ssl.SSLSocket, engine: socket.socket) -> None:
    """Carry bytes both ways; the client's TLS "close" becomes a half close, the engine's end a "close" back."""
    reading: list[socket.socket] = [client, engine]
    while engine in reading:
        ready = [client] if client in reading and client.pending() else select.select(reading, [], [])[0]
        if client in ready:
            if data := client.recv(AT_ONCE):
                engine.sendall(data)
            else:
                engine.shutdown(socket.SHUT_WR)
                reading.remove(client)
        if engine in ready:
            if data := engine.recv(AT_ONCE):
                client.sendall(data)
            else:
                reading.remove(engine)
    with contextlib.suppress(OSError):
        client.unwrap()
