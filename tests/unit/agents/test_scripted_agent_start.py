"""How the scripted agent starts, and what it asks of a client."""

import json
from hashlib import sha256

import pytest

from tests.agents.raw_client import stop_reason


def test_the_journal_holds_each_prompt_once(start, tmp_path):
    agent = start("--journal", str(tmp_path / "journal")).open()
    agent.prompt("one")
    agent.prompt("two")
    entries = [json.loads(line) for line in (tmp_path / "journal").read_text().splitlines()]
    assert [entry["sha256"] for entry in entries] == [sha256(text).hexdigest() for text in (b"one", b"two")]
    assert [entry["id"] for entry in entries] == [3, 4]


@pytest.mark.parametrize(
    ("method", "params", "code"),
    [
        ("session/new", {"cwd": "relative", "mcpServers": []}, -32602),
        ("session/new", {"cwd": "/"}, -32602),
        ("session/prompt", {"sessionId": "unknown", "prompt": []}, -32602),
        ("authenticate", {"methodId": "any"}, -32602),
        ("session/load", {}, -32601),
        ("_vendor/any", {}, -32601),
    ],
)
def test_it_is_strict_about_what_a_client_must_do(agent, method, params, code):
    assert agent.call(method, params)["error"]["code"] == code


def test_the_first_call_must_be_initialize(start):
    assert start().call("session/new", {"cwd": "/", "mcpServers": []})["error"]["code"] == -32600


def test_a_line_that_is_no_message_is_a_parse_error_and_the_agent_lives_on(agent):
    for line in (b"{", b"null", b"[]"):
        agent.send(line)
        assert json.loads(agent.line())["error"]["code"] == -32700
    assert stop_reason(agent.prompt("x")) == "end_turn"


def test_never_initialize_is_silent(start):
    agent = start("--never-initialize")
    agent.start("initialize", {"protocolVersion": 1})
    agent.stdin.close()
    assert agent.end() == 0
    assert agent.messages == []


def test_initialize_can_fail(start):
    assert start("--initialize-error").call("initialize", {"protocolVersion": 1})["error"]["code"] == -32603


def test_the_protocol_version_is_as_told_also_by_the_environment(start):
    agent = start(SCRIPTED_AGENT_ARGS="--protocol-version 7")
    assert agent.call("initialize", {"protocolVersion": 1})["result"]["protocolVersion"] == 7


def test_an_early_update_comes_before_the_session_is_answered(start):
    agent = start("--early-update").open()
    update, answer = agent.messages[-2:]
    assert update["params"]["sessionId"] == answer["result"]["sessionId"] == agent.session


def test_auth_is_asked_for_until_it_is_given(start):
    agent = start("--auth", "key")
    assert agent.call("initialize", {"protocolVersion": 1})["result"]["authMethods"][0]["id"] == "key"
    new = {"cwd": "/", "mcpServers": []}
    assert agent.call("session/new", new)["error"]["code"] == -32000
    assert agent.call("authenticate", {"methodId": "other"})["error"]["code"] == -32602
    assert agent.call("authenticate", {"methodId": "key"})["result"] == {}
    assert "sessionId" in agent.call("session/new", new)["result"]


@pytest.mark.parametrize(("flag", "wanted"), [("--session-error", "error"), ("--no-session-id", "result")])
def test_session_new_can_fail(start, flag, wanted):
    agent = start(flag)
    agent.call("initialize", {"protocolVersion": 1})
    answer = agent.call("session/new", {"cwd": "/", "mcpServers": []})
    assert (wanted in answer, "sessionId" in answer.get("result", {})) == (True, False)


def test_exit_at_start_exits_before_anything(start):
    agent = start("--exit-at-start", "3")
    assert agent.end() == 3
    assert agent.stderr.read() == b"exits as told\n"


def test_noise_at_start_comes_before_any_message(start):
    agent = start("--noise-at-start")
    lines = [agent.line() for _ in range(6)]
    assert lines == [b"Welcome to the scripted agent!", b"null", b"[1, 2]", b'"text"', b"\xff\xfe", b""]
    assert stop_reason(agent.open().prompt("x")) == "end_turn"


def test_slow_start_reads_nothing_until_the_file_exists(start, tmp_path):
    agent = start("--slow-start", str(tmp_path / "go"))
    request = agent.start("initialize", {"protocolVersion": 1})
    (tmp_path / "go").touch()
    assert "result" in agent.answer(request)


def test_it_can_ignore_the_end_of_input(start):
    agent = start("--ignore-eof").open()
    agent.begin(f"[[wait:{agent.cwd}/go]][[say:still here]]")
    agent.stdin.close()
    assert agent.stderr.readline() == b"ignores the end of input\n"
    (agent.cwd / "go").touch()
    agent.until(lambda _: agent.said() == "still here")


def test_it_can_ignore_sigterm(start):
    agent = start("--ignore-term").open()
    agent.process.terminate()
    assert stop_reason(agent.prompt("still here")) == "end_turn"
