"""The scripted model's Anthropic messages, asked over real connections as Claude's agent asks them."""

import json
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse

import pytest

from tests.agents.scripted_model import ScriptedModel

PATH = "/v1/messages?beta=true"
TOOLS = [
    {"name": name, "input_schema": {"type": "object", "properties": {key: {"type": "string"} for key in keys}}}
    for name, keys in {
        "Bash": ("command", "description"),
        "Edit": ("file_path", "old_string", "new_string"),
        "Write": ("file_path", "content"),
    }.items()
]


@pytest.fixture
def client() -> Iterator[HTTPConnection]:
    with ScriptedModel() as model:
        connection = HTTPConnection("127.0.0.1", model.port, timeout=20.0)
        yield connection
        connection.close()


def user(*blocks: object) -> dict:
    return {"role": "user", "content": [{"type": "text", "text": b} if isinstance(b, str) else b for b in blocks]}


def result(number: int = 0) -> dict:
    return {"type": "tool_result", "tool_use_id": f"toolu_{number}", "content": "ok"}


def post(client: HTTPConnection, *messages: dict, **more: object) -> HTTPResponse:
    body = {"model": "scripted", "max_tokens": 100, "messages": list(messages), "tools": TOOLS, **more}
    client.request("POST", PATH, json.dumps(body), {"Content-Type": "application/json"})
    return client.getresponse()


def answer(client: HTTPConnection, *messages: dict, **more: object) -> dict:
    response = post(client, *messages, **more)
    assert response.status == 200
    return json.loads(response.read())


def text(client: HTTPConnection, *messages: dict, **more: object) -> str:
    (block,) = answer(client, *messages, **more)["content"]
    return block["text"]


def test_the_steps_of_a_script_are_played_one_round_after_the_other(client):
    messages = [user("Do: [[write:a.txt|one]][[edit:a.txt|one|1]][[shell:cat a.txt]][[text:All done]]")]
    played, ids = [], set()
    for number in range(3):
        got = answer(client, *messages)
        (call,) = got["content"]
        played.append((call["type"], call["name"], call["input"], got["stop_reason"]))
        ids.add(call["id"])
        messages += [{"role": "assistant", "content": [call]}, user(result(number), "<reminder>be brief</reminder>")]
    assert played == [
        ("tool_use", "Write", {"file_path": "a.txt", "content": "one"}, "tool_use"),
        ("tool_use", "Edit", {"file_path": "a.txt", "old_string": "one", "new_string": "1"}, "tool_use"),
        ("tool_use", "Bash", {"command": "cat a.txt"}, "tool_use"),
    ]
    assert len(ids) == 3, "an agent keeps its calls by their ids"
    got = answer(client, *messages)
    assert (got["content"], got["stop_reason"]) == ([{"type": "text", "text": "All done"}], "end_turn")
    assert got["usage"]["input_tokens"] > 0


def test_the_newest_words_that_hold_directives_are_the_script(client):
    older = [user("[[shell:true]][[text:old]]"), user(result())]
    assert text(client, *older) == "old"
    assert text(client, *older, {"role": "user", "content": "[[text:new]]"}) == "new"
    steered = user(result(), "The user said meanwhile: [[text:steered]]")
    assert text(client, older[0], steered) == "steered", "a message put into a running turn stands behind a result"
    assert text(client, user("[[fail:500]]", "[[text:after a failure]]")) == "after a failure"


def test_a_request_without_tools_is_an_errand_and_plays_no_script(client):
    assert text(client, user("[[text:x]] as a title"), tools=[]) == "Scripted errand"


def events(response: HTTPResponse) -> list[dict]:
    found = []
    for event in response.read().decode().split("\n\n")[:-1]:
        kind, data = event.split("\n")
        found.append(json.loads(data.removeprefix("data: ")))
        assert kind == f"event: {found[-1]['type']}"
    return found


def test_a_stream_gives_each_block_in_pieces_and_ends_with_reason_and_usage(client):
    got = events(post(client, user("[[stream:2|1]][[shell:ls]]"), stream=True))
    assert [(each["type"], each.get("index")) for each in got] == [
        ("message_start", None),
        ("content_block_start", 0),
        ("content_block_delta", 0),
        ("content_block_delta", 0),
        ("content_block_stop", 0),
        ("content_block_start", 1),
        ("content_block_delta", 1),
        ("content_block_stop", 1),
        ("message_delta", None),
        ("message_stop", None),
    ]
    assert [each["delta"]["text"] for each in got[2:4]] == ["0 ", "1 "]
    assert (got[5]["content_block"]["name"], got[5]["content_block"]["input"]) == ("Bash", {})
    assert json.loads(got[6]["delta"]["partial_json"]) == {"command": "ls"}
    assert got[8]["delta"]["stop_reason"] == "tool_use"
    assert got[8]["usage"]["output_tokens"] > 0


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (529, "overloaded_error"),
    ],
)
def test_a_fail_answers_with_its_status_in_this_formats_words(client, status, kind):
    response = post(client, user(f"[[fail:{status}]]"), stream=True)
    told = json.loads(response.read())
    assert (response.status, told["type"], told["error"]["type"]) == (status, "error", kind)


def test_a_body_that_is_no_request_is_a_400_in_this_formats_words(client):
    response = post(client, messages=3)
    assert (response.status, json.loads(response.read())["type"]) == (400, "error")
