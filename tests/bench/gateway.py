"""A call of a model, straight to its provider and through the gateway of a store, in turns: first byte, and rate.

Each call has a connection of its own. The gateway is the real process, with a key to add and a meter that reads along.
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from acp_runtime.detached import wait_for_end
from acp_runtime.gateway.account import Account, ModelWay
from acp_runtime.gateway.place import GatewayPlace
from acp_runtime.keys import Secret
from acp_runtime.manager.gateway_link import GatewayLink
from acp_runtime.models import Route
from tests.bench.measure import Figure
from tests.bench.provider import EVENT

STORE = "bbbbcccc"
END_SECONDS = 10.0
CALL_SECONDS = 60.0
MB = 1_000_000
ROOT = Path(__file__).parents[2]

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Opener = Callable[[], Awaitable[Streams]]


async def calls(folder: Path, *, count: int, floods: int, events: int) -> list[Figure]:
    """Return the time to the first byte of `count` small answers, and the rate of `floods` answers of that many events.

    Both ways alternate, so that what else the machine does falls on both.
    """
    async with _provider() as port, _gateway(folder, port) as socket:
        ways: dict[str, Opener] = {
            "straight to its provider": lambda: asyncio.open_connection("127.0.0.1", port),
            "through the gateway": lambda: asyncio.open_unix_connection(socket),
        }
        first: dict[str, list[float]] = {way: [] for way in ways}
        rate: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(count):
            for way, opened in ways.items():
                first[way].append((await _call(opened, 1))[0] * 1000)
        for _ in range(floods):
            for way, opened in ways.items():
                began, ended = await _call(opened, events)
                rate[way].append(events * len(EVENT) / MB / (ended - began))
    return [
        *(Figure(f"a model's first byte, {way}", "ms", "local", tuple(first[way])) for way in ways),
        *(Figure(f"a model's long answer, {way}", "MB/s", "local", tuple(rate[way]), True) for way in ways),
    ]


async def _call(opened: Opener, events: int) -> tuple[float, float]:
    """Ask once; return when the first byte of the answer's body and when its last one was there, from the beginning."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with asyncio.timeout(CALL_SECONDS):
        reader, writer = await opened()
        body = json.dumps({"model": "scripted", "stream": True, "max_tokens": events}).encode()
        head = "POST /v1/chat/completions HTTP/1.1\r\nhost: stand-in\r\ncontent-type: application/json\r\n"
        writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        left = events * len(EVENT) - len(await reader.readexactly(1))
        first = loop.time() - began
        while left > 0:
            piece = await reader.read(1 << 17)
            assert piece, f"{left} bytes of the answer are missing"
            left -= len(piece)
        last = loop.time() - began
        writer.close()
    return first, last


@asynccontextmanager
async def _provider() -> AsyncIterator[int]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.provider", stdout=asyncio.subprocess.PIPE, cwd=ROOT
    )
    assert process.stdout is not None
    try:
        yield int(await process.stdout.readline())
    finally:
        process.kill()
        await process.wait()


@asynccontextmanager
async def _gateway(folder: Path, port: int) -> AsyncIterator[Path]:
    run, agent = folder / "gateway-run", folder / "gateway-agent"
    for each in (run, agent):
        each.mkdir(mode=0o700)
    place = GatewayPlace.of_store(STORE, folder / "gateway-store.db", run)
    route = Route.parse(f"http://127.0.0.1:{port}/v1", key=Secret("of-the-bench", name="BENCH"))
    link = GatewayLink(place, 1, END_SECONDS, os.environ)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(_end, place)
        stack.push_async_callback(link.close)
        account = Account("bg-bench", 1, os.getgid(), ModelWay(8790, agent / "model.sock", route))
        await link.open(lambda: account)
        opened = os.open(agent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        stack.callback(os.close, opened)
        yield Path(f"/proc/self/fd/{opened}/model.sock")  # an address has room for 107 bytes only


async def _end(place: GatewayPlace) -> None:
    holder = place.holder()
    if holder is not None:
        os.kill(holder.pid, signal.SIGTERM)
        await asyncio.to_thread(wait_for_end, holder.pid, END_SECONDS)
