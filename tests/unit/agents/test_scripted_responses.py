"""The scripted model's OpenAI responses, asked over real connections as Codex asks them."""

import json
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse

import pytest

from tests.agents.scripted_model import ScriptedModel

PATH = "/v1/responses"
SHELL = {
    "type": "function",
    "name": "exec_command",
    "parameters": {"type": "object", "properties": {"cmd": {"type": "string"}, "tty": {"type": "boolean"}}},
}
OTHERS = [
    {"type": "web_search"},
    {"type": "namespace", "name": "agents", "tools": [{**SHELL, "name": "shell"}]},
    {"type": "custom", "name": "edit", "format": {"type": "grammar"}},
]


@pytest.fixture
def client() -> Iterator[HTTPConnection]:
    with ScriptedModel() as model:
        connection = HTTPConnection("127.0.0.1", model.port, timeout=20.0)
        yield connection
        connection.close()


def said(text: str, role: str = "user") -> dict:
    return {"type": "message", "role": role, "content": [{"type": "input_text", "text": text}]}


def result(call: dict) -> dict:
    return {"type": "function_call_output", "call_id": call["call_id"], "output": "ok"}


def post(client: HTTPConnection, *items: dict, **more: object) -> HTTPResponse:
    body = {"model": "scripted", "input": list(items), "tools": [*OTHERS, SHELL], **more}
    client.request("POST", PATH, json.dumps(body), {"Content-Type": "application/json"})
    return client.getresponse()


def output(client: HTTPConnection, *items: dict, **more: object) -> list[dict]:
    response = post(client, *items, **more)
    assert response.status == 200
    return json.loads(response.read())["output"]


def text(client: HTTPConnection, *items: dict, **more: object) -> str:
    (message,) = output(client, *items, **more)
    return message["content"][0]["text"]


def test_the_steps_of_a_script_are_played_one_round_after_the_other(client):
    items = [said("be helpful", "developer"), said("Do: [[shell:ls]][[shell:cat a.txt]][[text:All done]]")]
    played, ids = [], set()
    for _ in range(2):
        (call,) = output(client, *items)
        played.append((call["type"], call["name"], json.loads(call["arguments"])))
        ids.add(call["call_id"])
        items += [call, result(call)]
    assert played == [
        ("function_call", "exec_command", {"cmd": "ls"}),
        ("function_call", "exec_command", {"cmd": "cat a.txt"}),
    ]
    assert len(ids) == 2, "an agent keeps its calls by their ids"
    assert text(client, *items) == "All done"


def test_the_newest_words_that_hold_directives_are_the_script(client):
    (call,) = output(client, older := said("[[shell:true]][[text:old]]"))
    items = [older, call, result(call)]
    assert text(client, *items) == "old"
    assert text(client, *items, said("[[text:steered]]")) == "steered", "a message put into a running turn comes last"
    assert text(client, input="[[text:a bare text]]") == "a bare text"
    assert text(client, said("[[text:instructions]]", "developer"), said("hello")) == "Scripted errand"


def test_only_functions_are_called_and_those_of_a_group_with_its_name(client):
    assert text(client, said("[[edit:a|b|c]]")) == "No offered tool can edit: agents.shell, exec_command."
    grouped = post(client, said('[[call:shell|{"cmd": "ls"}]]'), tools=OTHERS)
    (call,) = json.loads(grouped.read())["output"]
    assert (call["namespace"], call["name"]) == ("agents", "shell")
    assert text(client, said("[[shell:ls]]"), tools=OTHERS[::2]) == "Scripted errand"


def events(response: HTTPResponse) -> list[dict]:
    found = []
    for event in response.read().decode().split("\n\n")[:-1]:
        kind, data = event.split("\n")
        found.append(json.loads(data.removeprefix("data: ")))
        assert kind == f"event: {found[-1]['type']}"
    assert [each["sequence_number"] for each in found] == list(range(len(found)))
    return found


def test_a_stream_gives_each_item_in_pieces_and_ends_with_the_whole_and_its_usage(client):
    got = events(post(client, said("[[stream:2|1]][[shell:ls]]"), stream=True))
    assert [(each["type"].removeprefix("response."), each.get("output_index")) for each in got] == [
        ("created", None),
        ("in_progress", None),
        ("output_item.added", 0),
        ("content_part.added", 0),
        ("output_text.delta", 0),
        ("output_text.delta", 0),
        ("output_text.done", 0),
        ("content_part.done", 0),
        ("output_item.done", 0),
        ("output_item.added", 1),
        ("function_call_arguments.delta", 1),
        ("function_call_arguments.done", 1),
        ("output_item.done", 1),
        ("completed", None),
    ]
    assert [each["delta"] for each in got[4:6]] == ["0 ", "1 "]
    assert (got[2]["item"]["content"], got[9]["item"]["arguments"]) == ([], "")
    assert json.loads(got[10]["delta"]) == {"cmd": "ls"}
    whole = got[-1]["response"]
    assert whole["output"] == [got[8]["item"], got[12]["item"]]
    assert whole["status"] == "completed"
    assert whole["usage"]["total_tokens"] == whole["usage"]["input_tokens"] + whole["usage"]["output_tokens"] > 0


def test_a_silence_before_a_call_says_nothing(client):
    got = events(post(client, said("[[sleep:0.01]][[shell:ls]]"), stream=True))
    assert [item["type"] for item in got[-1]["response"]["output"]] == ["function_call"]


@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [
        (400, "invalid_request_error", None),
        (401, "invalid_request_error", "invalid_api_key"),
        (429, "requests", "rate_limit_exceeded"),
        (500, "server_error", None),
    ],
)
def test_a_fail_answers_with_its_status_in_this_formats_words(client, status, kind, code):
    response = post(client, said(f"[[fail:{status}]]"), stream=True)
    told = json.loads(response.read())["error"]
    assert (response.status, told["type"], told["code"]) == (status, kind, code)


def test_a_body_that_is_no_request_is_a_400_in_this_formats_words(client):
    response = post(client, input=3)
    assert (response.status, json.loads(response.read())["error"]["type"]) == (400, "invalid_request_error")
