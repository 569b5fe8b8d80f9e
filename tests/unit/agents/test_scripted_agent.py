"""Each directive of the scripted agent is given to it once, over real pipes."""

import json
import os
import select
import signal

import pytest

from tests.agents.raw_client import LIMIT, RawClient, stop_reason


def test_without_directives_it_echoes(agent):
    assert stop_reason(agent.prompt("just\ntext")) == "end_turn"
    assert agent.said() == "just\ntext"


def test_directives_are_carried_out_in_order_and_other_text_is_ignored(agent):
    assert stop_reason(agent.prompt("Note: x.\n[[say:one]] then [[think:two]]\n[[say:[three]]] end")) == "end_turn"
    assert [(u["sessionUpdate"], u["content"]["text"]) for u in agent.updates()] == [
        ("agent_message_chunk", "one"),
        ("agent_thought_chunk", "two"),
        ("agent_message_chunk", "[three]"),
    ]


def test_write_and_run_are_real_and_told_as_tool_calls(agent):
    agent.prompt("[[write:a/b.txt|one|two\nthree]][[run:cat a/b.txt]][[run:exit 3]][[failtool:look]][[write:/|x]]")
    assert (agent.cwd / "a" / "b.txt").read_text() == "one|two\nthree"
    assert agent.tools() == [
        ("write a/b.txt", "completed"),
        ("cat a/b.txt", "completed"),
        ("exit 3", "failed"),
        ("look", "failed"),
        ("write /", "failed"),
    ]
    assert "one|two\nthree" in json.dumps(agent.updates(), ensure_ascii=False).replace("\\n", "\n")


def test_updates_are_numbered(agent):
    agent.prompt("[[updates:2000]]")
    assert agent.said().split() == [str(number) for number in range(2000)]


def test_stderr_gets_exactly_so_many_bytes(agent):
    request = agent.begin("[[stderr:1000]][[say:x]]")
    agent.answer(request)
    agent.stdin.close()
    assert agent.process.wait(LIMIT) == 0
    assert len(agent.stderr.read()) == 1000


def test_wait_goes_on_when_the_file_exists(agent):
    go = agent.cwd / "go"
    request = agent.begin(f"[[say:before]][[wait:{go}]][[say:after]]")
    agent.until(lambda _: agent.said() == "before")
    go.touch()
    assert stop_reason(agent.answer(request)) == "end_turn"
    assert agent.said() == "beforeafter"


@pytest.mark.parametrize("waiting", ["[[wait:/nonexistent/file]]", "[[hang-politely]]", "[[run:sleep 600]]"])
def test_a_cancel_ends_what_waits_and_the_rest_is_left_out(agent, waiting):
    request = agent.begin(f"[[say:on]]{waiting}[[say:never]]")
    agent.until(lambda _: agent.said() == "on")
    agent.cancel()
    assert stop_reason(agent.answer(request)) == "cancelled"
    assert agent.said() == "on"
    assert stop_reason(agent.prompt("again")) == "end_turn"


def begin_command(agent: RawClient) -> tuple[int, int]:
    """Start a command with a child; return the request and a descriptor that is readable once the child is gone."""
    os.mkfifo(agent.cwd / "up")
    request = agent.begin("[[run:sleep 600 & echo $! > up; wait]]")
    return request, os.pidfd_open(int((agent.cwd / "up").read_text()))


def test_a_cancelled_command_is_gone(agent):
    request, command = begin_command(agent)
    agent.cancel()
    assert stop_reason(agent.answer(request)) == "cancelled"
    assert select.select([command], [], [], LIMIT)[0]
    os.close(command)


def test_hang_ignores_a_cancel(agent):
    hanging = agent.begin("[[hang]]")
    agent.cancel()
    other = agent.call("session/new", {"cwd": "/", "mcpServers": []})
    assert "sessionId" in other["result"]
    assert all(message.get("id") != hanging for message in agent.messages)


def test_a_cancel_sent_as_a_request_is_refused_and_cancels_nothing(agent):
    request = agent.begin(f"[[wait:{agent.cwd}/go]]")
    assert agent.call("session/cancel", {"sessionId": agent.session})["error"]["code"] == -32601
    (agent.cwd / "go").touch()
    assert stop_reason(agent.answer(request)) == "end_turn"


def asked(agent: RawClient, kinds: str) -> tuple[int, dict]:
    request = agent.begin(f"[[ask:{kinds}]]")
    return request, agent.until(lambda message: message.get("method") == "session/request_permission")


@pytest.mark.parametrize(
    ("outcome", "said", "status"),
    [
        ({"outcome": "selected", "optionId": "opt-0"}, "chose opt-0", "completed"),
        ({"outcome": "selected", "optionId": "opt-1"}, "chose opt-1", "failed"),
        ({"outcome": "cancelled"}, "cancelled", "failed"),
        (
            {"outcome": "selected", "optionId": "allow_once"},
            'invalid {"outcome": "selected", "optionId": "allow_once"}',
            "failed",
        ),
    ],
)
def test_ask_offers_the_kinds_and_says_what_was_chosen(agent, outcome, said, status):
    request, question = asked(agent, "allow_always,reject_once")
    assert [option["kind"] for option in question["params"]["options"]] == ["allow_always", "reject_once"]
    agent.message(id=question["id"], result={"outcome": outcome})
    assert stop_reason(agent.answer(request)) == "end_turn"
    assert agent.said() == said
    assert agent.tools() == [("ask allow_always,reject_once", status)]


def test_a_cancel_while_it_asks_still_wants_the_answer(agent):
    request, question = asked(agent, "allow_once")
    agent.cancel()
    agent.message(id=question["id"], result={"outcome": {"outcome": "cancelled"}})
    assert stop_reason(agent.answer(request)) == "cancelled"
    assert agent.said() == "cancelled"


def test_request_says_the_error_code_it_got(agent):
    request = agent.begin("[[request:fs/read_text_file]]")
    sent = agent.until(lambda message: message.get("method") == "fs/read_text_file")
    agent.message(id=sent["id"], error={"code": -32601, "message": "no"})
    agent.answer(request)
    assert agent.said() == "fs/read_text_file -> -32601"


def test_init_says_what_the_client_announced(agent):
    agent.prompt("[[init]]")
    assert json.loads(agent.said()) == {"protocolVersion": 1, "clientCapabilities": {}}


@pytest.mark.parametrize("reason", ["refusal", "max_tokens", "whatever"])
def test_stop_answers_with_its_reason(agent, reason):
    assert stop_reason(agent.prompt(f"[[stop:{reason}]][[say:never]]")) == reason
    assert agent.said() == ""


def test_error_answers_with_code_and_message(agent):
    assert agent.prompt("[[error:-32603|it broke]]")["error"] == {"code": -32603, "message": "it broke"}


@pytest.mark.parametrize("text", ["[[sya:x]]", "[[updates:many]]", "[[write:no-text]]", "[[error:x|y]]"])
def test_a_mistake_in_a_script_is_an_error_and_not_silence(agent, text):
    assert agent.prompt(text)["error"]["code"] == -32602


@pytest.mark.parametrize("noise", ["null", "[]", '"x"', "plain noise", "NaN"])
def test_raw_writes_its_line_as_it_is(agent, noise):
    agent.begin(f"[[raw:{noise}]]")
    assert agent.line() == noise.encode()


def test_rawhex_writes_bytes_that_are_no_text(agent):
    agent.begin("[[rawhex:ff00fe]]")
    assert agent.line() == b"\xff\x00\xfe"


def test_bigline_has_its_size_and_is_valid(agent):
    agent.begin("[[bigline:300000]]")
    line = agent.line()
    assert len(line) == 300_000
    assert json.loads(line)["method"] == "session/update"


def test_bigresponse_is_the_answer_and_has_its_size(agent):
    request = agent.begin("[[bigresponse:300000]]")
    line = agent.line()
    assert len(line) == 300_000
    assert line.startswith(b'{"jsonrpc": "2.0", "id": %d, ' % request)
    assert stop_reason(json.loads(line)) == "end_turn"


def test_late_updates_come_after_the_answer(agent):
    go = agent.cwd / "go"
    agent.prompt(f"[[late:soon]][[say:in time]][[late:later|{go}]]")
    assert agent.said() == "in time"
    agent.until(lambda _: agent.said() == "in timesoon")
    go.touch()
    agent.until(lambda _: agent.said() == "in timesoonlater")


def test_other_session_is_a_session_nobody_opened(agent):
    agent.prompt("[[otherSession:x]]")
    assert {m["params"]["sessionId"] for m in agent.messages if "method" in m} == {"nobody-opened-this"}


def test_exit_ends_it_with_its_code(agent):
    agent.begin("[[exit:7]]")
    assert agent.end() == 7


def test_kill_ends_it_by_a_signal(agent):
    agent.begin("[[kill]]")
    assert agent.end() == -signal.SIGKILL


def test_closeout_closes_stdout_and_the_agent_lives_on(agent):
    agent.begin(f"[[closeout]][[say:unheard]][[write:{agent.cwd}/alive|x]][[hang]]")
    with pytest.raises(EOFError):
        agent.until(lambda _: False)
    assert agent.process.poll() is None


@pytest.mark.parametrize(("directive", "holds"), [("[[fork]]", False), ("[[fork:hold]]", True)])
def test_fork_leaves_a_process_in_its_own_session(agent, directive, holds):
    agent.prompt(directive)
    pid = int(agent.said().split()[1])
    try:
        assert os.getsid(pid) == pid
        agent.process.kill()
        agent.process.wait(LIMIT)
        ended, _, _ = select.select([agent.stdout], [], [], 0)
        assert bool(ended) is not holds
    finally:
        os.kill(pid, signal.SIGKILL)


def test_the_end_of_input_ends_it_and_its_command_though_a_turn_runs(agent):
    _, command = begin_command(agent)
    agent.stdin.close()
    assert agent.end() == 0
    assert select.select([command], [], [], LIMIT)[0]
    os.close(command)


def test_two_sessions_take_prompts_side_by_side(agent):
    go = agent.cwd / "go"
    waiting = agent.begin(f"[[wait:{go}]]")
    first, agent.session = (
        agent.session,
        agent.call("session/new", {"cwd": "/", "mcpServers": []})["result"]["sessionId"],
    )
    assert first != agent.session
    agent.prompt(f"[[write:{go}|x]]")
    assert stop_reason(agent.answer(waiting)) == "end_turn"
