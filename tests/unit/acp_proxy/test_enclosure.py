"""An editor and an agent in a sandbox: what reaches the editor gives the agent nothing of the editor's machine."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from acp_runtime.acp_proxy.enclosure import Enclosure
from acp_runtime.wire.ndjson import Oversized

LONGEST = 10_000
UPDATE = b'{"jsonrpc": "2.0", "method": "session/update", "params": {"kept": 1.0, "_meta": null}}'


class Sides:
    """What an enclosure said to either side by itself."""

    def __init__(self, workspace: Path, **meta: Any) -> None:
        self.editor: list[bytes] = []
        self.agent: list[bytes] = []
        self.between = Enclosure(
            self.editor.append, self.agent.append,
            workspace=str(workspace), inside="/workspace", meta=meta, longest=LONGEST,
        )  # fmt: skip

    def told(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """Return what the agent is told for a request of the editor."""
        request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        passed = self.between.from_editor(self.between.without_servers(json.dumps(request).encode()))
        [line] = passed
        return dict(json.loads(line)["params"])


@pytest.fixture
def sides(tmp_path: Path) -> Sides:
    return Sides(tmp_path)


@pytest.mark.requirement("T25")
@pytest.mark.parametrize(
    "line",
    [
        b'{"jsonrpc":"2.0","id":7,"method":"fs/write_text_file","params":{"path":"/etc/passwd"}}',
        b'{"jsonrpc":"2.0","id":"a","method":"terminal/create","params":{"command":"id"}}',
        b'{"jsonrpc":"2.0","id":7,"method":"_vendor/run","params":{}}',
        b'{"jsonrpc":"2.0","id":7,"method":"elicitation/create","params":{"mode":"url","url":"https://x.invalid/"}}',
        b'{"jsonrpc":"2.0","id":7,"method":"elicitation/create","params":{"mode":"url","mode":"form"}}',
        b'{"jsonrpc":"2.0","id":7,"method":"elicitation/create","params":{"mode":"form","Url":"https://x.invalid/"}}',
        b'{"jsonrpc":"2.0","id":7,"method":"elicitation/create","params":[{"mode":"url","url":"https://x.invalid/"}]}',
        b'{"jsonrpc":"2.0","id":7,"method":"elicitation/complete","params":{}}',
    ],
)
def test_what_an_editor_would_do_on_its_machine_is_refused_to_the_agent(sides: Sides, line: bytes) -> None:
    assert sides.between.from_agent(line) == []
    [refused] = map(json.loads, sides.agent)
    assert (refused["id"], refused["error"]["code"]) == (json.loads(line)["id"], -32601)


@pytest.mark.requirement("T25")
@pytest.mark.parametrize(
    "line",
    [
        b'{"jsonrpc":"2.0","id":7,"method":"fs/write_text_file","method":"session/update","params":{}}',
        b'{"jsonrpc":"2.0","id":7,"m\\u0065thod":"terminal/create","method":"session/update","params":{}}',
        b'{"jsonrpc":"2.0","id":7,"Method":"fs/write_text_file","method":"session/update","params":{}}',
        b'{"jsonrpc":"2.0","id":7,"METHOD":"fs/write_text_file","result":{}}',
        b'{"jsonrpc":"2.0","id":7,"method":"session/update","result":{}}',
        b'[{"jsonrpc":"2.0","id":7,"method":"fs/write_text_file","params":{}}]',
        b'{"jsonrpc":"2.0","id":7,"method":["session/update"]}',
        b'{"jsonrpc":"2.0","id":7}',
        b'{"jsonrpc":"2.0","id":7,"method":"fs/write_text_file",}',
        b'{"jsonrpc":"2.0","method":"session/update","params":\r{"jsonrpc":"2.0","id":7,"method":"terminal/create"}\r}',
        b'{"jsonrpc":"2.0","method":"session/update","params":{"text":"\xff"}}',
        b"no JSON",
        b"",
    ],
)
def test_what_parsers_may_read_in_two_ways_does_not_reach_the_editor(sides: Sides, line: bytes) -> None:
    assert sides.between.from_agent(line) == []


@pytest.mark.requirement("T25")
@pytest.mark.parametrize("name", ["authMethods", "AuthMethods", "authMethod\u017f"])
def test_a_login_by_a_command_of_the_agents_choice_is_not_offered(sides: Sides, name: str) -> None:
    own = {"id": "key", "name": "Key", "description": "d"}
    logins = [
        {**own, "_meta": {"terminal-auth": {"command": "sh", "args": ["-c", "id"]}}},
        {"id": "t", "name": "T", "type": "terminal", "args": ["x"]},
        {"id": "e", "name": "E", "type": "env_var"},
        "none",
    ]
    answer = {"jsonrpc": "2.0", "id": 1, "result": {"protocolVersion": 1, name: logins, "far": 1e308}}
    [line] = sides.between.from_agent(json.dumps(answer).replace("308", "999").encode())
    kept = [own] if name == "authMethods" else []
    assert json.loads(line)["result"] == {"protocolVersion": 1, "authMethods": kept, "far": None}


@pytest.mark.parametrize(
    "line",
    [
        UPDATE,
        b'{"jsonrpc":"2.0","id":1,"result":{"big":123456789012345678901234567890}}',
        b'{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"x"}}',
        b'{"jsonrpc":"2.0","id":3,"method":"session/request_permission","params":{"options":[]}}',
        b'{"jsonrpc":"2.0","id":3,"method":"elicitation/create","params":{"mode":"form","message":"url"}}',
        b'{"jsonrpc":"2.0","method":"$/cancel_request","params":{"requestId":3}}',
    ],
)
def test_what_an_agent_says_to_its_editor_is_passed_on_as_it_came(sides: Sides, line: bytes) -> None:
    assert sides.between.from_agent(line) == [line]


def test_the_editors_files_terminal_and_browser_are_not_offered(sides: Sides) -> None:
    files, asking = {"readTextFile": True, "writeTextFile": True}, {"form": {}, "url": {}}
    offered = {"fs": files, "terminal": True, "elicitation": asking, "kept": None}
    told = sides.told("initialize", {"protocolVersion": 1, "clientCapabilities": offered})
    files, asking = {"readTextFile": False, "writeTextFile": False}, {"form": {}, "url": None}
    assert told["clientCapabilities"] == {"fs": files, "terminal": False, "elicitation": asking, "kept": None}
    assert sides.told("initialize", {"protocolVersion": 1}) == {"protocolVersion": 1}


def test_a_folder_of_the_editor_is_named_as_the_sandbox_has_it(sides: Sides, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "below")
    for given, inside in (
        ("", "/workspace"),
        ("below/deep", "/workspace/below/deep"),
        ("link/x", "/workspace/below/x"),
    ):
        servers = [{"name": "mine", "command": "/usr/bin/mine"}]
        told = sides.told("session/new", {"cwd": str(tmp_path / given), "mcpServers": servers})
        assert told == {"cwd": inside, "mcpServers": []}
    assert sides.told("session/list", {"cwd": str(tmp_path)}) == {"cwd": "/workspace"}
    assert sides.told("session/load", {"cwd": str(tmp_path), "sessionId": "s", "additionalDirectories": ["/x"]}) == {
        "cwd": "/workspace", "sessionId": "s", "additionalDirectories": [],
    }  # fmt: skip


def test_a_file_that_a_prompt_links_to_is_named_as_the_sandbox_has_it(sides: Sides, tmp_path: Path) -> None:
    here = f"file://{tmp_path}"
    (tmp_path / "named").symlink_to(os.fsdecode(bytes(tmp_path) + b"/of\xff"))
    for given, inside in (
        (f"{here}/named", "file:///workspace/of%FF"),
        (f"{here}/a.py", "file:///workspace/a.py"),
        (f"{here}/a%20b/%C3%A9.py#L10:20", "file:///workspace/a%20b/%C3%A9.py#L10:20"),
        (f"file://localhost{tmp_path}/./x/../a.py", "file:///workspace/a.py"),
        (here, "file:///workspace"),
    ):
        blocks = [
            {"type": "resource_link", "uri": given},
            {"type": "resource", "resource": {"uri": given, "text": "x"}},
        ]
        told = sides.told("session/prompt", {"sessionId": "s", "prompt": blocks})
        assert [told["prompt"][0]["uri"], told["prompt"][1]["resource"]["uri"]] == [inside, inside]


@pytest.mark.parametrize(
    "uri", ["file:///etc/passwd", "file:///workspace/a", "zed:///x", "https://x/y", "file://[x", "file:///%00", 7, None]
)
def test_what_a_prompt_links_to_elsewhere_stays(sides: Sides, tmp_path: Path, uri: Any) -> None:
    given = [{"type": "resource_link", "uri": uri}, {"type": "text", "text": f"file://{tmp_path}/a", "x": 1.0}, "none"]
    line = json.dumps({"id": 1, "method": "session/prompt", "params": {"prompt": given}}).encode()
    assert sides.between.from_editor(line) == [line]


def test_sessions_that_an_agent_lists_are_in_folders_of_the_editor(sides: Sides, tmp_path: Path) -> None:
    inside = ["/workspace", "/workspace/below/./deep", "/workspaces", "/workspace/../etc", "/tmp", 7]
    outside = [str(tmp_path), f"{tmp_path}/below/deep", *inside[2:]]
    listed = {"sessions": [{"sessionId": str(number), "cwd": each} for number, each in enumerate(inside)]}
    [line] = sides.between.from_agent(json.dumps({"jsonrpc": "2.0", "id": 1, "result": listed}).encode())
    assert [each["cwd"] for each in json.loads(line)["result"]["sessions"]] == outside
    told = sides.told("session/load", {"cwd": outside[1], "sessionId": "1"})
    assert told["cwd"] == "/workspace/below/deep", "so that the editor can load it"


@pytest.mark.parametrize("beside", ["..", "/", "/workspace", "../other", "x\0y"])
def test_a_session_in_another_folder_is_refused(sides: Sides, tmp_path: Path, beside: str) -> None:
    params = {"cwd": str(tmp_path / beside), "mcpServers": []}
    line = json.dumps({"jsonrpc": "2.0", "id": 9, "method": "session/new", "params": params}).encode()
    assert sides.between.from_editor(line) == []
    [refused] = map(json.loads, sides.editor)
    assert (refused["id"], refused["error"]["code"]) == (9, -32602)
    assert "open a folder in it" in refused["error"]["message"]


def test_an_agent_kind_has_its_settings_also_where_the_editor_has_some(tmp_path: Path) -> None:
    sides = Sides(tmp_path, own={"disallowed": ["x"]})
    params = {"cwd": str(tmp_path), "mcpServers": [], "_meta": {"own": {}, "editors": 1}}
    assert sides.told("session/new", params)["_meta"] == {"own": {"disallowed": ["x"]}, "editors": 1}


def test_lines_that_are_too_long_are_answered_to_who_waits(sides: Sides) -> None:
    request = b'{"jsonrpc":"2.0","id":4,"method":"session/prompt","params":"' + b"x" * LONGEST + b'"}'
    assert sides.between.from_editor(request) == []
    assert json.loads(sides.editor[0])["id"] == 4
    answer = b'{"jsonrpc":"2.0","id":6,"result":"' + b"x" * LONGEST + b'"}'
    [line] = sides.between.from_editor(answer)
    assert (json.loads(line)["id"], json.loads(line)["error"]["code"], len(sides.editor)) == (6, -32603, 1)
    [line] = sides.between.from_agent(Oversized(b'{"jsonrpc":"2.0","id":5,"result":{', 99_999_999))
    assert json.loads(line)["error"]["code"] == -32603
    assert sides.between.from_agent(Oversized(b'{"jsonrpc":"2.0","method":"session/update",', 99_999_999)) == []


def test_all_else_of_the_editor_is_passed_on_as_it_came(sides: Sides) -> None:
    for line in (b"no JSON", b'{"jsonrpc":"2.0","id":1.0,"result":null}', UPDATE):
        assert sides.between.from_editor(line) == [line]
