"""What a tool's call costs by MCP, beside the same call of the table: one after the other, over a pair of sockets."""

import asyncio
import json
import socket
import time
from pathlib import Path
from typing import Any

from acp_runtime.mcp.session import Session
from acp_runtime.mcp.streams import serve
from acp_runtime.mcp.turns import Telling
from acp_runtime.service import Runtime
from acp_runtime.tools.tool import Desk
from acp_runtime.tools.toolbox import Toolbox
from tests.bench.measure import Figure
from tests.bench.runtime import BOUND, PARENT, Stage

TOOL = "list_background_subagents"
HELLO = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "bench", "version": "1"}}


async def tool_calls(stage: Stage, folder: Path, *, count: int) -> list[Figure]:
    """Record both, for a parent with one idle subagent."""
    path = folder / "mcp" / "store.db"
    async with Runtime.open(path, launcher=stage.launcher, config=stage.config) as runtime:
        view = await runtime.spawn(PARENT, stage.request)
        await runtime.wait(PARENT, [view.id], seconds=BOUND)
        toolbox = Toolbox(Desk(runtime, PARENT, Path(stage.request.workspace)))
        ours, theirs = socket.socketpair()
        session = Session(toolbox, Telling(runtime, PARENT))
        serving = asyncio.create_task(serve(session, *await asyncio.open_unix_connection(sock=ours)))
        reader, writer = await asyncio.open_unix_connection(sock=theirs)
        try:
            direct, carried = await _both(toolbox, reader, writer, count)
        finally:
            writer.close()
            await serving
    return [
        Figure("a tool's call, straight to the table", "ms", "local", tuple(direct)),
        Figure("a tool's call, by MCP", "ms", "local", tuple(carried)),
    ]


async def _both(
    toolbox: Toolbox, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, count: int
) -> tuple[list[float], list[float]]:
    direct, carried = [], []
    await _ask(reader, writer, -1, "initialize", HELLO)
    for number in range(count + 1):
        begin = time.perf_counter()
        await toolbox.call(TOOL)
        between = time.perf_counter()
        answer = await _ask(reader, writer, number, "tools/call", {"name": TOOL})
        end = time.perf_counter()
        assert answer["result"]["structuredContent"]["subagents"], answer
        if number:  # the first one tells what the parent has not seen
            direct.append((between - begin) * 1000)
            carried.append((end - between) * 1000)
    return direct, carried


async def _ask(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int, method: str, params: Any
) -> dict[str, Any]:
    request = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
    writer.write(json.dumps(request).encode() + b"\n")
    async with asyncio.timeout(BOUND):
        found: dict[str, Any] = json.loads(await reader.readline())
    return found
