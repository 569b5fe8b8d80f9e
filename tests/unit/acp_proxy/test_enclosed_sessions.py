"""Sessions of an agent in a sandbox: each has our tools, and none is taken for a session of another agent."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from acp_runtime.acp_proxy.conversation import Conversation
from acp_runtime.acp_proxy.enclosed import Enclosed
from acp_runtime.acp_proxy.enclosure import Enclosure
from acp_runtime.acp_proxy.identity import HostTools, parent_of
from acp_runtime.acp_proxy.sandbox_tools import SandboxTools
from acp_runtime.config import load
from tests.histories import born

SERVER = {"name": "subagents", "command": "/usr/bin/mine", "args": [], "env": [{"name": "KEY", "value": "canary"}]}


class Sides:
    """What came to either side of one editor and its agent in a sandbox."""

    def __init__(self, workspace: Path) -> None:
        self.editor: list[bytes] = []
        self.workspace = str(workspace)
        self.tools = SandboxTools(load(None, {"HOME": str(workspace)}))
        self.between = Enclosed(
            self.editor.append,
            lambda _: None,
            conversation=lambda editor, agent: Conversation(self.tools, say_editor=editor, say_agent=agent),
            enclosure=partial(Enclosure, workspace=self.workspace, inside="/workspace", meta={}, longest=10_000),
        )
        self.to_agent(1, "initialize", {"protocolVersion": 1})
        self.to_editor({"jsonrpc": "2.0", "id": 1, "result": {"protocolVersion": 1}})

    def to_agent(self, ident: int, method: str, params: dict[str, Any]) -> list[dict[str, Any]]:
        line = json.dumps({"jsonrpc": "2.0", "id": ident, "method": method, "params": params}).encode()
        passed = self.between.from_editor(line)
        assert isinstance(passed, list)
        return [json.loads(each) for each in passed]

    def to_editor(self, message: dict[str, Any]) -> list[bytes]:
        return self.between.from_agent(json.dumps(message).encode())


@pytest.fixture
def sides(tmp_path: Path) -> Sides:
    return Sides(tmp_path)


@pytest.mark.requirement("D10.57")
def test_an_agent_is_told_of_our_tools_alone_also_where_the_editor_has_a_server_of_our_name(sides: Sides) -> None:
    [told] = sides.to_agent(2, "session/new", {"cwd": sides.workspace, "mcpServers": [SERVER]})
    [server] = told["params"]["mcpServers"]
    assert told["params"]["cwd"] == "/workspace"
    assert (server["name"], server["args"]) == ("subagents", ["127.0.0.1:8792"])
    assert [each["name"] for each in server["env"]] == ["SUBAGENTS_TOOLS_TOKEN"]
    [other] = sides.to_agent(3, "session/new", {"cwd": sides.workspace, "mcpServers": []})
    assert other["params"]["mcpServers"][0]["env"] != server["env"], "each session has a token of its own"
    assert "canary" not in json.dumps([told, other])


@pytest.mark.requirement("T26")
@pytest.mark.parametrize("method", ["session/close", "session/delete"])
async def test_with_a_session_that_the_editor_ends_its_token_ends_and_no_other(sides: Sides, method: str) -> None:
    tokens = []
    for ident in (2, 3):
        [told] = sides.to_agent(ident, "session/new", {"cwd": sides.workspace, "mcpServers": []})
        tokens.append(told["params"]["mcpServers"][0]["env"][0]["value"])
        sides.to_editor({"jsonrpc": "2.0", "id": ident, "result": {"sessionId": f"s-{ident}"}})
    door = sides.tools.door(born())
    assert None not in map(door.serving, tokens)
    assert len(sides.to_agent(4, method, {"sessionId": "s-2"})) == 1
    assert [door.serving(each) is None for each in tokens] == [True, False]
    await sides.between.close()


async def test_a_session_that_is_loaded_again_has_one_token_which_stays_however_often_that_is(sides: Sides) -> None:
    tokens = []
    for ident, method in enumerate(("session/new", "session/load", "session/load"), start=2):
        given = {"cwd": sides.workspace, "mcpServers": [], "sessionId": "s"}
        [told] = sides.to_agent(ident, method, given)
        tokens.append(told["params"]["mcpServers"][0]["env"][0]["value"])
        sides.to_editor({"jsonrpc": "2.0", "id": ident, "result": {"sessionId": "s"}})
    door = sides.tools.door(born())
    assert tokens[1] == tokens[2]
    assert [door.serving(each) is None for each in tokens[:2]] == [True, False]
    await sides.between.close()


@pytest.mark.requirement("T26")
def test_the_id_that_an_agent_gives_its_session_makes_it_no_session_of_another_agent(tmp_path: Path) -> None:
    one, other = (Sides(tmp_path).tools for _ in range(2))
    names = {parent_of("zed", str(tmp_path), tools.session("s")) for tools in (one, other, HostTools({}))}
    assert len(names) == 3
    assert parent_of("zed", str(tmp_path), one.session("s")) in names, "loaded again, it is the same"


def test_a_session_in_another_folder_is_refused_to_the_editor(sides: Sides) -> None:
    assert sides.to_agent(2, "session/new", {"cwd": "/", "mcpServers": []}) == []
    [refused] = map(json.loads, sides.editor)
    assert (refused["id"], refused["error"]["code"]) == (2, -32602)
