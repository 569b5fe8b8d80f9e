"""A client of the protocol with the tools of one parent, over streams."""

import asyncio
import json
import socket
from contextlib import suppress
from typing import Any

import mcp_types as types
import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError

from acp_runtime.core.roster import parse_block
from acp_runtime.mcp import session as sessions
from acp_runtime.mcp import streams
from acp_runtime.mcp.mistakes import NOT_GREETED
from acp_runtime.mcp.server import BLOCK
from acp_runtime.tools import TOOLSETS
from tests.integration.manager.conftest import BOUND
from tests.integration.mcp.conftest import Connect, Link, client_of, linked, session_of
from tests.integration.service.conftest import Bench, done, working

HELLO = {
    "protocolVersion": "2025-11-25",
    "capabilities": {},
    "clientInfo": {"name": "a test", "version": "1"},
}
CALL = '{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": %s}'


def spawn_of(task: str) -> dict[str, Any]:
    return {"purpose": "a test", "initial_task": task, "cwd": "/workspace"}


def block_of(result: types.CallToolResult) -> str:
    """Return what an answer tells beside its own, which is the same in both forms."""
    assert isinstance(result.structured_content, dict)
    block = str(result.structured_content.get("background_subagents", ""))
    texts = [each.text for each in result.content if isinstance(each, types.TextContent)]
    assert texts[1:] == ([block] if block else [])
    return block


def nudges_of(result: types.CallToolResult) -> list[str]:
    block = parse_block(block_of(result))
    return [] if block is None else [each.subagent for each in block.nudges]


async def look(client: Client) -> types.CallToolResult:
    return await client.call_tool("list_background_subagents")


def request(ident: int, method: str, **params: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": ident, "method": method, "params": params}).encode() + b"\n"


def notification(method: str, **params: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "method": method, "params": params}).encode() + b"\n"


async def greeted(link: Link) -> Link:
    await link.say(request(0, "initialize", **HELLO))
    assert (await link.hear()).id == 0
    await link.say(b'{"jsonrpc": "2.0", "method": "notifications/initialized"}\n')
    return link


@pytest.mark.requirement("D10.40")
async def test_a_client_is_shown_the_tools_of_the_table_with_their_schemas_and_what_they_do(connect: Connect) -> None:
    async with connect() as client:
        tools = {each.name: each for each in (await client.list_tools()).tools}
        table = {tool.name: tool for each in TOOLSETS.values() for tool in each}
        assert set(tools) == set(table)
        for name, tool in table.items():
            assert tools[name].description == tool.sentence
            assert tools[name].input_schema == tool.schema()["parameters"]
        hints = {name: each.annotations for name, each in tools.items()}
        assert [name for name, each in hints.items() if each.read_only_hint] == [
            name for name, tool in table.items() if tool.kind == "read"
        ]
        assert {name for name, each in hints.items() if each.destructive_hint} == {
            "stop_background_subagent",
            "cancel_task",
        }
        assert hints["spawn_background_subagent"].open_world_hint
        assert not hints["spawn_background_subagent"].idempotent_hint
        assert hints["stop_background_subagent"].idempotent_hint


@pytest.mark.requirement("D10.40")
async def test_a_client_spawns_waits_and_reads_the_result_as_text_and_as_fields(connect: Connect) -> None:
    async with connect() as client:
        spawned = await client.call_tool("spawn_background_subagent", spawn_of("[[say:hello]]"))
        assert not spawned.is_error
        assert json.loads(spawned.content[0].text).items() <= spawned.structured_content.items()
        ident = spawned.structured_content["id"]
        waited = await client.call_tool("wait_background_subagents", {"ids": [ident], "mode": "all"})
        assert waited.structured_content["subagents"][0]["result"]["text"] == "hello"


@pytest.mark.requirement("D10.40")
async def test_what_a_tool_turns_down_is_an_answer_to_the_model_and_not_an_error_of_the_protocol(
    connect: Connect,
) -> None:
    async with connect() as client:
        refused = await client.call_tool("get_background_subagent_status", {"id": "bg-none"})
        assert refused.is_error
        assert refused.structured_content["kind"] == "unknown_subagent"
        wrong = await client.call_tool("get_background_subagent_status", {"id": 7})
        assert wrong.is_error
        assert "id cannot be 7" in wrong.structured_content["error"]


@pytest.mark.requirement("D10.40")
async def test_an_unknown_tool_is_an_error_of_the_protocol(connect: Connect) -> None:
    async with connect() as client:
        with pytest.raises(MCPError, match="Unknown tool: rm") as raised:
            await client.call_tool("rm")
        assert raised.value.error.code == types.INVALID_PARAMS


@pytest.mark.requirement("D10.41")
async def test_an_answer_tells_what_is_due_and_the_next_request_acknowledges_it(bench: Bench, connect: Connect) -> None:
    async with connect() as client:
        view = await done(bench, "[[say:hello]]")
        assert nudges_of(await look(client)) == [view.id]
        (nudge,) = await bench.runtime.nudges(bench.parent)
        assert nudge.state == "claimed"
        assert nudges_of(await look(client)) == []
        (nudge,) = await bench.runtime.nudges(bench.parent)
        assert nudge.state == "committed"


@pytest.mark.requirement("D10.41")
async def test_a_ping_or_a_list_of_tools_acknowledges_nothing(bench: Bench) -> None:
    await done(bench, "[[say:hello]]")
    async with linked(bench) as link:
        await greeted(link)
        listing = request(1, "tools/call", name="list_background_subagents")
        await link.say(listing)
        assert (await link.hear()).id == 1
        await link.say(request(2, "ping") + request(3, "tools/list"))
        assert {(await link.hear()).id, (await link.hear()).id} == {2, 3}
        assert [each.state for each in await bench.runtime.nudges(bench.parent)] == ["claimed"]


@pytest.mark.requirement("D10.41")
async def test_a_parent_that_comes_back_is_told_what_its_last_session_did_not_acknowledge(bench: Bench) -> None:
    view = await done(bench, "[[say:hello]]")
    async with client_of(bench) as client:
        assert nudges_of(await look(client)) == [view.id]
    async with client_of(bench) as client:
        assert nudges_of(await look(client)) == [view.id]
        assert nudges_of(await look(client)) == []


@pytest.mark.requirement("D10.41")
async def test_a_roster_that_was_seen_is_not_told_again_until_it_changes(bench: Bench, connect: Connect) -> None:
    async with connect() as client:
        told = await working(bench)
        assert told["name"] in block_of(await look(client))
        assert block_of(await look(client)) == ""
        await working(bench, "another")
        assert told["name"] in block_of(await look(client))


@pytest.mark.requirement("D10.41")
async def test_answers_to_tools_leave_the_guard_against_endless_wake_ups_as_it_is(bench: Bench) -> None:
    from acp_runtime.core.turns import Origin

    for number in range(3):
        await bench.runtime.begin_turn(bench.parent, "proxy", f"wake {number}", origin=Origin.WAKE)
    async with client_of(bench) as client:
        await look(client)
    await done(bench, "[[say:hello]]")
    assert (await bench.runtime._store.wakeable(bench.parent)).nudges == ()


@pytest.mark.requirement("D10.40")
async def test_a_client_that_asks_for_it_is_told_that_a_tool_still_waits(
    bench: Bench, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connect() as client:
        monkeypatch.setattr(sessions, "PROGRESS_SECONDS", 0.05)
        told = await working(bench)
        heard: list[str | None] = []

        async def hear(_passed: float, _total: float | None, message: str | None) -> None:
            heard.append(message)
            if len(heard) == 2:
                bench.say_go()

        async with asyncio.timeout(BOUND):
            waited = await client.call_tool("wait_background_subagents", {"ids": [told["id"]]}, progress_callback=hear)
        assert waited.structured_content["reason"] == "ended"
        assert heard[:2] == ["under way for 0 s", "under way for 0 s"]


@pytest.mark.requirement("D10.42")
@pytest.mark.parametrize("how", ["cancels", "leaves"])
async def test_a_client_that_goes_in_the_middle_of_a_wait_leaves_no_task_behind(
    bench: Bench, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "CLOSE_SECONDS", 10 * BOUND)  # the end of the session is not what ends the wait
    told = await working(bench)
    before = asyncio.all_tasks()
    async with linked(bench) as link:
        await greeted(link)
        wait = {"name": "wait_background_subagents", "arguments": {"ids": [told["id"]]}}
        await link.say(request(1, "tools/call", **wait) + request(2, "ping"))
        assert (await link.hear()).id == 2
        if how == "cancels":
            cancelled = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}
            await link.say(json.dumps(cancelled).encode() + b"\n" + request(3, "ping"))
            assert (await link.hear()).id == 3
            assert link.session._calls == 0
    assert {each for each in asyncio.all_tasks() - before if not each.done()} <= {asyncio.current_task()}
    assert (await bench.runtime.status(bench.parent, told["id"])).status.over is False


@pytest.mark.requirement("D10.42")
async def test_a_spawn_whose_client_leaves_is_there_for_the_next_session(bench: Bench) -> None:
    async with linked(bench) as link:
        await greeted(link)
        await link.say(request(1, "tools/call", name="spawn_background_subagent", arguments=spawn_of("[[say:hello]]")))
        await link.say(request(2, "ping"))
        assert (await link.hear()).id == 2
    async with client_of(bench) as client:
        listed = await look(client)
    assert [each["purpose"] for each in listed.structured_content["subagents"]] == ["a test"]


@pytest.mark.requirement("D10.42")
@pytest.mark.parametrize(
    ("line", "ident", "code", "said"),
    [
        ("nothing of ours", None, types.PARSE_ERROR, "no JSON"),
        ('{"jsonrpc": "1.0", "id": 1, "method": "ping"}', 1, types.INVALID_REQUEST, "no message of JSON-RPC 2.0"),
        ('{"jsonrpc": "2.0", "id": "a", "method": "ping", "params": []}', "a", types.INVALID_REQUEST, "no message"),
        ('{"jsonrpc": "2.0", "id": 1, "result": 7}', None, types.INVALID_REQUEST, "no message"),
        ("[]", None, types.INVALID_REQUEST, "no message"),
        ('{"jsonrpc": "2.0", "id": true, "method": "ping"}', None, types.INVALID_REQUEST, "the id of a request is"),
        ('{"jsonrpc": "2.0", "id": null, "method": "ping"}', None, types.INVALID_REQUEST, "the id of a request is"),
        ('{"jsonrpc": "2.0", "id": 1.5, "method": "ping"}', None, types.INVALID_REQUEST, "the id of a request is"),
        ("[" * 100_000, None, types.PARSE_ERROR, "no JSON"),
        (CALL % '{"name": 7}', 1, types.INVALID_PARAMS, "tools/call: params.name: input should be a valid string"),
        (CALL % '{"name": "x", "arguments": []}', 1, types.INVALID_PARAMS, "params.arguments: input should be"),
        (CALL % "{}", 1, types.INVALID_PARAMS, "params.name: field required"),
        ('{"jsonrpc": "2.0", "id": 1, "method": "nothing/there"}', 1, types.METHOD_NOT_FOUND, "Method not found"),
    ],
)
async def test_what_the_protocol_has_no_place_for_is_an_error_to_who_asked_and_the_session_goes_on(
    bench: Bench, line: str, ident: str | int | None, code: int, said: str
) -> None:
    async with linked(bench) as link:
        await greeted(link)
        await link.say(f"{line}\n".encode())
        error = await link.hear()
        assert (error.id, error.error.code) == (ident, code)
        assert said in error.error.message
        await link.say(request(2, "ping"))
        assert (await link.hear()).id == 2


@pytest.mark.requirement("D10.42")
@pytest.mark.parametrize("last", [False, True])
async def test_a_message_beyond_the_bound_is_refused_to_who_asked_without_being_kept(
    bench: Bench, *, last: bool
) -> None:
    """Clients may write the id of a request behind all else."""
    line = request(1, "tools/call", name="x" * 20_000)
    if last:
        line = json.dumps(dict(reversed(json.loads(line).items()))).encode() + b"\n"
    async with linked(bench, max_line=10_000) as link:
        await greeted(link)
        await link.say(line)
        error = await link.hear()
        assert (error.id, error.error.code) == (1, types.INVALID_REQUEST)
        assert "at most 10000" in error.error.message
        await link.say(request(2, "ping"))
        assert (await link.hear()).id == 2


@pytest.mark.requirement("D10.42")
async def test_in_place_of_an_answer_beyond_the_bound_an_error_says_so_and_what_it_told_is_told_again(
    bench: Bench,
) -> None:
    ident = (await bench.spawn(f"[[say:{'x' * 10_000}]]"))["id"]
    await bench.done(ident)
    async with linked(bench, max_line=10_000) as link:
        await greeted(link)
        poll = {"name": "poll_background_subagent", "arguments": {"id": ident, "since_seq": 0}}
        await link.say(request(1, "tools/call", **poll))
        error = await link.hear()
        assert (error.id, error.error.code) == (1, types.INTERNAL_ERROR)
        assert "and at most 10000 are carried: ask for less" in error.error.message
        await link.say(request(2, "tools/call", name="list_background_subagents"))
        assert f"({ident}) task {ident}.t1 completed" in (await link.hear()).result["structuredContent"][BLOCK]


@pytest.mark.requirement("T12")
async def test_a_message_of_very_many_values_is_refused_before_it_takes_memory(bench: Bench) -> None:
    """Agents speak to this server too, and an empty list costs many times its text."""
    values = b"[" + b"[]," * 200_000 + b"[]]"
    line = request(1, "tools/call", name="list_background_subagents", arguments={"x": 0})
    line = json.dumps(dict(reversed(json.loads(line).items()))).encode() + b"\n"
    async with linked(bench) as link:
        await greeted(link)
        await link.say(line.replace(b'"x": 0', b'"x": ' + values))
        error = await link.hear()
        assert (error.id, error.error.code) == (1, types.INVALID_REQUEST)
        assert "more than 131072 values" in error.error.message
        await link.say(request(2, "ping"))
        assert (await link.hear()).id == 2


@pytest.mark.requirement("D10.42")
async def test_a_client_that_never_says_hello_is_told_so_and_keeps_nothing(bench: Bench) -> None:
    async with linked(bench) as link:
        await link.say(request(1, "tools/call", name="list_background_subagents"))
        refused = (await link.hear()).error
        assert (refused.code, refused.message) == (types.INVALID_PARAMS, NOT_GREETED)
        await greeted(link)


@pytest.mark.requirement("D10.42")
async def test_a_text_that_was_cut_within_a_character_is_taken_with_a_mark_in_its_place(bench: Bench) -> None:
    async with linked(bench) as link:
        await greeted(link)
        await link.say(request(1, "tools/call", name="poll_background_subagent", arguments={"id": "cut \ud83d"}))
        answer = await link.hear()
        assert (answer.id, answer.result["isError"]) == (1, True)
        assert "cut \ufffd" in answer.result["structuredContent"]["error"]


@pytest.mark.requirement("D10.42")
async def test_more_calls_at_once_than_a_session_may_have_are_refused_one_by_one(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "MAX_CALLS", 1)
    told = await working(bench)
    async with linked(bench) as link:
        await greeted(link)
        wait = {"name": "wait_background_subagents", "arguments": {"ids": [told["id"]]}}
        await link.say(request(1, "tools/call", **wait) + request(2, "tools/call", **wait))
        refused = await link.hear()
        assert (refused.id, refused.result["structuredContent"]["kind"]) == (2, "busy")
        bench.say_go()
        assert (await link.hear()).id == 1


@pytest.mark.requirement("D10.42")
async def test_a_call_that_goes_on_behind_its_client_is_one_of_those_that_a_session_may_have(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "MAX_CALLS", 1)
    async with linked(bench) as link:
        await greeted(link)
        spawn = {"name": "spawn_background_subagent", "arguments": spawn_of("[[say:hello]]")}
        await link.say(request(1, "tools/call", **spawn) + request(2, "ping"))
        assert (await link.hear()).id == 2
        await link.say(notification("notifications/cancelled", requestId=1) + request(3, "ping"))
        assert (await link.hear()).id == 3
        assert not link.session.idle
        await link.say(request(4, "tools/call", **spawn))
        refused = await link.hear()
        assert (refused.id, refused.result["structuredContent"]["kind"]) == (4, "busy")


@pytest.mark.requirement("D10.42")
async def test_a_peer_that_reads_nothing_is_read_no_more_and_ends_by_itself(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "WRITE_SECONDS", 0.2)
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.setblocking(False)
        session = session_of(bench)
        serving = asyncio.create_task(streams.serve(session, *await asyncio.open_unix_connection(sock=ours)))
        flood = request(0, "initialize", **HELLO) + b"".join(
            request(number, "tools/list") for number in range(1, 9_999)
        )
        async with asyncio.timeout(BOUND):
            with suppress(OSError):
                await asyncio.get_running_loop().sock_sendall(theirs, flood)
            await serving
