"""Agents at work call the tools that they have of us, through the program that their sandbox has for it."""

import asyncio
import json
import os
import platform
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from acp_runtime.callers import OPERATOR, Leader
from acp_runtime.core.errors import Rejected
from acp_runtime.core.inputs import PromptAnswered, Send
from acp_runtime.core.lineage import Orchestration
from acp_runtime.core.request import Questions, RequestKind
from acp_runtime.manager.delivery import prompt_of
from acp_runtime.manager.local_launcher import LocalLauncher
from acp_runtime.manager.tools_socket import TOKEN_VARIABLE
from acp_runtime.mcp.inside import MAX_LINE, serve_inside
from acp_runtime.service import Runtime
from acp_runtime.service.inside import Inside
from acp_runtime.session.catalogue import AgentKind
from acp_runtime.views import SubagentView
from sandbox.programs import program
from tests.histories import after
from tests.integration.manager.conftest import BOUND, PARENT, Ground, until
from tests.integration.service.conftest import Bench

AGENT = Path(__file__).parents[2] / "agents" / "tooled_agent.py"
HELLO = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
QUESTION = {"name": "ask_parent", "arguments": {"question": "Which?", "choices": ["a", "b"]}}
SHAPE = {"type": "object", "properties": {"count": {"type": "integer"}}, "required": ["count"]}


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    ground = Ground(tmp_path, kinds={"scripted": AgentKind("scripted", (sys.executable, str(AGENT)))})
    async with opened(ground) as runtime:
        yield Bench(ground, runtime)


@asynccontextmanager
async def opened(ground: Ground) -> AsyncIterator[Runtime]:
    """A manager whose agents are processes with tools."""
    workspace = ground.folder / "workspace"
    workspace.mkdir(exist_ok=True)
    launcher = LocalLauncher(ground.folder / "agents", os.environ)
    async with ground.runtime() as plain:
        config = plain.config
    async with Runtime.open(ground.path, launcher=launcher, config=config) as runtime:
        yield runtime


def tool(name: str, **given: Any) -> str:
    return f"[[tool:{name}|{json.dumps(given).replace(']]', '] ]')}]]"


async def spawned(runtime: Runtime, ground: Ground, task: str, **more: Any) -> str:
    return (await runtime.spawn(PARENT, ground.request(task, workspace=ground.folder / "workspace", **more))).id


async def settled(runtime: Runtime, subagent: str) -> SubagentView:
    return await until(runtime, subagent, lambda view: view.settled)


def words(view: SubagentView) -> Any:
    return json.loads(view.newest.result)


@pytest.mark.requirement("D10.52")
async def test_a_leaf_has_two_tools_and_asks_its_parent_who_answers(bench: Bench) -> None:
    runtime = bench.runtime
    task = tool("ask_parent", question="Which colour?", choices=["red", "green"])
    subagent = await spawned(runtime, bench.ground, f"[[tools]][[say: ]]{task}")
    view = await until(runtime, subagent, lambda each: bool(each.requests))
    (request,) = view.requests
    assert (request.kind, request.title, request.writing) == (RequestKind.ASK, "Which colour?", "any text")
    async with runtime.turn(PARENT) as turn:
        assert 'needs an answer: "Which colour?". Options: "1 = red; 2 = green; or as text any text"' in turn.text
    await runtime.answer(PARENT, subagent, request.id, "2")
    view = await settled(runtime, subagent)
    told, _, answer = view.newest.result.partition(" {")
    assert told == "ask_parent report_result"
    assert json.loads("{" + answer) == {
        "success": True, "request_id": "a1", "status": "answered", "answer": "green", "by": "parent",
    }  # fmt: skip
    await runtime.send(PARENT, subagent, "[[say:on]]")
    view = await settled(runtime, subagent)
    assert view.newest.result == "on", "the answer was taken: it is not told again"


@pytest.mark.requirement("D10.52")
async def test_an_answer_that_comes_after_the_turn_is_put_before_the_next_prompt(bench: Bench) -> None:
    runtime = bench.runtime
    subagent = await spawned(runtime, bench.ground, f"{tool('ask_parent', question='Which?')}[[say:never]]")
    view = await until(runtime, subagent, lambda each: bool(each.requests))
    living = runtime._supervisor.actor(subagent)  # the agent does not wait: it is told so by hand
    assert living is not None
    await living.ask(PromptAnswered(1, view.newest.id, "end_turn", 0))
    await runtime.answer(PARENT, subagent, view.requests[0].id, text="the blue one")
    assert [each.words for each in living.state.answers] == ["the blue one"]
    task, _ = prompt_of(after(living.state, Send("go on")), f"{subagent}.t2")
    assert task == "Your question was: Which?\nYour parent answers: the blue one\n\ngo on"
    await runtime.stop(PARENT, subagent)


@asynccontextmanager
async def tools_of(bench: Bench, subagent: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Be the program that a sandbox has for the tools of an agent."""
    ours, theirs = socket.socketpair()
    inside = Inside(bench.runtime._store, bench.runtime._supervisor, subagent, 1, asyncio.Lock())
    serving = asyncio.create_task(
        serve_inside(bench.runtime, inside, *await asyncio.open_unix_connection(sock=ours), b"")
    )
    reader, writer = await asyncio.open_unix_connection(sock=theirs)
    async with asyncio.timeout(BOUND):
        try:
            said(writer, "initialize", params=HELLO, id=0)
            await reader.readline()
            said(writer, "notifications/initialized", params={})
            yield reader, writer
        finally:
            writer.close()
            await serving


def said(writer: asyncio.StreamWriter, method: str, *, params: Any, **more: int) -> None:
    writer.write(json.dumps({"jsonrpc": "2.0", "method": method, "params": params, **more}).encode() + b"\n")


async def answered(reader: asyncio.StreamReader) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(await reader.readline())["result"]["structuredContent"]
    return told


@pytest.mark.requirement("D10.52")
@pytest.mark.parametrize("fate", ["read", "left alone", "cut", "read too late"])
async def test_an_answer_that_an_agent_may_not_have_read_is_told_again_and_asked_of_nobody_twice(
    bench: Bench, fate: str
) -> None:
    runtime, go = bench.runtime, bench.ground.folder / "go"
    subagent = await spawned(runtime, bench.ground, f"[[wait:{go}]][[say:done]]")
    await until(runtime, subagent, lambda view: view.current_task is not None)
    async with tools_of(bench, subagent) as (reader, writer):
        said(writer, "tools/call", params=QUESTION, id=1)
        await until(runtime, subagent, lambda view: bool(view.requests))
        if fate == "left alone":
            said(writer, "notifications/cancelled", params={"requestId": 1})
            said(writer, "ping", params={}, id=2)
            assert json.loads(await reader.readline())["id"] == 2
        if fate == "cut":
            writer.close()
        await runtime.answer(PARENT, subagent, "a1", "2")
        if fate in ("read", "read too late"):
            assert (await answered(reader))["answer"] == "b"
        if fate == "left alone":
            said(writer, "tools/call", params=QUESTION, id=3)
            again = await answered(reader)
            assert (again["request_id"], again["answer"]) == ("a1", "b")
        if fate == "read too late":
            await runtime.cancel(PARENT, subagent)
            await settled(runtime, subagent)
        elif fate != "cut":
            go.touch()
            await settled(runtime, subagent)
    go.touch()
    await settled(runtime, subagent)
    await runtime.send(PARENT, subagent, "and now?")
    told = (await settled(runtime, subagent)).newest.result
    again = "Your question was: Which?\nYour parent answers: b\n\n" if fate in ("cut", "read too late") else ""
    assert told == f"{again}and now?"


@pytest.mark.requirement("D10.52")
async def test_a_question_of_a_stopped_subagent_is_closed_and_the_same_question_is_one(bench: Bench) -> None:
    runtime = bench.runtime
    asked = tool("ask_parent", question="Which?")
    subagent = await spawned(runtime, bench.ground, asked)
    await until(runtime, subagent, lambda each: bool(each.requests))
    inside = Inside(runtime._store, runtime._supervisor, subagent, 1, asyncio.Lock())
    again = await inside.ask("Which?", (), seconds=0)
    assert (again.request_id, again.open) == ("a1", True)
    for number in range(2, 9):
        await inside.ask(f"Which {number}?", (), seconds=0)
    with pytest.raises(Rejected, match="8 of your questions are open"):
        await inside.ask("One more?", (), seconds=0)
    for text, choices, why in [(" ", (), "is blank"), ("x" * 2_001, (), "2001"), ("x", ("a", "a"), "twice")]:
        with pytest.raises(Rejected, match=why):
            await inside.ask(text, choices, seconds=0)
    with pytest.raises(Rejected, match="you have asked no question"):
        await inside.wait("a99", seconds=0)
    view = await runtime.stop(PARENT, subagent)
    assert view.requests == ()
    with pytest.raises(Rejected, match="ended"):
        await inside.ask("And now?", (), seconds=0)


@pytest.mark.requirement("D10.53")
async def test_a_result_is_reported_in_the_shape_that_was_asked_for_and_the_last_one_counts(bench: Bench) -> None:
    wrong, early = tool("report_result", result={"count": "many"}), tool("report_result", result={"count": 1})
    task = f"{wrong}{early}{tool('report_result', result={'count': 2})}"
    subagent = await spawned(bench.runtime, bench.ground, task, result_schema=SHAPE)
    view = await settled(bench.runtime, subagent)
    assert view.newest.text.startswith("[[tool:"), "what is asked for stands in the instructions"
    refused = json.loads(view.newest.result[: view.newest.result.index("}") + 1])
    assert refused == {"success": False, "kind": "result_invalid", "error": "count: 'many' is not of type 'integer'"}
    assert json.loads(view.newest.report) == {"count": 2}
    told = await bench.call("get_background_subagent_status", id=subagent)
    assert told["result"]["report"] == {"count": 2}
    await bench.runtime.send(PARENT, subagent, "[[say:no report]]")
    assert (await settled(bench.runtime, subagent)).newest.report == ""


@pytest.mark.requirement("D10.53")
async def test_a_model_says_the_shape_of_the_results_of_each_that_it_spawns(bench: Bench) -> None:
    wrong = tool("report_result", result={"count": "many"})
    second = {"purpose": "b", "cwd": "/workspace", "initial_task": wrong}
    told = await bench.spawn(wrong, result_schema=SHAPE, tasks=[second])
    one, other = [words(await settled(bench.runtime, each["id"])) for each in told["subagents"]]
    assert (one.get("kind"), other["success"]) == ("result_invalid", True), "the shape is that of the first alone"
    for schema, why in [
        ("{}", "result_schema cannot be '{}'"),
        ({"type": "colour"}, "result_schema is no JSON schema"),
    ]:
        answer = await bench.spawn("x", result_schema=schema)
        assert (answer["kind"], answer["error"].startswith(why)) == ("invalid", True), answer


async def test_a_shape_that_is_none_is_refused_and_nothing_is_fetched_for_it(bench: Bench) -> None:
    for schema, why in [({"type": "colour"}, "is no JSON schema"), ({"title": "x" * 20_000}, "at most 16384")]:
        with pytest.raises(Rejected, match=why):
            await spawned(bench.runtime, bench.ground, "x", result_schema=schema)
    elsewhere = {"$ref": "http://127.0.0.1:9/schema.json"}
    task = tool("report_result", result=1)
    subagent = await spawned(bench.runtime, bench.ground, task, result_schema=elsewhere)
    assert "cannot be checked" in words(await settled(bench.runtime, subagent))["error"]


@pytest.mark.requirement("T2")
async def test_a_result_that_would_be_compared_with_a_pattern_for_ever_holds_nobody_up(bench: Bench) -> None:
    """A pattern that looks harmless, and the text that an agent finds for it: here nobody else would go on."""
    shape = {"type": "string", "pattern": "^(a+)+$"}
    task = tool("report_result", result="a" * 64 + "!")
    subagent = await spawned(bench.runtime, bench.ground, task, result_schema=shape)
    answer = words(await settled(bench.runtime, subagent))
    assert (answer["kind"], "takes too long" in answer["error"]) == ("result_invalid", True)


async def tools_program(path: Path) -> tuple[asyncio.subprocess.Process, asyncio.StreamWriter]:
    """Start the program that a sandbox has for its tools; return it with its standard input."""
    machine = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
    process = await asyncio.create_subprocess_exec(
        program("tools", machine), path, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, env={TOKEN_VARIABLE: "x"}
    )
    assert process.stdin is not None
    return process, process.stdin


async def test_a_message_that_was_too_long_for_a_manager_that_died_is_not_begun_in_its_midst_with_the_next(
    tmp_path: Path,
) -> None:
    path = tmp_path / "tools.sock"
    came: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
    async with asyncio.timeout(BOUND), await asyncio.start_unix_server(lambda *both: came.put_nowait(both), path):
        process, stdin = await tools_program(path)
        for said, read in ((b'{"method":"m","params":"' + b"x" * 2 * MAX_LINE, 1000), (b'","id":1}\n{"id":2}\n', 0)):
            reader, writer = await came.get()
            assert (await reader.readline()).startswith(b"subagents-tools 1 x")
            writer.write(b"ok\n")
            stdin.write(said)
            await reader.readexactly(read)
            if read:
                writer.close()
        assert await reader.readline() == b'{"id":2}\n'
        stdin.close()
        assert await process.wait() == 0
        writer.close()


async def test_a_program_whose_agent_has_left_looks_for_its_manager_no_more(tmp_path: Path) -> None:
    process, stdin = await tools_program(tmp_path / "nobody.sock")
    stdin.close()
    async with asyncio.timeout(BOUND):  # half of the time for which it would look for one
        assert await process.wait() == 0


@pytest.mark.requirement("T12")
async def test_a_message_from_a_sandbox_is_refused_beyond_its_own_smaller_bound(bench: Bench) -> None:
    subagent = await spawned(bench.runtime, bench.ground, "[[tools]]")
    await settled(bench.runtime, subagent)
    ours, theirs = socket.socketpair()
    inside = Inside(bench.runtime._store, bench.runtime._supervisor, subagent, 1, asyncio.Lock())
    connection = await asyncio.open_unix_connection(sock=ours)
    serving = asyncio.create_task(serve_inside(bench.runtime, inside, *connection, b""))
    reader, writer = await asyncio.open_unix_connection(sock=theirs)
    for length, code in ((MAX_LINE - 100, -32602), (MAX_LINE, -32600)):
        asked = {"method": "tools/call", "params": {"name": "x" * length}, "jsonrpc": "2.0", "id": length}
        writer.write(json.dumps(asked).encode() + b"\n")
        async with asyncio.timeout(BOUND):
            answer = json.loads(await reader.readline())
        assert (answer["id"], answer["error"]["code"]) == (length, code)
    assert "at most 1048576 are allowed: put more into a file" in answer["error"]["message"]
    writer.close()
    async with asyncio.timeout(BOUND):
        await serving


async def test_after_a_message_that_was_too_long_an_agent_uses_its_tools_as_before(bench: Bench) -> None:
    task = "".join(f"[[long:{length}]]" for length in (MAX_LINE, 3 * MAX_LINE)) + "[[say: then ]][[tools]]"
    subagent = await spawned(bench.runtime, bench.ground, task)
    errors, _, names = (await settled(bench.runtime, subagent)).newest.result.partition(" then ")
    assert errors.count('"code": -32600') == errors.count("at most 1048576 are allowed: put more into a file") == 2
    assert names == "ask_parent report_result"


@pytest.mark.requirement("D10.40")
async def test_who_leads_others_reads_its_own_limits_with_its_tools(tmp_path: Path) -> None:
    ground = Ground(tmp_path, kinds={"scripted": AgentKind("scripted", (sys.executable, str(AGENT)))})
    ground.changes["orchestration"] = Orchestration(max_spawn_depth=2, max_concurrent_children=5)
    async with opened(ground) as runtime:
        leader = await spawned(runtime, ground, f"[[wait:{tmp_path / 'go'}]]", role="orchestrator")
        await until(runtime, leader, lambda view: view.current_task is not None)
        async with tools_of(Bench(ground, runtime), leader) as (reader, writer):
            said(writer, "tools/list", params={}, id=1)
            tools = json.loads(await reader.readline())["result"]["tools"]
        (spawn,) = (each for each in tools if each["name"] == "spawn_background_subagent")
        limits = "At most 5 are open at one time, one_shot ones among them. agent_kind: scripted. preset: friendly, "
        assert limits in spawn["description"]
        assert spawn["description"].endswith("role: leaf.")
        (tmp_path / "go").touch()


@pytest.mark.requirement("T12")
async def test_what_a_subagent_says_at_great_length_takes_its_leader_no_tools(tmp_path: Path) -> None:
    ground = Ground(tmp_path, kinds={"scripted": AgentKind("scripted", (sys.executable, str(AGENT)))})
    ground.changes["orchestration"] = Orchestration(max_spawn_depth=2)
    async with opened(ground) as runtime:
        leader = await spawned(runtime, ground, "[[tools]]", role="orchestrator")
        more = ground.request(f"[[bigline:{3 * MAX_LINE}]]", purpose="talk", workspace=ground.folder / "workspace")
        leaf = (await runtime.spawn(Leader(leader), more)).id
        await settled(runtime, leader)
        poll, look = tool("poll_background_subagent", id=leaf), tool("list_background_subagents")
        await runtime.send(PARENT, leader, f"{poll}{poll}[[say: then ]]{look}")
        polled, _, listed = (await settled(runtime, leader)).newest.result.partition(" then ")
        assert f"characters; all is in the resource subagents://{leaf}/transcript" in polled
        assert [each["id"] for each in json.loads(listed)["subagents"]] == [leaf]


async def test_where_nobody_takes_questions_the_agent_is_told_to_go_on_alone(bench: Bench) -> None:
    task = tool("ask_parent", question="Which?")
    subagent = await spawned(bench.runtime, bench.ground, task, questions=Questions.REFUSE)
    answer = words(await settled(bench.runtime, subagent))
    assert (answer["kind"], "decide for yourself" in answer["error"]) == ("questions_refused", True)


@pytest.mark.requirement("T23")
async def test_a_token_that_is_forged_or_anothers_is_refused_in_the_protocols_form_and_told(bench: Bench) -> None:
    runtime = bench.runtime
    other = await spawned(runtime, bench.ground, "[[token]]")
    token = (await settled(runtime, other)).newest.result
    assert len(token) == 64
    for stranger in (token, "0" * 64, "x"):
        subagent = await spawned(runtime, bench.ground, f"[[stranger:{stranger}]]")
        view = await settled(runtime, subagent)
        assert words(view)["error"]["code"] == -32001
        assert "token_refused" in words(view)["error"]["message"]
        rows = (await runtime.poll(OPERATOR, subagent, since=0)).rows
        assert [row.kind for row in rows if row.kind == "tools_refused"] == ["tools_refused"]
    await runtime.send(PARENT, other, "[[token]]")
    assert (await settled(runtime, other)).newest.result == token
    await runtime.stop(PARENT, other)
    expired = await spawned(runtime, bench.ground, f"[[stranger:{token}]]")
    assert "token_refused" in words(await settled(runtime, expired))["error"]["message"]
