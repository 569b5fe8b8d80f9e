"""A pipe and a container's exec stream, doing the same: a small round trip, and a flood of updates into the log."""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from acp_runtime.core.inputs import Heard
from acp_runtime.core.transcript import Entry
from acp_runtime.manager.local_channel import LocalChannel
from acp_runtime.session.channel import Channel, Receiver
from acp_runtime.session.observer import Observer
from acp_runtime.session.observer import Place as Heed
from acp_runtime.session.session import AcpSession
from sandbox.channel import ExecChannel
from sandbox.container import Sandbox
from tests.bench.measure import Figure, Place
from tests.bench.store import Ledger

SCRIPT = Path(__file__).parents[1] / "agents" / "scripted_agent.py"
BURST = SCRIPT.with_name("burst_agent.py")
LINE = b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"text":"a request of ordinary length, as agents send"}}\n'
REPLY_SECONDS = 10.0

Opener = Callable[[Sequence[str], Receiver], AbstractAsyncContextManager[Channel]]


@dataclass(frozen=True)
class Way:
    """One way to a program: how it is opened, the Python there, and how the figures call it beside the usual ones."""

    place: Place
    opened: Opener
    python: str
    label: str = ""


def pipe() -> Way:
    """Give the way to a process of this machine."""

    @asynccontextmanager
    async def opened(argv: Sequence[str], receiver: Receiver) -> AsyncIterator[Channel]:
        channel = await LocalChannel.open(argv, cwd=Path("/"), env={"PATH": os.environ["PATH"]}, receiver=receiver)
        try:
            yield channel
        finally:
            await channel.close()

    return Way("local", opened, sys.executable)


def exec_stream(sandbox: Sandbox) -> Way:
    """Give the way to a program executed in a container."""

    @asynccontextmanager
    async def opened(argv: Sequence[str], receiver: Receiver) -> AsyncIterator[Channel]:
        channel = await sandbox.open_channel(argv, cwd="/", env={}, receiver=receiver)
        try:
            yield Unheld(channel)
        finally:
            await channel.close()

    return Way("container", opened, "python3")


class Unheld:
    """A plain exec as a session's channel: nothing is kept for anybody."""

    input_end = None

    def __init__(self, channel: ExecChannel) -> None:
        self.send, self.pause, self.resume, self.close = channel.send, channel.pause, channel.resume, channel.close

    async def acknowledge(self, stdout: int) -> None:
        """Nothing is kept."""


class Echo:
    """A receiver that can be waited for until a number of bytes has come."""

    def __init__(self) -> None:
        self._missing = 0
        self._whole = asyncio.Event()

    def expect(self, count: int) -> None:
        self._missing = count
        self._whole.clear()

    async def come(self) -> None:
        await self._whole.wait()

    def on_stdout(self, data: bytes) -> None:
        self._missing -= len(data)
        if self._missing <= 0:
            self._whole.set()

    def on_stderr(self, data: bytes) -> None:
        """Let pass what `cat` complains about."""

    def on_gap(self, stream: int, offset: int, length: int) -> None:
        """Let pass what `cat` complained about."""

    def on_lost(self, reason: str) -> None:
        """Do nothing: the reply that does not come is told by its bound."""

    def on_closed(self, reason: str) -> None:
        """Do nothing: the reply that does not come is told by its bound."""


async def round_trips(ways: Sequence[Way], count: int) -> list[Figure]:
    """Send a line to `cat` and wait for it, `count` times on each way in turn."""
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as stack:
        echoes = [Echo() for _ in ways]
        channels = [
            await stack.enter_async_context(way.opened(["cat"], echo)) for way, echo in zip(ways, echoes, strict=True)
        ]
        samples: list[list[float]] = [[] for _ in ways]
        for _ in range(count):
            for channel, echo, taken in zip(channels, echoes, samples, strict=True):
                begin = loop.time()
                echo.expect(len(LINE))
                await channel.send(LINE)
                async with asyncio.timeout(REPLY_SECONDS):
                    await echo.come()
                taken.append((loop.time() - begin) * 1000)
    name = "round trip of a small message"
    return [Figure(name + way.label, "ms", way.place, tuple(taken)) for way, taken in zip(ways, samples, strict=True)]


@dataclass(frozen=True)
class Flood:
    """What one flood cost, from the prompt to the durable end of the last update."""

    seconds: float
    cpu_seconds: float
    events: int


async def floods(ways: Sequence[Way], folder: Path, *, count: int, times: int) -> list[Figure]:
    """Have an agent send `count` updates as fast as it is read, and take them through session and store.

    Each way in turn, `times` times.
    """
    found: list[list[Flood]] = [[] for _ in ways]
    for number in range(times):
        for way, taken in zip(ways, found, strict=True):
            path = folder / f"flood-{way.place}{way.label.rpartition(' ')[2]}-{number}.db"
            taken.append(await _flood(way, path, count))
    return [figure for way, taken in zip(ways, found, strict=True) for figure in _figures(way, taken, count)]


def _figures(way: Way, taken: list[Flood], count: int) -> list[Figure]:
    place, label = way.place, way.label
    rate = tuple(count / each.seconds for each in taken)
    cpu = tuple(each.cpu_seconds / count * 1e6 for each in taken)
    events = tuple(float(each.events) for each in taken)
    return [
        Figure(f"updates stored, a second{label}", "1/s", place, rate, more_is_better=True),
        Figure(f"manager's CPU for one update{label}", "µs", place, cpu),
        Figure(f"events in the log for {count:,} updates{label}", "events", place, events),
    ]


async def _flood(way: Way, path: Path, count: int) -> Flood:
    loop = asyncio.get_running_loop()
    async with Ledger.open(path) as ledger:
        last = (loop.time(), time.process_time())

        async def heard(entries: tuple[Entry, ...], place: Heed) -> int:
            nonlocal last
            await ledger.take(Heard(1, entries, *place))
            last = (loop.time(), time.process_time())
            return place.upto

        session = AcpSession(
            1, Observer(heard=heard, asked=lambda *_: None, lost=lambda _: None, closed=lambda _: None)
        )
        argv = (way.python, "-c", BURST.read_text(encoding="utf-8"), str(count))
        async with way.opened(argv, session) as channel:
            session.attach(channel)
            try:
                await session.open(cwd="/", auth_method=None, version="bench", step=lambda _: None)
                before = ledger.events
                begin = (loop.time(), time.process_time())
                await session.prompt("go")
            finally:
                await session.shut()
        return Flood(last[0] - begin[0], last[1] - begin[1], ledger.events - before)
