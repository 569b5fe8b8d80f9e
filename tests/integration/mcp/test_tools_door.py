"""How many sessions of an editor's agent in a sandbox have its tools at once, and what the next one is told."""

import asyncio
from pathlib import Path

from acp_runtime.acp_proxy.sandbox_tools import SERVED, SandboxTools
from acp_runtime.config import load
from acp_runtime.manager.tools_socket import ToolsSocket
from tests.histories import born
from tests.integration.manager.conftest import BOUND

BUSY = (
    f"no busy: {SERVED} sessions of this agent have its tools, and no more may at once; "
    "end one of them, or the agent, and begin this one again.\n"
)


async def test_an_editors_agent_has_tools_in_many_sessions_and_one_too_many_is_told_the_bound(tmp_path: Path) -> None:
    tools, path = SandboxTools(load(None, {"HOME": str(tmp_path)})), tmp_path / "tools.sock"
    writers: list[asyncio.StreamWriter] = []

    async def answered(session: int) -> str:
        (token,) = (each["value"] for each in tools.server(f"acp:{session}", "/w")["env"])
        reader, writer = await asyncio.open_unix_connection(str(path))
        writers.append(writer)
        writer.write(f"subagents-tools 1 {token}\n".encode())
        return (await reader.readline()).decode()

    assert SERVED > 8, "more than a subagent may have: an editor leaves its sessions open"
    async with asyncio.timeout(BOUND), ToolsSocket(path, tools.door(born()), gid=None):
        assert {await answered(session) for session in range(SERVED)} == {"ok\n"}
        assert await answered(SERVED) == BUSY
        writers[0].close()
        while await answered(SERVED) == BUSY:  # until its end has been noticed
            pass
        for each in writers:
            each.close()
