"""Relays as processes of this machine that carry to whoever is attached: over their socket, or `relay attach`."""

import asyncio
import contextlib
import secrets
import signal
import socket
import struct
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from acp_runtime.manager.local_channel import LocalChannel
from sandbox.channel import Receiver
from sandbox.holder.frames import Frame, Splitter, encode
from sandbox.holder.link import Link, SocketLink
from sandbox.relay import frames
from sandbox.relay.frames import Type
from sandbox.relay.link import RelayLink
from tests.integration.relay_process import READY, Relay, free_port

BOUND = 60.0  # seconds; a hang, not a speed


class Carried(Relay):
    """A relay that listens on one port and for managers, and one way to attach."""

    def __init__(self, process: asyncio.subprocess.Process, port: int, folder: Path, program: Path, way: str) -> None:
        super().__init__(process, port, folder / "host.sock")
        self.socket = folder / "relay.sock"
        self.token = secrets.token_hex(16)
        self.links: list[Link] = []
        self.program = program
        self._way, self._folder = way, folder

    async def opener(self, receiver: Receiver) -> Link:
        if self._way == "socket":
            link: Link = await SocketLink.open(self.socket, receiver)
        else:
            link = await self.attach_process(receiver)
        self.links.append(link)
        return link

    async def attach_process(self, receiver: Receiver) -> LocalChannel:
        logs = {f"{name}_OPTIONS": f"log_path={self._folder}/sanitizer" for name in ("ASAN", "UBSAN")}
        argv = [str(self.program), "attach", str(self.socket)]
        return await LocalChannel.open(argv, cwd=Path("/"), env=logs, receiver=receiver)

    def link(self, *, epoch: int = 1, token: str | None = None, targets: Mapping[int, Path] | None = None) -> RelayLink:
        given = {self.port: self.path} if targets is None else targets
        return RelayLink(self.opener, given, token=token or self.token, epoch=epoch)

    async def break_link(self) -> None:
        """End the newest link as a lost connection does: without a word to the manager's side of it."""
        await self.links[-1].close()


def complaints(folder: Path) -> list[str]:
    return [path.read_text() for path in folder.glob("sanitizer*")]


@contextlib.asynccontextmanager
async def carrying(program: Path, folder: Path, way: str) -> AsyncIterator[Carried]:
    """A relay that listens; afterwards it must end with 0 on SIGTERM, and no sanitizer may have complained."""
    port, at = free_port(), folder / "relay.sock"
    process = await asyncio.create_subprocess_exec(
        *(program, "listen", at, f"127.0.0.1:{port}"), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(2 * BOUND):
            assert await process.stdout.readline() == READY
            yield Carried(process, port, folder, program, way)
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
            rest, said = await process.communicate()
            assert (process.returncode, rest, said.decode()) == (0, b"", "")
            assert complaints(folder) == []
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


class Raw:
    """Whoever connects to a relay's socket and says whatever it likes."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self._splitter = Splitter()
        self._frames: list[Frame] = []

    async def send(self, data: bytes) -> None:
        """Send, also to who listens no more: what it said before is still there to be read."""
        with contextlib.suppress(OSError):
            await asyncio.get_running_loop().sock_sendall(self._line, data)

    async def next(self) -> Frame | None:
        """Return the next frame, None at the end of the connection."""
        async with asyncio.timeout(BOUND):
            while not self._frames:
                try:
                    data = await asyncio.get_running_loop().sock_recv(self._line, 65536)
                except ConnectionError:
                    return None
                if not data:
                    return None
                self._frames += self._splitter.feed(data)
                assert self._splitter.corrupt is None
        return self._frames.pop(0)

    async def until(self, kind: Type) -> Frame:
        while (frame := await self.next()) is not None:
            if frame.type == kind:
                return frame
        raise AssertionError(f"the connection ended before {kind.name} came")

    async def error(self) -> tuple[str, int]:
        """Return the name and number of the error with which the connection ends."""
        frame = await self.until(Type.ERROR)
        assert await self.next() is None
        return frame.payload.partition(b":")[0].decode(), frame.offset


@contextlib.asynccontextmanager
async def raw(relay: Carried) -> AsyncIterator[Raw]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as line:
        line.connect(str(relay.socket))
        yield Raw(line)


@contextlib.asynccontextmanager
async def attached(relay: Carried, *, epoch: int = 1) -> AsyncIterator[Raw]:
    """A manager made of frames."""
    async with raw(relay) as manager:
        await manager.send(frames.hello(relay.token, epoch))
        assert (await manager.next()).type == Type.WELCOME
        yield manager


def hello_of(relay: Carried, lowest: int, highest: int) -> bytes:
    return encode(Type.HELLO, payload=struct.pack(">4sHHQ", b"ACPR", lowest, highest, 1) + relay.token.encode())
