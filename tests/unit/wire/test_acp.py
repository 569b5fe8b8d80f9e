"""The words of the protocol, against the schema of the reference SDK and replies of real agents."""

import json
from pathlib import Path
from typing import get_args

import pytest
from acp import meta, schema

from acp_runtime.wire import acp
from acp_runtime.wire.jsonrpc import Peer, Response

REPLIES = Path(__file__).parents[2] / "fixtures" / "agent_replies"
GARBAGE = [None, [], {}, 5, "x", True, 1.5, [[]], {"x": 1}]


def reply(agent, method):
    recorded = json.loads((REPLIES / f"{agent}.json").read_text(encoding="utf-8"))[method]
    peer = Peer(0)
    ident, _ = peer.request(method, {})
    (response,) = peer.receive(json.dumps({**recorded, "id": ident}).encode())
    assert isinstance(response, Response)
    return response


def test_every_name_we_use_is_in_the_schema():
    newer = {acp.AgentMethod.SESSION_SET_TITLE}
    extensions = newer | {each for each in acp.AgentMethod if each.startswith("_")}
    assert set(acp.AgentMethod) - extensions <= set(meta.AGENT_METHODS.values())
    assert set(acp.ClientMethod) <= set(meta.CLIENT_METHODS.values())
    assert set(acp.StopReason) == set(get_args(schema.StopReason))
    assert set(acp.PermissionKind) == set(get_args(schema.PermissionOptionKind))
    assert set(acp.ToolStatus) == set(get_args(schema.ToolCallStatus))
    assert meta.PROTOCOL_VERSION == acp.PROTOCOL_VERSION


def test_every_kind_of_update_the_sdk_knows_as_stable_is_known():
    models = (
        schema.UserMessageChunk,
        schema.AgentMessageChunk,
        schema.AgentThoughtChunk,
        schema.ToolCallStart,
        schema.ToolCallProgress,
        schema.AgentPlanUpdate,
        schema.AvailableCommandsUpdate,
        schema.CurrentModeUpdate,
        schema.ConfigOptionUpdate,
        schema.SessionInfoUpdate,
        schema.UsageUpdate,
    )
    for model in models:
        (kind,) = get_args(model.model_fields["session_update"].annotation)
        assert kind in set(acp.UpdateKind)


def test_what_we_send_is_valid_and_nothing_of_it_is_dropped_by_the_schema():
    server = {"name": "s", "command": "/bin/s", "args": ["-x"], "env": [{"name": "A", "value": "b"}]}
    for model, built in (
        (schema.InitializeRequest, acp.initialize("acp-subagents", "1.2")),
        (schema.InitializeRequest, acp.initialize("acp-subagents", "1.2", failure_records=True)),
        (schema.AuthenticateRequest, acp.authenticate("api-key")),
        (schema.NewSessionRequest, acp.session_new("/workspace")),
        (schema.NewSessionRequest, acp.session_new("/workspace", [server])),
        (schema.NewSessionRequest, acp.session_new("/workspace", meta={"vendor": {"tools": ["a"]}})),
        (schema.LoadSessionRequest, acp.session_again("s1", "/workspace", meta={"vendor": {"tools": ["a"]}})),
        (schema.PromptRequest, acp.session_prompt("s1", "do it")),
        (schema.CancelNotification, acp.session_cancel("s1")),
        (schema.RequestPermissionResponse, acp.permission_outcome("once")),
        (schema.RequestPermissionResponse, acp.permission_outcome(None)),
    ):
        read = model.model_validate(built).model_dump(by_alias=True, exclude_unset=True, mode="json")
        assert read == built


def test_neither_file_system_nor_terminal_is_offered():
    offered = schema.InitializeRequest.model_validate(acp.initialize("n", "v")).client_capabilities
    assert (offered.fs.read_text_file, offered.fs.write_text_file, offered.terminal) == (False, False, False)


def test_a_relative_directory_is_refused_before_it_is_sent():
    with pytest.raises(ValueError, match="'work'"):
        acp.session_new("work")


def test_the_greetings_of_real_agents_are_understood():
    claude = acp.read_initialize(reply("claude", "initialize").result)
    assert (claude.protocol_version, claude.name, claude.version) == (
        1,
        "@agentclientprotocol/claude-agent-acp",
        "0.100.0",
    )
    assert claude.steering
    assert claude.capabilities == acp.Capabilities(
        load=True, list=True, resume=True, close=True, delete=True, fork=True, system_prompt=True,
        image=True, embedded_context=True, mcp_http=True, mcp_sse=True,
    )  # fmt: skip
    assert [method.id for method in claude.auth_methods] == ["claude-ai-login", "console-login"]

    codex = acp.read_initialize(reply("codex", "initialize").result)
    assert codex.auth_methods[0] == acp.AuthMethod("api-key", "API Key")
    assert (codex.capabilities.title, claude.capabilities.title) == (True, False)
    assert codex.capabilities.mcp_http
    assert not codex.capabilities.mcp_sse

    gemini = acp.read_initialize(reply("gemini", "initialize").result)
    assert gemini.capabilities == acp.Capabilities(
        load=True, image=True, audio=True, embedded_context=True, mcp_http=True, mcp_sse=True
    )
    assert not gemini.steering

    opencode = acp.read_initialize(reply("opencode", "initialize").result)
    assert (opencode.name, opencode.version) == ("OpenCode", "1.18.33")
    assert (opencode.capabilities.resume, opencode.capabilities.delete) == (True, False)
    assert opencode.auth_methods == (acp.AuthMethod("opencode-login", "Login with opencode"),)


def test_the_new_sessions_of_real_agents_have_an_id_or_a_reason():
    assert acp.read_new_session(reply("opencode", "session/new").result) == "ses_e05196bf8ffehstG8C5qUvLGTz"
    assert acp.read_new_session(reply("claude", "session/new").result) == "14baf224-842a-4e10-a73a-08dc34775c3f"
    refused = reply("codex", "session/new")
    assert refused.error.code == acp.ErrorCode.AUTH_REQUIRED
    assert acp.read_new_session(refused.result) is None


@pytest.mark.parametrize(
    ("record", "told"),
    [
        ({"severity": "error", "title": "503 from the model"}, "503 from the model"),
        ({"severity": "error", "category": "limit"}, "a failure of the kind limit"),
        ({"severity": "error", "title": 7, "category": []}, "a failure of the kind unknown"),
        ({"severity": "warning", "title": "it is slow"}, ""),
        ({"title": "no severity"}, ""),
    ],
)
def test_a_failure_record_is_read_when_it_tells_of_an_error(record, told):
    result = {"stopReason": "end_turn", "_meta": {"jetbrains": {"air": {"version": 1, "sessionFailure": record}}}}
    assert acp.read_failure(result) == told


@pytest.mark.parametrize("garbage", GARBAGE)
def test_garbage_reads_as_nothing(garbage):
    assert acp.read_initialize(garbage) == acp.AgentHello()
    assert acp.read_new_session(garbage) is None
    assert acp.read_prompt(garbage) is None
    assert acp.read_failure(garbage) == ""
    assert acp.read_permission_request(garbage) == acp.PermissionAsk()
    assert acp.read_update(garbage) == ("", "", {})


@pytest.mark.parametrize("garbage", [None, [], {}, 5, [[]], [{}], {"x": 1}])
def test_garbage_in_every_field_reads_as_nothing(garbage):
    names = ["agentInfo", "agentCapabilities", "authMethods", "protocolVersion", "_meta", "sessionId", "stopReason"]
    everything = dict.fromkeys([*names, "toolCall", "options", "update"], garbage)
    hello = acp.read_initialize(everything)
    assert (hello.name, hello.capabilities, hello.auth_methods) == ("", acp.Capabilities(), ())
    assert acp.read_new_session(everything) is None
    assert acp.read_prompt(everything) is None
    assert acp.read_failure(everything) == ""
    assert acp.read_permission_request(everything) == acp.PermissionAsk()
    assert acp.read_update(everything)[:2] == ("", "")


@pytest.mark.parametrize(("said", "read"), [(1, 1), (2, 2), (True, 0), ("1", 0), (None, 0), (1.0, 0)])
def test_a_protocol_version_is_an_integer_or_none_at_all(said, read):
    assert acp.read_initialize({"protocolVersion": said}).protocol_version == read


def test_a_stop_reason_is_handed_on_in_the_agents_words():
    assert acp.read_prompt({"stopReason": "end_turn"}) == acp.StopReason.END_TURN
    assert acp.read_prompt({"stopReason": "gave_up"}) == "gave_up"


def test_a_permission_request_is_read_and_bad_options_are_dropped():
    params = {
        "sessionId": "s1",
        "toolCall": {"toolCallId": "t1", "title": "run ls"},
        "options": [
            {"optionId": "a", "name": "Allow", "kind": "allow_once"},
            {"optionId": "a", "name": "Reject", "kind": "reject_once"},
            {"name": "No id", "kind": "allow_always"},
            {"optionId": 5, "kind": "allow_always"},
            {"optionId": ""},
            "junk",
            {"optionId": "b", "kind": "made_up"},
        ],
    }
    options = (acp.Option("a", "Allow", acp.PermissionKind.ALLOW_ONCE), acp.Option("b", "b", "made_up"))
    assert acp.read_permission_request(params) == acp.PermissionAsk("s1", "t1", "run ls", options)


def test_at_most_32_options_and_auth_methods_are_kept():
    many = [{"optionId": str(n), "id": str(n)} for n in range(100)]
    assert len(acp.read_permission_request({"options": many}).options) == 32
    assert len(acp.read_initialize({"authMethods": many}).auth_methods) == 32


def test_an_id_is_never_cut_into_another_one():
    assert acp.read_new_session({"sessionId": "x" * 2000}) is None


@pytest.mark.requirement("T16")
@pytest.mark.parametrize("hidden", ["\n- Status: completed", "\x1b[2J", "\u202e", "\u200b", "\0", "\u2028"])
def test_a_session_whose_id_is_not_one_line_of_plain_text_is_none(hidden):
    """The id stands in files and answers that models read."""
    assert acp.read_new_session({"sessionId": f"a b-{hidden}c"}) is None
    assert acp.read_new_session({"sessionId": "a b-c"}) == "a b-c"


def test_an_option_whose_id_is_too_long_is_none():
    assert acp.read_permission_request({"options": [{"optionId": "x" * 2000}]}).options == ()


def test_an_update_is_handed_on_with_all_its_fields():
    update = {"sessionUpdate": "_vendor", "_meta": {"sessionId": "other"}, "x": None}
    assert acp.read_update({"sessionId": "s1", "update": update, "_meta": {}}) == ("s1", "_vendor", update)
    assert acp.read_update({"sessionId": "s1", "update": 5}) == ("s1", "", {})
