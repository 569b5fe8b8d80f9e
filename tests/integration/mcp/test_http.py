"""MCP over HTTP at a daemon's port of 127.0.0.1: the SDK's client, with sessions and without, and raw requests."""

import asyncio
import json
from contextlib import AsyncExitStack
from typing import Any

import httpx2 as httpx
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from acp_runtime.core.roster import parse_block
from acp_runtime.mcp import guests, web
from tests.integration.api.conftest import BOUND, Site
from tests.integration.mcp.door import ACCEPT, HELLO, MODERN, Door, calls, door, door_of, served, site, until

__all__ = ["door", "served", "site"]


async def ask(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.structured_content
    assert isinstance(result.structured_content, dict)
    return result.structured_content


async def spawned(client: Client, task: str = "[[say:hello]]") -> str:
    given = {"purpose": "a test", "initial_task": task, "cwd": "/workspace", "agent_kind": "scripted"}
    return str((await ask(client, "spawn_background_subagent", **given))["id"])


async def told(client: Client) -> list[str]:
    """Return of whom a look around tells something."""
    block = parse_block((await ask(client, "list_background_subagents")).get("background_subagents", ""))
    return [] if block is None else [each.subagent for each in block.nudges]


@pytest.mark.requirement("D10.48")
@pytest.mark.parametrize("mode", ["legacy", MODERN])
async def test_a_client_over_http_spawns_collects_and_acknowledges_once(door: Door, mode: str) -> None:
    async with door.client("mine", mode) as client:
        ident = await spawned(client)
        await door.ended(ident)
        assert await told(client) == [ident]
        assert await door.states("mine") == ["claimed"]
        assert await told(client) == []
        assert await door.states("mine") == ["committed"]
        waited = await ask(client, "wait_background_subagents", ids=[ident])
        assert waited["subagents"][0]["result"]["text"] == "hello"


@pytest.mark.requirement("D10.48")
async def test_two_sessions_of_one_repository_hear_of_their_own_only(door: Door) -> None:
    async with door.client() as one, door.client() as two:
        idents = [await spawned(client) for client in (one, two)]
        for ident in idents:
            await door.ended(ident)
        assert [await told(client) for client in (one, two)] == [[ident] for ident in idents]
        seen = await two.call_tool("get_background_subagent_status", {"id": idents[0]})
        assert seen.structured_content["kind"] == "unknown_subagent"


@pytest.mark.requirement("D10.48")
async def test_a_parent_that_is_named_again_is_told_what_its_last_session_did_not_acknowledge(door: Door) -> None:
    async with door.client("mine") as client:
        ident = await spawned(client)
        await door.ended(ident)
        assert await told(client) == [ident]
    async with door.client("mine", MODERN) as client:
        assert await told(client) == []
    assert await door.states("mine") == ["committed"]


async def ready(door: Door, http: httpx.AsyncClient, mode: str) -> None:
    """Have what a client sends be a request of one era: with a session that it has opened, or with none."""
    if mode == MODERN:
        http.headers |= {"MCP-Protocol-Version": MODERN, "Mcp-Method": "tools/call"}
        return
    begun = await door.post("initialize", http=http, **HELLO)
    assert begun.status_code == 200
    http.headers |= {"Mcp-Session-Id": begun.headers["mcp-session-id"], "MCP-Protocol-Version": "2025-11-25"}
    done = await http.post(door.url, json={"jsonrpc": "2.0", "method": "notifications/initialized"})
    assert done.status_code == 202


def call_of(mode: str, name: str, **arguments: Any) -> dict[str, Any]:
    meta = {
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientCapabilities": {},
        "progressToken": 1,
    }
    return {"name": name, "arguments": arguments, **({"_meta": meta} if mode == MODERN else {})}


async def wait_for(door: Door, http: httpx.AsyncClient, mode: str, ident: str) -> httpx.Response:
    await ready(door, http, mode)
    name = "wait_background_subagents"
    body = {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": call_of(mode, name, ids=[ident])}
    return await http.post(door.url, json=body, headers={"Mcp-Name": name})


@pytest.mark.requirement("D10.48")
@pytest.mark.parametrize("mode", ["legacy", MODERN])
async def test_a_client_that_leaves_in_the_middle_of_a_wait_ends_it_and_is_told_the_next_time(
    door: Door, mode: str, served: list[web.Web]
) -> None:
    go = door.site.root / "go"
    async with door.client("mine") as client:
        ident = await spawned(client, f"[[wait:{go}]]")
        async with door.http("mine") as http:
            leaving = asyncio.create_task(wait_for(door, http, mode, ident))
            await until(lambda: calls(served) == 1)
            leaving.cancel()
            await asyncio.gather(leaving, return_exceptions=True)
            await until(lambda: calls(served) == 0)
        go.touch()
        await door.ended(ident)
        assert await door.states("mine") == ["pending"]
        assert await told(client) == [ident]


@pytest.mark.requirement("D10.48")
@pytest.mark.parametrize(
    ("mode", "changes", "said"),
    [
        ("legacy", {"X-Subagents-Workspace": ""}, "name the folder to work on"),
        ("legacy", {"X-Subagents-Workspace": "repo"}, "is no folder of this machine"),
        ("legacy", {"X-Subagents-Workspace": "/nowhere"}, "is no folder of this machine"),
        ("legacy", {"X-Subagents-Workspace": "/%00"}, "is no folder of this machine"),
        ("legacy", {"X-Subagents-Workspace": "/" + "x" * 5_000}, "is no folder of this machine"),
        ("legacy", {"X-Subagents-Tools": "all"}, "there is no tool set 'all'"),
        ("legacy", {"X-Subagents-Client": "subagent"}, "is no name for a client"),
        ("legacy", {"X-Subagents-Parent": "operator"}, "is no name for a parent"),
        ("legacy", {"X-Subagents-Parent": "subagent:bg-1"}, "names that begin with"),
        (MODERN, {}, "this version of the protocol has no sessions: name a parent"),
    ],
)
async def test_a_request_that_does_not_say_for_whom_it_is_gets_an_error_of_the_protocol(
    door: Door, mode: str, changes: dict[str, str], said: str
) -> None:
    async with door.http() as http:
        await ready(door, http, mode)
        name = "list_background_subagents"
        params = call_of(mode, name)
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        answer = await http.post(door.url, json=body, headers={"Mcp-Name": name, **changes})
        text = next(line for line in answer.text.splitlines() if "{" in line).removeprefix("data: ")
        assert json.loads(text)["error"]["code"] == -32602
        assert said in json.loads(text)["error"]["message"]


@pytest.mark.requirement("D10.48")
@pytest.mark.parametrize(
    ("body", "code", "said"),
    [
        (
            '{"jsonrpc": "2.0", "id": 1, "method": "ping", "params": []}',
            -32600,
            "no message of JSON-RPC 2.0: one object",
        ),
        ('[{"jsonrpc": "2.0", "id": 1, "method": "ping"}]', -32600, "no message of JSON-RPC 2.0: one object"),
        ('{"jsonrpc": "2.0", "id": null, "method": "ping"}', -32600, "the id of a request is"),
        ("{", -32700, "no JSON"),
        ("", -32700, "no JSON"),
    ],
)
async def test_what_is_no_message_is_refused_in_words_of_ours(door: Door, body: str, code: int, said: str) -> None:
    async with door.http() as http:
        answer = await http.post(door.url, content=body)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["code"] == code
    assert said in error["message"]
    assert "pydantic" not in answer.text


@pytest.mark.requirement("D10.48")
async def test_a_text_that_was_cut_within_a_character_is_taken_here_too(door: Door) -> None:
    async with door.http() as http:
        await ready(door, http, "legacy")
        given = call_of("legacy", "poll_background_subagent", id="cut \ud83d")
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": given})
        answer = await http.post(door.url, content=body)
    assert "cut \ufffd" in answer.text


@pytest.mark.requirement("D10.48")
async def test_what_the_url_says_counts_where_no_header_does(door: Door) -> None:
    async with httpx.AsyncClient(headers=ACCEPT | {"Authorization": f"bearer {door.token}"}, timeout=BOUND) as http:
        url = f"{door.url}?workspace={door.site.root / 'repo'}&parent=mine&tools=async_delegation"
        transport = streamable_http_client(url, http_client=http)
        async with asyncio.timeout(BOUND), Client(transport, mode="auto", cache=None) as client:
            assert "collect_task" in {each.name for each in (await client.list_tools()).tools}


@pytest.mark.requirement("D10.48")
async def test_more_parents_than_are_kept_push_out_who_asked_longest_ago_and_lose_nothing(
    door: Door, served: list[web.Web], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guests, "MAX_KEPT", 2)
    async with door.client("mine") as client:
        ident = await spawned(client)
        for number in range(3):
            async with door.client(f"another {number}") as other:
                assert await told(other) == []
        assert len(served[0]._guests._kept) == 2
        await door.ended(ident)
        assert await told(client) == [ident]


@pytest.mark.requirement("D10.48")
@pytest.mark.parametrize("mode", ["legacy", MODERN])
async def test_a_daemon_that_ends_answers_who_waits_and_the_next_has_the_same_token(
    site: Site, mode: str, served: list[web.Web]
) -> None:
    async with AsyncExitStack() as stack:
        async with door_of(site) as door:
            before = door.token
            async with door.client("mine") as client:
                ident = await spawned(client, f"[[wait:{site.root / 'go'}]]")
            http = await stack.enter_async_context(door.http("mine"))
            waiting = asyncio.create_task(wait_for(door, http, mode, ident))
            await until(lambda: calls(served) == 1)
        assert "the wait was ended, with the daemon" in (await waiting).text
    async with door_of(site) as door:
        assert door.token == before
