"""An agent that is kept from its editor's machine is a parent as any other, and gets no more than it has itself."""

import asyncio
import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from acp_runtime.acp_proxy.confined import MOST, NarrowWay
from acp_runtime.acp_proxy.conversation import Conversation
from acp_runtime.acp_proxy.enclosed import Enclosed
from acp_runtime.acp_proxy.enclosure import Enclosure
from acp_runtime.acp_proxy.process import AgentProcess
from acp_runtime.acp_proxy.proxy import Proxy
from acp_runtime.acp_proxy.sandbox_tools import SandboxTools
from acp_runtime.api.errors import DaemonError
from acp_runtime.api.exchange import Way
from acp_runtime.callers import OPERATOR
from acp_runtime.config import load
from tests.agents.raw_client import RawClient, stop_reason
from tests.e2e.daemon_site import BOUND, DaemonSite

AGENT = Path(__file__).parents[2] / "agents" / "tooled_agent.py"
WALLED = Path(__file__).with_name("walled.py")
CHILD = {"purpose": "to look", "initial_task": "found it", "cwd": "/workspace"}
ASKING = {"initial_task": "[[ask:allow_once,reject_once]]", "preset": "restricted"}
# Asks until nobody hears it any more, then reads: says whether it was not heard, and of how much it was not answered.
DEAF = """
import json, os, select

def heard():
    return select.select([], [1], [], 2)[1]

sent = 0
os.set_blocking(1, False)
while sent < 300_000 and heard():
    line = b'{"jsonrpc":"2.0","id":1,"method":"fs/read_text_file","params":{}}\\n'
    sent += os.write(1, line) == len(line)
last, read = not heard(), 0
os.set_blocking(1, True)
while read < sent and select.select([0], [], [], 30)[0]:
    read += os.read(0, 65536).count(b"\\n")
print(json.dumps({"jsonrpc": "2.0", "method": "session/update", "params": [last, sent - read]}), flush=True)
"""

Sit = Callable[[], RawClient]


@pytest.fixture
def sit(site: DaemonSite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sit]:
    """Sit down at an editor with an open session of a walled agent."""
    editors: list[RawClient] = []

    def sitter() -> RawClient:
        folder = tmp_path_factory.mktemp("w", numbered=True)
        editor = RawClient(site.workspace, WALLED, str(folder), sys.executable, str(AGENT), **site.env)
        editors.append(editor)
        return editor.open({"subagents": {}})

    yield sitter
    for editor in editors:
        editor.close()


def calling(name: str, given: dict[str, Any]) -> str:
    # What a subagent is to do is no directive to who spawns it.
    escaped = json.dumps(given).replace("[[", "\\u005b\\u005b").replace("]]", "\\u005d\\u005d")
    return f"[[tool:{name}|{escaped}]]"


def tool(editor: RawClient, name: str, **given: Any) -> Any:
    """Have the agent call a tool, and return the answer."""
    assert stop_reason(editor.prompt(calling(name, given))) == "end_turn"
    return json.JSONDecoder().raw_decode(editor.said())[0]


def begin(editor: RawClient, name: str, **given: Any) -> int:
    """Have the agent call a tool, and go on until it is cancelled."""
    return editor.begin(f"{calling(name, given)}[[hang-politely]]")


def spawn(editor: RawClient, **changes: Any) -> Any:
    return tool(editor, "spawn_background_subagent", **CHILD | changes)


@pytest.mark.requirement("D10.57")
def test_it_spawns_sees_its_roster_is_told_once_and_its_children_are_shown(
    site: DaemonSite, sit: Sit, tmp_path: Path
) -> None:
    editor = sit()
    # Done before the tool has answered, it would be told there.
    task = f"[[wait:{tmp_path / 'go'}]][[say:found it]]"
    running = begin(editor, "spawn_background_subagent", **CHILD | {"initial_task": task})
    shown = editor.until(lambda each: "subagent_update" in json.dumps(each))
    child = shown["params"]["update"]["sessionId"]
    editor.cancel()
    assert stop_reason(editor.answer(running)) == "cancelled"
    (tmp_path / "go").touch()
    view = site.client.call("wait", OPERATOR, subagents=[child], seconds=BOUND)["views"][0]
    assert (view["workspace"], view["tasks"][0]["result"]) == (str(site.workspace), "found it")
    assert stop_reason(editor.prompt("what is new?")) == "end_turn"
    assert "found it" in editor.said()
    assert editor.said().count(child) > 0
    assert stop_reason(editor.prompt("and now?")) == "end_turn"
    assert editor.said() == "and now?"


@pytest.mark.requirement("T26")
def test_it_gives_nothing_that_it_does_not_have(sit: Sit) -> None:
    editor = sit()
    for changes, kind in (
        ({"preset": "privileged"}, "beyond_ceiling"),
        ({"cwd": "/etc"}, "invalid"),
        ({"cwd": "/workspace/../.."}, "invalid"),
        ({"one_shot": True}, "override_refused"),
        ({"agent_kind": "opencode", "model": "m"}, "override_refused"),
        ({"model_url": "https://elsewhere.example"}, "invalid"),
        ({"workspace": "/"}, "invalid"),
    ):
        answer = spawn(editor, **changes)
        assert (answer["success"], answer["kind"]) == (False, kind), changes


@pytest.mark.requirement("T26")
def test_what_permits_is_answered_by_the_person_and_not_by_the_agent(site: DaemonSite, sit: Sit) -> None:
    editor = sit()
    running = begin(editor, "spawn_background_subagent", **CHILD | ASKING)
    asked = editor.until(lambda each: each.get("method") == "session/request_permission")
    child = asked["params"]["sessionId"]
    editor.cancel()
    assert stop_reason(editor.answer(running)) == "cancelled"
    [request] = site.client.call("status", OPERATOR, subagent=child)["requests"]
    given = {"id": child, "request_id": request["id"], "option_id": request["options"][0]["id"]}
    assert tool(editor, "answer_background_subagent", **given)["kind"] == "needs_operator"
    chosen = {"outcome": {"outcome": "selected", "optionId": asked["params"]["options"][0]["optionId"]}}
    editor.message(id=asked["id"], result=chosen)
    editor.until(lambda each: "chose opt-0" in json.dumps(each))


@pytest.mark.requirement("T26")
def test_it_sees_its_own_alone_and_a_token_of_another_sandbox_is_refused(site: DaemonSite, sit: Sit) -> None:
    one, other = sit(), sit()
    child = spawn(one)["id"]
    assert tool(other, "list_background_subagents")["subagents"] == []
    assert tool(other, "get_background_subagent_status", id=child)["kind"] == "unknown_subagent"
    assert tool(other, "stop_background_subagent", id=child)["kind"] == "unknown_subagent"
    one.prompt("[[token]]")
    token = re.search("[0-9a-f]{64}", one.said())  # what its subagent says stands beside it
    assert token is not None
    other.prompt(f"[[stranger:{token[0]}]]")
    assert "token_refused" in other.said()


@pytest.mark.requirement("T26")
@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("session/update", {"sessionId": "{child}", "update": {}}),
        ("session/update", {"sessionId": "$SESSION", "update": {"toolCallId": "{child}.e1", "title": "read a file"}}),
        ("session/request_permission", {"SessionId": "{child}", "sessionId": "$SESSION", "options": []}),
    ],
)
def test_it_changes_nothing_of_what_the_editor_shows_of_its_subagents(
    sit: Sit, method: str, params: dict[str, Any]
) -> None:
    editor = sit()
    running = begin(editor, "spawn_background_subagent", **CHILD)
    shown = editor.until(lambda each: "subagent_update" in json.dumps(each))
    editor.cancel()
    editor.answer(running)
    child = shown["params"]["update"]["sessionId"]
    forged = json.dumps({"jsonrpc": "2.0", "id": 99, "method": method, "params": params}).replace("{child}", child)
    assert stop_reason(editor.prompt(f"[[raw:{forged}]][[say:done]]")) == "end_turn"
    assert [each for each in editor.messages if each.get("id") == 99 or "read a file" in json.dumps(each)] == []


@pytest.mark.requirement("T25")
async def test_an_agent_that_does_not_read_its_answers_is_not_heard_until_it_does(tmp_path: Path) -> None:
    (given, editor), (shown, said) = os.pipe(), os.pipe()
    between = partial(
        Enclosed,
        conversation=lambda to_editor, to_agent: Conversation(
            SandboxTools(load(None, {"HOME": str(tmp_path)})), say_editor=to_editor, say_agent=to_agent
        ),
        enclosure=partial(Enclosure, workspace=str(tmp_path), inside="/workspace", meta={}, longest=1_000_000),
    )
    proxy = Proxy(partial(AgentProcess.start, [sys.executable, "-c", DEAF]), between, unread=100_000)
    with os.fdopen(editor, "wb"), os.fdopen(shown, "rb") as reading:
        async with asyncio.timeout(BOUND):
            running = asyncio.create_task(proxy.run(os.fdopen(given, "rb", 0), os.fdopen(said, "wb", 0)))
            line = await asyncio.to_thread(reading.readline)
            assert json.loads(line)["params"] == [True, 0]
            assert await running == 0


@pytest.mark.requirement("T26")
async def test_all_sessions_of_a_sandbox_ask_the_daemon_no_more_at_once_than_one_may(tmp_path: Path) -> None:
    at_once, going_on = [0], asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if b"/wait" in await reader.readline():
            at_once[0] += 1
            await going_on.wait()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
        writer.close()

    path = tmp_path / "daemon.sock"
    async with asyncio.timeout(BOUND), await asyncio.start_unix_server(answer, path):
        way = NarrowWay(path)
        waits = [asyncio.create_task(way.ask("POST", "/wait", b"", BOUND)) for _ in range(MOST + 8)]
        await asyncio.sleep(0)
        await Way(path, start=False).ask("GET", "/now", None, BOUND)
        assert at_once == [MOST]
        going_on.set()
        assert [each.status for each in await asyncio.gather(*waits)] == [200] * (MOST + 8)


@pytest.mark.requirement("T26")
async def test_who_waits_for_a_place_behind_the_other_sessions_of_its_sandbox_waits_no_longer_than_it_said(
    tmp_path: Path,
) -> None:
    held, going_on = [0], asyncio.Event()
    full = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held[0] += 1
        if held[0] == MOST:
            full.set()
        await going_on.wait()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
        writer.close()

    path = tmp_path / "daemon.sock"
    async with asyncio.timeout(BOUND), await asyncio.start_unix_server(answer, path):
        way = NarrowWay(path)
        waits = [asyncio.create_task(way.ask("POST", "/wait", b"", BOUND)) for _ in range(MOST)]
        await full.wait()
        with pytest.raises(DaemonError, match="silent for too long"):
            await way.ask("GET", "/now", None, 0.05)
        going_on.set()
        assert [each.status for each in await asyncio.gather(*waits)] == [200] * MOST
        assert (await way.ask("GET", "/now", None, BOUND)).status == 200
