"""One raw stream against a scripted engine: endings and damage that a real one shows only by accident."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from sandbox.errors import EngineRefused, SandboxGone
from sandbox.framing import HEADER, NO_PADDING, Stream
from sandbox.line import ENDED, Line
from sandbox.tls import Plain
from sandbox.upgrade import Reply

SWITCHED = b"HTTP/1.1 101 UPGRADED\r\n\r\n"
BOUND = 20.0

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def out(data: bytes, stream: Stream = Stream.STDOUT) -> bytes:
    return HEADER.pack(stream, NO_PADDING, len(data)) + data


class Peer:
    """The receiving side, and the line to the scripted engine."""

    def __init__(self) -> None:
        self.stdout = bytearray()
        self.reasons: list[str] = []
        self.ended = asyncio.Event()
        self.line = Line(Plain(), b"go", Reply("go"), self, self._finish)

    def on_stdout(self, data: bytes) -> None:
        assert not self.reasons
        self.stdout += data

    on_stderr = on_stdout

    def _finish(self, reason: str) -> None:
        self.reasons.append(reason)
        self.ended.set()

    async def end(self) -> str:
        async with asyncio.timeout(BOUND):
            await self.ended.wait()
        (reason,) = self.reasons
        return reason


@pytest.fixture
async def dial(tmp_path: Path) -> AsyncIterator[Callable[..., Awaitable[Peer]]]:
    """Connect a line to an engine that does as scripted."""
    servers = []
    done: list[asyncio.Task[None]] = []

    async def connect(script: Script, make: type[Peer] = Peer) -> Peer:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            done.append(asyncio.current_task())
            await reader.readexactly(2)
            await script(reader, writer)
            writer.close()

        path = tmp_path / f"{len(servers)}.sock"
        servers.append(await asyncio.start_unix_server(serve, path))
        peer = make()
        await asyncio.get_running_loop().create_unix_connection(lambda: peer.line, str(path))
        return peer

    yield connect
    for server in servers:
        server.close()
        await server.wait_closed()
    await asyncio.wait_for(asyncio.gather(*done), BOUND)


async def test_everything_in_one_piece_headers_output_and_end(dial):
    async def script(_, writer):
        writer.write(SWITCHED + out(b"all of it"))

    peer = await dial(script)
    assert await peer.end() == ENDED
    assert peer.stdout == b"all of it"
    assert peer.line.ended_by_engine


async def test_a_stream_cut_inside_a_frame_is_not_an_ordinary_end(dial):
    async def script(_, writer):
        writer.write(SWITCHED + out(b"complete") + out(b"not complete")[:-3])

    peer = await dial(script)
    assert "cut inside a message" in await peer.end()
    assert peer.stdout == b"completenot compl"
    assert not peer.line.ended_by_engine


async def test_what_came_before_a_damaged_header_is_delivered_and_the_damage_named(dial):
    async def script(reader, writer):
        writer.write(SWITCHED + out(b"good") + b"garbage!" * 10)
        await reader.read()

    peer = await dial(script)
    assert "out of step" in await peer.end()
    assert peer.stdout == b"good"


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (
            b'HTTP/1.1 404 Not Found\r\nContent-Length: 43\r\n\r\n{"message":"No such exec instance: 012345"}',
            SandboxGone,
        ),
        (b"HTTP/1.1 200 OK\r\n\r\nError: Exec command 0123 is already running", EngineRefused),
    ],
    ids=["not found", "running already"],
)
async def test_a_refusal_is_the_result_of_opening_and_not_the_end_of_a_channel(dial, answer, kind):
    async def script(_, writer):
        writer.write(answer)

    peer = await dial(script)
    with pytest.raises(kind):
        await asyncio.wait_for(peer.line.opened, BOUND)
    assert peer.reasons == []


async def test_what_the_engine_sent_before_our_write_failed_is_delivered(dial):
    """The engine answers, and goes away without reading: our write breaks while its words lie unread in the system."""
    paused = asyncio.Event()

    async def script(_, writer):
        writer.write(SWITCHED)
        await asyncio.wait_for(paused.wait(), BOUND)
        writer.write(out(b"last words"))
        await writer.drain()

    peer = await dial(script)
    await asyncio.wait_for(peer.line.opened, BOUND)
    peer.line.pause()
    paused.set()
    peer.line.write(bytes(10_000_000))
    await asyncio.wait_for(peer.line.room.wait(), BOUND)
    assert peer.line.lost == ENDED
    assert peer.reasons == [], "the end waits until the words were taken"
    peer.line.resume()
    assert await peer.end() == ENDED
    assert peer.stdout == b"last words"


async def test_hanging_up_while_paused_ends_at_once_and_once(dial):
    async def script(reader, writer):
        writer.write(SWITCHED + out(b"x" * 100_000))
        await reader.read()

    peer = await dial(script)
    await asyncio.wait_for(peer.line.opened, BOUND)
    peer.line.pause()
    peer.line.hang_up("enough")
    peer.line.hang_up("again")
    assert await peer.end() == "enough"


async def test_pausing_from_within_the_receiver_keeps_the_rest_of_the_same_read_back(dial):
    async def script(_, writer):
        writer.write(SWITCHED + b"".join(out(b"%d" % n, Stream(1 + n % 2)) for n in range(5)))

    class OneAtATime(Peer):
        def on_stdout(self, data: bytes) -> None:
            super().on_stdout(data)
            self.line.pause()

        on_stderr = on_stdout

    peer = await dial(script, OneAtATime)
    await asyncio.wait_for(peer.line.opened, BOUND)
    for taken in (b"0", b"01", b"012", b"0123", b"01234"):
        assert peer.stdout == taken
        assert peer.reasons == []
        peer.line.resume()
    assert await peer.end() == ENDED


async def test_hanging_up_from_within_the_receiver_delivers_nothing_more(dial):
    async def script(reader, writer):
        writer.write(SWITCHED + b"".join(out(b"piece", Stream(1 + n % 2)) for n in range(50)))
        await reader.read()

    class Impatient(Peer):
        def on_stdout(self, data: bytes) -> None:
            super().on_stdout(data)
            self.line.hang_up("enough")

        on_stderr = on_stdout

    peer = await dial(script, Impatient)
    assert await peer.end() == "enough"
    assert peer.stdout == b"piece"
