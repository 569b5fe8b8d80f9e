"""The scripted model's Gemini form, asked over real connections as Gemini CLI asks it."""

import json
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse

import pytest

from tests.agents.scripted_model import ScriptedModel

TOOLS = [
    {
        "functionDeclarations": [
            {
                "name": name,
                "parametersJsonSchema": {"type": "object", "properties": {k: {"type": "string"} for k in keys}},
            }
            for name, keys in {
                "replace": ("file_path", "old_string", "new_string"),
                "write_file": ("file_path", "content"),
            }.items()
        ]
        + [
            {
                "name": "run_shell_command",
                "parameters": {"type": "OBJECT", "properties": {"command": {"type": "STRING"}}},
            }
        ]
    },
    {"googleSearch": {}},
]


@pytest.fixture
def client() -> Iterator[HTTPConnection]:
    with ScriptedModel() as model:
        connection = HTTPConnection("127.0.0.1", model.port, timeout=20.0)
        yield connection
        connection.close()


def post(client: HTTPConnection, *contents: dict, manner: str = "generateContent", **more: object) -> HTTPResponse:
    body = {"contents": list(contents), "tools": TOOLS, **more}
    client.request("POST", f"/v1beta/models/gemini-x:{manner}", json.dumps(body), {"Content-Type": "application/json"})
    return client.getresponse()


def user(*texts: str) -> dict:
    return {"role": "user", "parts": [{"text": text} for text in texts]}


def result(name: str) -> dict:
    return {"role": "user", "parts": [{"functionResponse": {"name": name, "response": {"output": "ok"}}}]}


def test_the_steps_of_a_script_are_played_one_round_after_the_other(client: HTTPConnection) -> None:
    script = "Do: [[write:a.txt|one]][[edit:a.txt|one|1]][[shell:cat a.txt]][[text:All done]]"
    contents, played = [user("This is where you are."), user("Before: [[text:old]]", script)], []
    for _ in range(3):
        got = json.loads(post(client, *contents).read())
        (part,) = got["candidates"][0]["content"]["parts"]
        played.append((part["functionCall"]["name"], part["functionCall"]["args"]))
        contents += [{"role": "model", "parts": [part]}, result(part["functionCall"]["name"])]
    assert played == [
        ("write_file", {"file_path": "a.txt", "content": "one"}),
        ("replace", {"file_path": "a.txt", "old_string": "one", "new_string": "1"}),
        ("run_shell_command", {"command": "cat a.txt"}),
    ]
    got = json.loads(post(client, *contents).read())
    assert got["candidates"][0] == {
        "content": {"role": "model", "parts": [{"text": "All done"}]},
        "index": 0,
        "finishReason": "STOP",
    }
    assert got["modelVersion"] == "gemini-x"
    assert got["usageMetadata"]["totalTokenCount"] == sum(
        got["usageMetadata"][f"{each}TokenCount"] for each in ("prompt", "candidates")
    )


def test_a_stream_has_its_pieces_and_ends_with_the_usage(client: HTTPConnection) -> None:
    text = post(client, user("[[stream:3|1]][[shell:true]]"), manner="streamGenerateContent?alt=sse").read().decode()
    chunks = [json.loads(event.removeprefix("data: ")) for event in text.strip().split("\r\n\r\n")]
    parts = [part for chunk in chunks for part in chunk["candidates"][0]["content"]["parts"]]
    assert "".join(part.get("text", "") for part in parts).split() == ["0", "1", "2"]
    assert parts[-1]["functionCall"] == {"name": "run_shell_command", "args": {"command": "true"}}
    assert ["usageMetadata" in chunk for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert chunks[-1]["candidates"][0]["finishReason"] == "STOP"


def test_a_subscription_is_answered_in_its_envelope_and_told_of_its_account(client: HTTPConnection) -> None:
    request = {"contents": [user("[[text:one two]]")], "tools": TOOLS}
    body = json.dumps({"model": "gemini-x", "project": "p", "request": request})
    client.request("POST", "/v1internal:streamGenerateContent?alt=sse", body)
    events = client.getresponse().read().decode().strip().split("\r\n\r\n")
    chunks = [json.loads(event.removeprefix("data: "))["response"] for event in events]
    assert (chunks[0]["candidates"][0]["content"]["parts"], "usageMetadata" in chunks[-1]) == (
        [{"text": "one two"}],
        True,
    )
    assert {chunk["modelVersion"] for chunk in chunks} == {"gemini-x"}
    client.request("POST", "/v1internal:loadCodeAssist", "{}")
    assert json.loads(client.getresponse().read())["cloudaicompanionProject"] == "scripted-project"


@pytest.mark.parametrize(("status", "word"), [(400, "INVALID_ARGUMENT"), (429, "RESOURCE_EXHAUSTED"), (418, "UNKNOWN")])
def test_a_failure_has_the_form_of_the_provider(client: HTTPConnection, status: int, word: str) -> None:
    response = post(client, user(f"[[fail:{status}]]"), manner="streamGenerateContent?alt=sse")
    assert response.status == status
    error = json.loads(response.read())["error"]
    assert (error["code"], error["status"]) == (status, word)


def test_what_is_no_request_is_refused(client: HTTPConnection) -> None:
    response = post(client, contents=3)
    assert (response.status, "list of contents" in response.read().decode()) == (400, True)
    client.request("POST", "/v1beta/models/x:embedContent", "{}")
    assert client.getresponse().status == 404
