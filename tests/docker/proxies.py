"""Proxies in front of the engine's socket that make rare timing certain, and one that speaks TLS.

async with merging(path, engine_socket, b"marker"):   # an execution's answer comes in one piece, up to the marker
with sealed(engine_socket, certificates) as port:     # TLS on loopback, with half closes in both directions
"""

import asyncio
import contextlib
import select
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

AT_ONCE = 65536


@contextlib.asynccontextmanager
async def merging(path: Path, engine_socket: str, marker: bytes) -> AsyncIterator[None]:
    """Hold what the engine says on a raw stream back until `marker` is in it, then pass it on in one write."""

    served = set[asyncio.Task[None] | None]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.add(asyncio.current_task())
        from_engine, to_engine = await asyncio.open_unix_connection(engine_socket)
        upgraded = asyncio.Event()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(_forward(reader, to_engine, upgraded))
                tasks.create_task(_hold(from_engine, writer, upgraded, marker))
        except* ConnectionError:
            pass
        finally:
            to_engine.close()
            writer.close()

    server = await asyncio.start_unix_server(serve, path)
    async with server:
        yield
    for task in filter(None, served):
        task.cancel()
    await asyncio.gather(*filter(None, served), return_exceptions=True)


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
            threads.append(threading.Thread(target=_serve, args=(line, context, engine_socket)))
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
        assert not any(thread.is_alive() for thread in threads), "a connection was left open"


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
