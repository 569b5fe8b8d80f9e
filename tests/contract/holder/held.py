"""Holders as processes of this machine: started, attached over a socket or `holder attach`, and surely ended."""

import asyncio
import contextlib
import os
import secrets
import shutil
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from acp_runtime.manager.local_channel import LocalChannel
from sandbox.channel import Receiver
from sandbox.holder import frames
from sandbox.holder.channel import HeldChannel
from sandbox.holder.frames import Frame, Settings, Splitter, State, Type
from sandbox.holder.journal import StreamFiles, read_state
from sandbox.holder.link import Link, SocketLink
from sandbox.holder.start import start
from sandbox.spec import AGENT_UID

BOUND = 60.0  # seconds; a hang, not a speed
UID = AGENT_UID if os.geteuid() == 0 else os.geteuid()
GID = AGENT_UID if os.geteuid() == 0 else os.getegid()
MARK = "HOLDER_TEST_MARK"
# For tests in which the way is not the point: once, under the sanitizers.
ON_THE_SOCKET = pytest.mark.parametrize("held", ["sanitized-socket"], indirect=True)


class Heard:
    """Receiver and watcher; `until` waits for what shall come."""

    def __init__(self) -> None:
        self.stdout, self.stderr = bytearray(), bytearray()
        self.gaps: list[tuple[int, int, int]] = []
        self.lost: list[str] = []
        self.closed: list[str] = []
        self._news = asyncio.Event()

    def on_stdout(self, data: bytes) -> None:
        self.stdout += data
        self._news.set()

    def on_stderr(self, data: bytes) -> None:
        self.stderr += data
        self._news.set()

    def on_closed(self, reason: str) -> None:
        self.closed.append(reason)
        self._news.set()

    def on_lost(self, reason: str) -> None:
        self.lost.append(reason)
        self._news.set()

    def on_gap(self, stream: int, offset: int, length: int) -> None:
        self.gaps.append((stream, offset, length))
        self._news.set()

    async def until(self, there: Callable[[], Any]) -> None:
        async with asyncio.timeout(BOUND):
            while not there():
                self._news.clear()
                await self._news.wait()


class Held:
    """One folder with at most one holder in it at a time."""

    def __init__(self, program: Path, folder: Path, transport: str) -> None:
        self.program, self.folder, self.transport = program, folder, transport
        self.token = secrets.token_hex(16)
        self.mark = secrets.token_hex(8)
        self.journal, self.socket = folder / "journal", folder / "holder.sock"
        self.channels: list[HeldChannel] = []

    def settings(self, argv: Sequence[str], **fields: Any) -> Settings:
        given = {
            "journal": str(self.journal),
            "socket": str(self.socket),
            "token": self.token,
            "epoch": 1,
            "env": {"PATH": os.environ["PATH"], MARK: self.mark},
            "cwd": "/",
            "uid": UID,
            "gid": GID,
            "ttl": 600,
            **fields,
        }
        return Settings(argv=argv, **given)

    async def start(self, *argv: str, **fields: Any) -> State:
        return await start(self.run, self.settings(argv, **fields))

    async def run(self, receiver: Receiver) -> Link:
        return await self.process(receiver, "run")

    async def process(self, receiver: Receiver, *args: str) -> LocalChannel:
        logs = {f"{name}_OPTIONS": f"log_path={self.folder}/sanitizer" for name in ("ASAN", "UBSAN")}
        return await LocalChannel.open([str(self.program), *args], cwd=Path("/"), env=logs, receiver=receiver)

    async def opener(self, receiver: Receiver) -> Link:
        if self.transport == "socket":
            return await SocketLink.open(self.socket, receiver)
        return await self.process(receiver, "attach", str(self.socket))

    def channel(self, *, epoch: int = 1, token: str | None = None, **places: int) -> tuple[Heard, HeldChannel]:
        heard = Heard()
        channel = HeldChannel(heard, heard, token=token or self.token, epoch=epoch, **places)
        self.channels.append(channel)
        return heard, channel

    async def attach(self, *, epoch: int = 1, **places: int) -> tuple[Heard, HeldChannel]:
        heard, channel = self.channel(epoch=epoch, **places)
        await channel.attach(self.opener)
        return heard, channel

    def files(self, letter: str) -> list[Path]:
        return sorted(self.journal.glob(f"{letter}-*"))

    def processes(self) -> list[int]:
        """Return the living processes that carry this folder's mark: the agent's."""
        found = []
        for environ in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                if self.mark.encode() in environ.read_bytes():
                    found.append(int(environ.parent.name))
        return found

    def kill(self) -> None:
        # The holder first: it would still tell its client of an agent that ended before it.
        for pid in dict.fromkeys([*holders(self.journal), *self.processes()]):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    async def end(self) -> None:
        """End what is left, and check that the sanitizers had nothing to say."""
        for channel in self.channels:
            await channel.close()
        self.kill()
        said = [path.read_text() for path in self.folder.glob("sanitizer*")]
        shutil.rmtree(self.folder, ignore_errors=True)
        assert said == []


def holders(wanted: Path) -> list[int]:
    """Return the holders that have a journal open.

    For a moment others may have it too: an agent that is about to be executed, and whatever a sanitizer starts to look
    for leaks at the end of `holder run`. Neither leads a session without a holder above it.
    """
    found = []
    for descriptors in Path("/proc").glob("[0-9]*/fd"):
        with contextlib.suppress(OSError):
            for descriptor in descriptors.iterdir():
                target = descriptor.readlink()
                if wanted in (target, target.parent):
                    found.append(int(descriptors.parent.name))
                    break
    return [pid for pid in found if _parent_of(pid) not in found and _leads_a_session(pid)]


def _leads_a_session(pid: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        return os.getsid(pid) == pid
    return False


def _parent_of(pid: int) -> int | None:
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return None


async def ended(pid: int) -> None:
    """Wait for the end of a process that is not a child of this one."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    gone = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(descriptor, gone.set)
    try:
        async with asyncio.timeout(BOUND):
            await gone.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


def read_back(held: Held, start: int) -> list[Frame]:
    """Read stdout from the files, as they lie there."""
    state = read_state((held.journal / "state").read_bytes())
    stream, paths, frames = StreamFiles(1, start, state.stdout_end), held.files("o"), []
    for path, behind in zip(paths, [*paths[1:], None], strict=True):
        stream.begin(int(behind.name.partition("-")[2], 16) if behind else None)
        frames += stream.feed(path.read_bytes())
    return frames + list(stream.finish())


class Raw:
    """A client that says whatever it likes, over the socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._splitter = Splitter()
        self._frames: list[Frame] = []

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        with contextlib.suppress(ConnectionError):
            await self._writer.drain()

    async def next(self) -> Frame | None:
        """Return the next frame, None at the end of the connection."""
        async with asyncio.timeout(BOUND):
            while not self._frames:
                try:
                    data = await self._reader.read(65536)
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

    def vanish(self) -> None:
        self._writer.transport.abort()


@contextlib.asynccontextmanager
async def raw(held: Held) -> AsyncIterator[Raw]:
    reader, writer = await asyncio.open_unix_connection(held.socket)
    try:
        yield Raw(reader, writer)
    finally:
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def hello(held: Held, **fields: Any) -> bytes:
    given = {"token": held.token, "epoch": 1, "stdout_from": 0, "stderr_from": 0, **fields}
    return frames.hello(**given)


@contextlib.asynccontextmanager
async def served(held: Held, **fields: Any) -> AsyncIterator[Raw]:
    """A raw client that is served."""
    async with raw(held) as client:
        await client.send(hello(held, **fields))
        await client.until(Type.STATE)
        yield client


def numbered(count: int) -> bytes:
    return b"".join(b"%d\n" % number for number in range(1, count + 1))


def cutting(opener: Callable[[Receiver], Awaitable[Link]], after: int) -> Callable[[Receiver], Awaitable[Link]]:
    """Make links that break once they have brought so many bytes, wherever that is in a frame."""

    async def opened(receiver: Receiver) -> Link:
        cutter = _Cutter(receiver, after)
        cutter.link = await opener(cutter)
        return cutter.link

    return opened


class _Cutter:
    def __init__(self, receiver: Receiver, after: int) -> None:
        self.link: Link | None = None
        self._receiver, self._left = receiver, after

    def on_stdout(self, data: bytes) -> None:
        if self._left > 0:
            self._receiver.on_stdout(data[: self._left])
        self._left -= len(data)
        if self._left <= 0:
            self._receiver.on_closed("cut")

    def on_stderr(self, data: bytes) -> None:
        self._receiver.on_stderr(data)

    def on_closed(self, reason: str) -> None:
        self._receiver.on_closed(reason)


def fill(path: Path, *, but: int = 0) -> None:
    """Take all the room of a disk by a file but so many bytes."""
    with path.open("wb", buffering=0) as file:
        with contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))
        file.truncate(max(0, file.tell() - but))
