"""What a tool's call costs by MCP, over a pair of sockets and over HTTP, beside the same call of the table."""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from acp_runtime.api.loopback import HELLO as PORT
from acp_runtime.api.loopback import Loopback
from acp_runtime.api.server import Front
from acp_runtime.clock import SystemClock
from acp_runtime.mcp.session import Session
from acp_runtime.mcp.streams import serve
from acp_runtime.mcp.token_file import token_at
from acp_runtime.mcp.turns import Telling
from acp_runtime.service import Runtime
from acp_runtime.tools.tool import Desk
from acp_runtime.tools.toolbox import Toolbox
from tests.bench.measure import Figure
from tests.bench.runtime import BOUND, PARENT, Stage

TOOL = "list_background_subagents"
HELLO = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "bench", "version": "1"}}
Ask = Callable[[int, str, Any], Awaitable[dict[str, Any]]]


async def tool_calls(stage: Stage, folder: Path, *, count: int) -> list[Figure]:
    """Record all three in turn, for a parent with one idle subagent."""
    path = folder / "mcp" / "store.db"
    async with Runtime.open(path, launcher=stage.launcher, config=stage.config) as runtime:
        view = await runtime.spawn(PARENT, stage.request)
        await runtime.wait(PARENT, [view.id], seconds=BOUND)
        toolbox = Toolbox(Desk(runtime, PARENT, Path(stage.request.workspace)))
        async with _piped(runtime, toolbox) as pipe, _posted(runtime, stage, folder / "mcp") as post:
            direct, carried, posted = await _in_turn(toolbox, (pipe, post), count)
    return [
        Figure("a tool's call, straight to the table", "ms", "local", tuple(direct)),
        Figure("a tool's call, by MCP", "ms", "local", tuple(carried)),
        Figure("a tool's call, by MCP over HTTP", "ms", "local", tuple(posted)),
    ]


async def _in_turn(toolbox: Toolbox, ways: tuple[Ask, ...], count: int) -> list[list[float]]:
    taken: list[list[float]] = [[] for _ in range(1 + len(ways))]
    for ask in ways:
        await ask(-1, "initialize", HELLO)
    for number in range(count + 1):
        moments = [time.perf_counter()]
        await toolbox.call(TOOL)
        moments.append(time.perf_counter())
        for ask in ways:
            answer = await ask(number, "tools/call", {"name": TOOL})
            moments.append(time.perf_counter())
            assert answer["result"]["structuredContent"]["subagents"], answer
        if number:  # the first one tells what the parent has not seen
            for each, begin, end in zip(taken, moments, moments[1:], strict=False):
                each.append((end - begin) * 1000)
    return taken


@asynccontextmanager
async def _piped(runtime: Runtime, toolbox: Toolbox) -> AsyncIterator[Ask]:
    ours, theirs = socket.socketpair()
    session = Session(toolbox, Telling(runtime, PARENT))
    serving = asyncio.create_task(serve(session, *await asyncio.open_unix_connection(sock=ours)))
    reader, writer = await asyncio.open_unix_connection(sock=theirs)

    async def ask(number: int, method: str, params: Any) -> dict[str, Any]:
        writer.write(_request(number, method, params) + b"\n")
        async with asyncio.timeout(BOUND):
            found: dict[str, Any] = json.loads(await reader.readline())
        return found

    try:
        yield ask
    finally:
        writer.close()
        await serving


@asynccontextmanager
async def _posted(runtime: Runtime, stage: Stage, folder: Path) -> AsyncIterator[Ask]:
    """Serve the daemon's port; a client keeps one connection to it."""
    front = Front(runtime, {}, lambda: None)
    loopback = Loopback(runtime, replace(stage.config, state_dir=folder), front)
    serving = asyncio.create_task(loopback.serve(0, SystemClock()))
    try:
        async with asyncio.timeout(BOUND):
            while PORT not in front.hello:  # noqa: ASYNC110 - it tells nobody in this process
                await asyncio.sleep(0.01)
        host, _, port = front.hello[PORT]["url"].split("/")[2].partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        words = {"Host": f"{host}:{port}", "Accept": "application/json, text/event-stream"}
        words |= {"Content-Type": "application/json", "X-Subagents-Parent": PARENT}
        words["X-Subagents-Workspace"] = str(stage.request.workspace)
        words["Authorization"] = f"Bearer {token_at(Path(front.hello[PORT]['token_file']))}"

        async def ask(number: int, method: str, params: Any) -> dict[str, Any]:
            body = _request(number, method, params)
            head = "".join(f"{name}: {value}\r\n" for name, value in words.items())
            writer.write(f"POST /mcp HTTP/1.1\r\n{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            async with asyncio.timeout(BOUND):
                told = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                said = await reader.readuntil(b"\r\n0\r\n\r\n")  # chunks, of server-sent events
            if "mcp-session-id: " in told:
                words["Mcp-Session-Id"] = told.partition("mcp-session-id: ")[2].partition("\r\n")[0]
            data = next(line for line in said.splitlines() if line.startswith(b"data: {"))
            found: dict[str, Any] = json.loads(data[6:])
            return found

        yield ask
        writer.close()
    finally:
        serving.cancel()
        with suppress(asyncio.CancelledError):
            await serving


def _request(number: int, method: str, params: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params}).encode()
