"""How many sessions of an editor's agent in a sandbox have its tools at once, and what the next one is told."""

import asyncio
from pathlib import Path

import pytest

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


@pytest.mark.requirement("T26")
async def test_a_session_that_the_editor_has_ended_is_cut_off_and_its_token_is_one_no_more(tmp_path: Path) -> None:
    tools, path = SandboxTools(load(None, {"HOME": str(tmp_path)})), tmp_path / "tools.sock"
    tokens = {name: tools.server(name, "/w")["env"][0]["value"] for name in ("acp:ended", "acp:other")}

    async def begun(name: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, str]:
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(f"subagents-tools 1 {tokens[name]}\n".encode())
        return reader, writer, (await reader.readline()).decode().partition(":")[0].strip()

    async def pinged(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(b'{"jsonrpc":"2.0","id":1,"method":"ping"}\n')
        return await reader.readline()

    async with asyncio.timeout(BOUND), ToolsSocket(path, tools.door(born()), gid=None):
        ended, other = await begun("acp:ended"), await begun("acp:other")
        assert (ended[2], other[2]) == ("ok", "ok")
        assert b'"result"' in await pinged(*ended[:2])
        tools.forget("acp:ended")
        assert await ended[0].read() == b""
        again = await begun("acp:ended")
        assert again[2] == "no token_refused"
        assert b'"result"' in await pinged(*other[:2])
        for each in (ended, other, again):
            each[1].close()
