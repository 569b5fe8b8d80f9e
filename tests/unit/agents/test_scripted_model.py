"""The scripted model is asked over real connections, as an agent would ask it."""

import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import pytest

from tests.agents.scripted_model import ScriptedModel, server

ROOT = Path(__file__).parents[3]
CHAT = "/v1/chat/completions"
LIMIT = 20.0


def tool(name: str, *parameters: str, **more: object) -> dict:
    properties = {parameter: {"type": "string"} for parameter in parameters} | more
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return {"type": "function", "function": {"name": name, "parameters": schema}}


OPENCODE = [
    tool("read", "filePath"),
    tool("bash", "command", "description"),
    tool("edit", "filePath", "oldString", "newString"),
    tool("write", "filePath", "content"),
]


def ask(*messages: dict, tools: list | None = None, **more: object) -> dict:
    return {"model": "scripted", "messages": list(messages), "tools": OPENCODE if tools is None else tools, **more}


def user(text: object) -> dict:
    return {"role": "user", "content": text}


def result(number: int) -> dict:
    return {"role": "tool", "tool_call_id": f"call_{number}", "content": "ok"}


@pytest.fixture
def model() -> Iterator[ScriptedModel]:
    with ScriptedModel() as running:
        yield running


@pytest.fixture
def client(model: ScriptedModel) -> Iterator[HTTPConnection]:
    connection = HTTPConnection("127.0.0.1", model.port, timeout=LIMIT)
    yield connection
    connection.close()


def post(client: HTTPConnection, body: object, path: str = CHAT, **headers: str) -> HTTPResponse:
    client.request("POST", path, json.dumps(body), {"Content-Type": "application/json", **headers})
    return client.getresponse()


def message(client: HTTPConnection, body: object) -> dict:
    response = post(client, body)
    assert response.status == 200
    return json.loads(response.read())["choices"][0]["message"]


def text(client: HTTPConnection, body: object) -> str:
    return message(client, body)["content"]


def called(client: HTTPConnection, body: object) -> tuple[str, object]:
    (call,) = message(client, body)["tool_calls"]
    return call["function"]["name"], json.loads(call["function"]["arguments"])


def chunks(response: HTTPResponse) -> list[dict]:
    events = response.read().decode().split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    return [json.loads(event.removeprefix("data: ")) for event in events[:-2]]


def test_the_steps_of_a_script_are_played_one_round_after_the_other(client):
    script = user("Do this: [[write:a/b.txt|one|two]] [[shell:cat a/b.txt]] [[edit:a/b.txt|one|1]] [[text:All done]]")
    messages = [script]
    played = []
    for number in range(3):
        played.append(called(client, ask(*messages)))
        messages += [{"role": "assistant", "content": None}, result(number)]
    assert played == [
        ("write", {"filePath": "a/b.txt", "content": "one|two"}),
        ("bash", {"command": "cat a/b.txt", "description": "scripted step"}),
        ("edit", {"filePath": "a/b.txt", "oldString": "one", "newString": "1"}),
    ]
    assert text(client, ask(*messages)) == "All done"


def test_a_script_without_a_text_ends_with_done(client):
    assert text(client, ask(user("[[shell:true]]"), result(0))) == "Done."


def test_an_agent_that_asks_past_the_end_gets_the_last_round_again(client):
    assert text(client, ask(user("[[shell:true]]"), result(0), result(1), result(2))) == "Done."


def test_the_newest_message_that_holds_directives_is_the_script(client):
    older = [user("[[text:old]]"), result(0)]
    later = [
        user([{"type": "text", "text": "Note.\n[[text:new]]"}]),
        {"role": "assistant", "content": "x"},
        user("go on"),
    ]
    assert text(client, ask(*older, *later)) == "new"


def test_tool_results_before_the_script_are_not_counted(client):
    before = [user("[[shell:one]]"), result(0), result(1)]
    assert called(client, ask(*before, user("[[shell:two]]")))[1]["command"] == "two"


def test_a_text_before_a_tool_call_is_said_in_the_same_round(client):
    said = message(client, ask(user("[[text:I will run it.]][[shell:true]]")))
    assert said["content"] == "I will run it."
    assert said["tool_calls"][0]["function"]["name"] == "bash"


@pytest.mark.parametrize("request_text", ["Write a title", "[[write:a|b]] as a title"])
def test_a_request_without_tools_is_an_errand_and_plays_no_script(client, request_text):
    assert text(client, ask(user(request_text), tools=[])) == "Scripted errand"


def test_a_request_without_directives_gets_a_short_text(client):
    assert text(client, ask(user("Hello"))) == "Scripted errand"


@pytest.mark.parametrize(
    ("offered", "name", "arguments"),
    [
        (
            tool("run_shell_command", "command", is_background={"type": "boolean"}),
            "run_shell_command",
            {"command": "ls", "is_background": False},
        ),
        (tool("shell", command={"type": "array"}), "shell", {"command": ["sh", "-c", "ls"]}),
        (tool("Bash", "cmd", lines={"type": "integer"}), "Bash", {"cmd": "ls", "lines": 0}),
    ],
)
def test_the_tool_is_found_by_its_name_and_its_parameters(client, offered, name, arguments):
    body = ask(user("[[shell:ls]]"), tools=[tool("bash", "keystrokes"), offered])
    assert called(client, body) == (name, arguments)


def test_a_step_that_no_tool_can_do_is_told_as_text(client):
    assert text(client, ask(user("[[write:a|b]]"), tools=[tool("look", "path")])) == "No offered tool can write: look."


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("[[sleep:soon]]", "[[sleep:soon]] takes S (0 to 3600)."),
        ("[[stream:5]]", "[[stream:5]] takes N (0 to 100000)|MS (0 to 3.6e+06)."),
        ("[[sleep:1e9]]", "[[sleep:1e9]] takes S (0 to 3600)."),
        ("[[sleep:nan]]", "[[sleep:nan]] takes S (0 to 3600)."),
        ("[[fail:200]]", "[[fail:200]] takes an HTTP status from 400 to 599."),
        ("[[write:only-a-path]]", "[[write:only-a-path]] takes PATH|CONTENT."),
    ],
)
def test_a_directive_that_makes_no_sense_is_told_as_text(client, script, told):
    assert text(client, ask(user(script))) == told


def test_a_stream_comes_as_numbered_words_and_ends_with_the_usage(client):
    body = ask(user("[[stream:3|1]][[shell:ls]]"), stream=True, stream_options={"include_usage": True})
    got = chunks(post(client, body))
    deltas = [chunk["choices"][0]["delta"] for chunk in got[:-1]]
    assert [d["content"] for d in deltas if d.get("content")] == ["0 ", "1 ", "2 "]
    (call,) = next(d["tool_calls"] for d in deltas if "tool_calls" in d)
    assert (call["index"], call["function"]["name"]) == (0, "bash")
    assert got[-2]["choices"][0]["finish_reason"] == "tool_calls"
    usage = got[-1]["usage"]
    assert got[-1]["choices"] == []
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"] > 2


def test_a_stream_without_the_wish_for_usage_has_none(client):
    assert all("usage" not in chunk for chunk in chunks(post(client, ask(user("[[text:x]]"), stream=True))))


def test_an_answer_in_one_document_has_the_usage_and_the_finish_reason(client):
    answer = json.loads(post(client, ask(user("[[stream:3|1]]"))).read())
    assert answer["choices"][0] == {
        "index": 0,
        "message": {"role": "assistant", "content": "0 1 2 "},
        "finish_reason": "stop",
    }
    assert answer["usage"]["prompt_tokens"] > 0


@pytest.mark.parametrize("status", [400, 429, 500, 599])
def test_a_fail_answers_with_its_status_every_time(client, status):
    for _ in range(3):
        response = post(client, ask(user(f"[[fail:{status}]]"), stream=True))
        assert (response.status, json.loads(response.read())["error"]["code"]) == (status, str(status))


def test_a_fail_with_times_goes_on_afterwards_and_starts_anew_the_next_time(client):
    def statuses() -> list[int]:
        got = []
        for _ in range(3):
            response = post(client, ask(user("[[fail:503|2]][[text:late]]")))
            response.read()
            got.append(response.status)
        return got

    assert statuses() == [503, 503, 200]
    assert statuses() == [503, 503, 200]


def test_a_fail_in_a_later_round_leaves_the_first_round_alone(client):
    script = user("[[shell:true]][[fail:500]]")
    assert called(client, ask(script))[0] == "bash"
    response = post(client, ask(script, result(0)))
    response.read()
    assert response.status == 500


def test_the_models_are_listed(client):
    client.request("GET", "/v1/models")
    assert [entry["id"] for entry in json.loads(client.getresponse().read())["data"]] == ["scripted"]


@pytest.mark.parametrize("body", ["[]", "{}", "nonsense", '{"messages": 3}'])
def test_a_body_that_is_no_request_is_a_400_and_the_connection_lives_on(client, body):
    client.request("POST", CHAT, body)
    response = client.getresponse()
    assert (response.status, json.loads(response.read())["error"]["type"]) == (400, "invalid_request_error")
    assert text(client, ask(user("[[text:still here]]"))) == "still here"


def test_an_unknown_path_is_a_404(client):
    response = post(client, {}, path="/v2/chat/completions")
    assert (response.status, CHAT in response.read().decode()) == (404, True)


def test_a_body_over_the_limit_is_refused_before_it_is_read(client, monkeypatch):
    monkeypatch.setattr(server, "BODY_LIMIT", 1000)
    client.putrequest("POST", CHAT)
    client.putheader("Content-Length", "1001")
    client.endheaders()
    response = client.getresponse()
    response.read()
    assert (response.status, response.will_close) == (413, True)


def test_requests_are_recorded_with_their_headers(model, client):
    body = ask(user("[[text:x]]"))
    post(client, body, Authorization="Bearer stand-in").read()
    (recorded,) = model.requests
    assert (recorded.method, recorded.path, recorded.headers["authorization"]) == ("POST", CHAT, "Bearer stand-in")
    assert recorded.json() == body


def test_the_record_forgets_the_oldest_requests_when_it_is_full(model, client, monkeypatch):
    monkeypatch.setattr(server, "RECORD_LIMIT", 10_000)
    for number in range(20):
        post(client, ask(user(f"{number} " + "x" * 1000))).read()
    kept = [recorded.json()["messages"][0]["content"].split()[0] for recorded in model.requests]
    assert kept == [str(number) for number in range(20)][-len(kept) :]
    assert 1 < len(kept) < 10


def test_a_test_can_wait_for_a_request(model, client):
    asking = threading.Thread(target=lambda: post(client, ask(user("[[text:x]]"))).read())
    asking.start()
    assert model.wait_for(lambda request: request.path == CHAT).json()["model"] == "scripted"
    asking.join(LIMIT)


def test_waiting_for_a_request_that_never_comes_ends(model):
    with pytest.raises(TimeoutError, match="no such request"):
        model.wait_for(lambda _: True, timeout=0.01)


def raw_request(connection: socket.socket, script: str) -> None:
    body = json.dumps(ask(user(script), stream=True)).encode()
    connection.sendall(
        b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (CHAT.encode(), len(body), body)
    )


def connection_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if "process_request_thread" in thread.name]


def test_a_stop_ends_a_silent_answer_and_every_thread():
    with ExitStack() as stack:
        with ScriptedModel() as model:
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", model.port), LIMIT))
            raw_request(connection, "[[sleep:3000]]")
            model.wait_for(lambda _: True)
        assert not connection_threads()
        received = b"".join(iter(lambda: connection.recv(65536), b""))
        assert b"[DONE]" not in received


def test_a_client_that_goes_away_ends_its_silent_answer(model):
    with socket.create_connection(("127.0.0.1", model.port), LIMIT) as connection:
        raw_request(connection, "[[sleep:3000]]")
        model.wait_for(lambda _: True)
        (thread,) = connection_threads()
    thread.join(LIMIT)
    assert not thread.is_alive()


def test_it_serves_on_a_unix_socket_and_removes_it(tmp_path):
    path = tmp_path / "model.sock"
    with ScriptedModel(unix=path), socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(LIMIT)
        connection.connect(str(path))
        raw_request(connection, "[[text:over the socket]]")
        received = b""
        while b"[DONE]" not in received:
            received += connection.recv(65536)
        assert b"over the socket" in received
    assert not path.exists()


def test_the_program_says_where_it_listens_and_ends_on_sigterm():
    argv = [sys.executable, "-m", "tests.agents.scripted_model", "--port", "0"]
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True) as program:
        said = program.stdout.readline().split()
        assert said[:2] == ["listening", "on"]
        client = HTTPConnection(said[2].removeprefix("http://").removesuffix("/v1"), timeout=LIMIT)
        assert text(client, ask(user("[[text:hello]]"))) == "hello"
        client.close()
        program.send_signal(signal.SIGTERM)
        assert program.wait(LIMIT) == 0
