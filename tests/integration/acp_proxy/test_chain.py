"""The proxy as a link of a conductor's chain."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from acp_runtime.acp_proxy import courier, link
from acp_runtime.acp_proxy.link import Link
from acp_runtime.core.roster import NEWS
from tests.agents.raw_client import RawClient, stop_reason
from tests.e2e.daemon_site import BOUND, DaemonSite
from tests.integration.acp_proxy.conftest import AGENTS, COMMAND, PATIENT
from tests.integration.acp_proxy.desk import Desk

pytestmark = pytest.mark.requirement("D10.24")


@pytest.mark.parametrize("names", [(), ("--old",), ("--between",)])
def test_a_link_of_a_chain_tells_wakes_and_shows_as_a_proxy_of_its_own_does(
    site: DaemonSite, tmp_path: Path, names: tuple[str, ...]
) -> None:
    link = (sys.executable, "-I", str(PATIENT), "acp", "--wake")
    agent = (sys.executable, str(AGENTS / "parent_agent.py"), "--ask")
    editor = RawClient(tmp_path, AGENTS / "conductor.py", *names, *link, "--", *agent, **site.env)
    try:
        at = Desk(site, editor, subagents={})
        running = editor.begin("[[say:here]][[hang-politely]]")
        at.until_said("here")
        at.done("[[say:found it]]")
        editor.until(lambda message: "subagent_update" in json.dumps(message))
        editor.cancel()
        assert stop_reason(editor.answer(running)) == "cancelled"
        asked = editor.until(lambda message: message.get("method") == "session/request_permission")
        editor.messages.clear()
        prompt = {"sessionId": editor.session, "prompt": [{"type": "text", "text": "[[blocks]]"}]}
        waiting = editor.start("session/prompt", prompt)
        taken = editor.until(lambda message: message.get("method") == "$/cancel_request")
        assert taken["params"]["requestId"] == asked["id"]
        assert stop_reason(editor.answer(waiting)) == "end_turn"
        assert NEWS in at.editor.said()
        at.until_states("committed")
    finally:
        editor.stdin.close()
        editor.end()
        editor.close()


def test_a_link_that_is_used_as_an_agent_or_told_nonsense_says_so(tmp_path: Path) -> None:
    editor = RawClient(tmp_path, COMMAND, "acp", HOME=str(tmp_path), XDG_RUNTIME_DIR=str(tmp_path))
    editor.send(b"no message")
    refused = editor.call("initialize", {"protocolVersion": 1})["error"]
    assert (refused["code"], "proxy/initialize" in refused["message"]) == (-32600, True)
    editor.stdin.close()
    assert editor.end() == 0
    editor.close()


class Conducted:
    """A link in this process, with what its conductor says to it and hears of it."""

    def __init__(self, link: Link, given: int, said: asyncio.StreamReader) -> None:
        self.link = link
        self._given = given
        self._said = said

    def say(self, **message: Any) -> None:
        os.write(self._given, json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")

    async def until(self, wanted: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        async with asyncio.timeout(BOUND):
            while not wanted(message := dict(json.loads(await self._said.readline()))):
                pass
            return message

    async def call(self, ident: int, method: str, **params: Any) -> None:
        """Ask, and answer for the agent."""
        self.say(id=ident, method=method, params=params)
        await self.until(lambda message: message.get("id") == ident)
        self.say(id=ident, result={"protocolVersion": 1, "sessionId": "s"})
        await self.until(lambda message: message.get("id") == ident)

    async def successor(self, method: str) -> dict[str, Any]:
        """Return the next message of a kind that goes to the agent."""
        return await self.until(lambda message: message.get("params", {}).get("method") == method)


@asynccontextmanager
async def conducted(site: DaemonSite, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Conducted]:
    """A link that holds a prompt of the editor: its agent does not end the turn that the link began."""
    for name, value in site.env.items():
        monkeypatch.setenv(name, value)
    (theirs, given), (said, out) = os.pipe(), os.pipe()
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, os.fdopen(said, "rb", 0))
    at = Conducted(Link(site.env, wake=True), given, reader)
    running = asyncio.create_task(at.link.run(os.fdopen(theirs, "rb", 0), os.fdopen(out, "wb", 0)))
    try:
        await at.call(1, "proxy/initialize", protocolVersion=1)
        at.say(id=2, method="session/new", params={"cwd": str(site.workspace), "mcpServers": []})
        opened = await at.successor("session/new")
        at.say(id=2, result={"sessionId": "s"})
        parent = opened["params"]["params"]["mcpServers"][-1]["args"][-1]
        request = {"agent": "scripted", "workspace": str(site.workspace), "task": "[[say:found]]", "purpose": "look"}
        await asyncio.to_thread(site.client.call, "spawn", parent, request=request)
        await at.successor("session/prompt")
        at.say(id=3, method="session/prompt", params={"sessionId": "s", "prompt": []})
        await at.successor("session/cancel")
        yield at
        async with asyncio.timeout(BOUND):
            at.link.terminate()
            assert await running == 0
    finally:
        running.cancel()
        transport.close()
        os.close(given)


async def test_of_what_comes_behind_a_prompt_that_is_held_so_much_is_read_and_no_more(
    site: DaemonSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(courier, "YIELD_SECONDS", 10 * BOUND)
    monkeypatch.setattr(link, "MOST_HELD", 1_000)
    async with conducted(site, monkeypatch) as at, asyncio.timeout(BOUND):
        at.say(method="_vendor/much", params={"text": "x" * 2_000})
        while not at.link._lines.waiting:  # noqa: ASYNC110 - it is read by this loop
            await asyncio.sleep(0)
        transport = at.link._given._transport
        assert transport is not None
        assert not transport.is_reading()
        at.link._chain.conversation._sessions["s"].stop()  # the answer that it waits for is not read, either
        assert (await at.successor("session/prompt"))["id"] == 3
        await at.successor("_vendor/much")
        assert (at.link._lines.waiting, transport.is_reading()) == (0, True)
        at.say(id=3, result={"stopReason": "end_turn"})
        await at.until(lambda message: message.get("id") == 3)


async def test_a_link_that_is_ended_by_a_signal_waits_for_no_prompt_that_is_held(
    site: DaemonSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(courier, "YIELD_SECONDS", 10 * BOUND)
    monkeypatch.setattr(link, "LAST_WORDS_SECONDS", 10 * BOUND)
    async with conducted(site, monkeypatch):
        pass
