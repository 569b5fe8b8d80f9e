"""A relay as a child process: what stands on both of its sides, and what it uses of the machine."""

import asyncio
import contextlib
import random
import resource
import signal
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

READY = b"relay: ready\n"
MIB = 1 << 20
PATTERN = bytes(i * 7 % 251 for i in range(MIB))  # sent from another start by each connection
BOUND = 100.0  # seconds; a hang, not a speed

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def free_port() -> int:
    """Return a port that nobody has, of those that the system gives nobody who asks for any: it stays free."""
    for _ in range(100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port := random.randrange(20_000, 32_000)))
            return port
    raise AssertionError("all ports are taken")


class Relay:
    def __init__(self, process: asyncio.subprocess.Process, port: int, path: Path) -> None:
        self.process = process
        self.port = port
        self.path = path

    @property
    def pid(self) -> int:
        return self.process.pid

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    def resident_bytes(self) -> int:
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("the relay has ended")

    def cpu_ticks(self) -> int:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    def open_files(self) -> int:
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    def limit_files(self, count: int) -> None:
        _, hard = resource.prlimit(self.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(self.pid, resource.RLIMIT_NOFILE, (count, hard))


@contextlib.asynccontextmanager
async def running(program: Path, path: Path, *more: str | Path) -> AsyncIterator[Relay]:
    """A relay that listens; afterwards it must end with 0 on SIGTERM and have said nothing else.

    The last holds for each test that is run with the sanitizers: they would have reported on stderr.
    """
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        program, f"127.0.0.1:{port}", path, *more, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(BOUND):
            assert await process.stdout.readline() == READY
            yield Relay(process, port, path)
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
            rest, said = await process.communicate()
            assert (process.returncode, rest, said.decode()) == (0, b"", "")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def refusal(program: Path, *args: str) -> tuple[int, str]:
    """Exit code and stderr of a relay that must not start; it must not have said that it is ready."""
    process = await asyncio.create_subprocess_exec(
        program, *args, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(BOUND):
        out, err = await process.communicate()
    assert out == b""
    assert process.returncode is not None
    return process.returncode, err.decode()


async def close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


@contextlib.asynccontextmanager
async def host(path: Path, handler: Handler, backlog: int = 100) -> AsyncIterator[None]:
    """A server on the unix socket; a handler's failure fails the test."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handler(reader, writer)
        finally:
            await close(writer)

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.ensure_future(serve(reader, writer)))

    async with await asyncio.start_unix_server(accept, path, backlog=backlog):
        yield
        await asyncio.gather(*tasks)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(MIB):
        writer.write(data)
        await writer.drain()
    writer.write_eof()


async def talk(relay: Relay, text: bytes) -> bytes:
    """Says one text to an echo through the relay, ends, and returns all of the answer."""
    reader, writer = await relay.connect()
    try:
        writer.write(text)
        writer.write_eof()
        return await reader.read()
    finally:  # a reset can come at any of these
        await close(writer)


def piece(offset: int, size: int = 65536) -> bytes:
    at = offset % MIB
    return (PATTERN[at : at + size] + PATTERN)[:size]


async def send_pattern(writer: asyncio.StreamWriter, start: int, size: int) -> None:
    """`size` bytes (a multiple of 64 KiB) of the pattern from `start` on: no two connections send the same."""
    for offset in range(start, start + size, 65536):
        writer.write(piece(offset))
        await writer.drain()


async def check_pattern(reader: asyncio.StreamReader, start: int, size: int) -> None:
    for offset in range(start, start + size, 65536):
        assert await reader.readexactly(65536) == piece(offset), f"wrong bytes near {offset - start}"


async def fill_up(relay: Relay, client: asyncio.trsock.TransportSocket, limit: int) -> int:
    """Sends the pattern until nothing more is taken while the relay does 50 other things; returns how much it took."""
    with client.dup() as raw:
        sent = idle = 0
        while idle < 50 and sent < limit:
            try:
                sent += raw.send(piece(sent, min(65536, limit - sent)))
                idle = 0
            except BlockingIOError:
                idle += 1
                assert await talk(relay, b"hello") == b"alive"
        return sent


async def send_rest(writer: asyncio.StreamWriter, sent: int, size: int) -> None:
    while sent < size:
        step = min(65536, size - sent)
        writer.write(piece(sent, step))
        await writer.drain()
        sent += step


def assert_at_rest(relay: Relay) -> None:
    """Fails when the relay uses processor time while this process does: a busy loop would use about as much."""
    before = relay.cpu_ticks()
    until = time.process_time() + 0.5
    while time.process_time() < until:
        pass
    assert relay.cpu_ticks() - before <= 5


async def freed(relay: Relay, files: int) -> None:
    """Returns once the relay holds no more than `files` descriptors; it is given other things to do meanwhile."""
    while relay.open_files() > files:
        await talk(relay, b"")


async def keep_sending(relay: Relay, writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"x")
        await writer.drain()
        await talk(relay, b"x")
