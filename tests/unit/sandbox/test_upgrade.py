"""The exchange that opens a raw stream, in pieces of any size."""

import pytest

from sandbox.errors import EngineError, EngineRefused, SandboxGone, StreamCorrupt
from sandbox.refusals import refusal
from sandbox.upgrade import LARGEST_ANSWER, Reply, start_request

SWITCHED = b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"


def test_the_request_asks_for_the_upgrade_and_says_how_long_its_body_is():
    head, _, body = start_request("abc", "1.41").partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1.41/exec/abc/start HTTP/1.1\r\n")
    assert b"\r\nUpgrade: tcp" in head
    assert f"Content-Length: {len(body)}".encode() in head
    assert body == b'{"Detach":false,"Tty":false}'


@pytest.mark.parametrize("rest", [b"", b"\x01\x00\x00\x00\x00\x00\x00\x01x", b"\r\n\r\n"])
def test_what_follows_the_headers_is_the_first_of_the_stream(rest):
    assert Reply("go").feed(SWITCHED + rest) == rest


def test_headers_may_come_in_any_pieces():
    for place in range(1, len(SWITCHED)):
        reply = Reply("go")
        assert reply.feed(SWITCHED[:place]) is None
        assert reply.feed(SWITCHED[place:] + b"first") == b"first"


def test_a_refusal_is_told_in_the_engines_words_once_its_body_is_there():
    answer = b'HTTP/1.1 404 Not Found\r\nContent-Length: 44\r\n\r\n{"message":"No such container: 0123456789a"}'
    reply = Reply("go")
    assert reply.feed(answer[:-1]) is None
    with pytest.raises(SandboxGone, match="No such container: 0123456789a"):
        reply.feed(answer[-1:])


def test_a_refusal_without_a_length_is_told_when_the_connection_ends():
    reply = Reply("go")
    assert reply.feed(b"HTTP/1.1 500 Oops\r\n\r\nit broke") is None
    told = reply.ended()
    assert isinstance(told, EngineRefused)
    assert (told.status, "refused to go: it broke" in str(told)) == (500, True)


def test_an_answer_that_does_not_change_the_protocol_is_no_stream():
    reply = Reply("go")
    assert (
        reply.feed(b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\nError: running") is None
    )
    assert "did not change to the raw stream ('Error: running')" in str(reply.ended())


def test_a_connection_that_ends_without_an_answer_is_told_as_such():
    told = Reply("go").ended()
    assert type(told) is EngineError
    assert "may be restarting" in str(told)


@pytest.mark.parametrize(
    "answer", [b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n", bytes(LARGEST_ANSWER + 1)]
)
def test_what_is_no_http_is_named(answer):
    with pytest.raises(StreamCorrupt, match="did not answer in HTTP"):
        Reply("go").feed(answer)


@pytest.mark.parametrize(
    ("status", "words", "kind"),
    [
        (404, "No such image: x:latest", "image_missing"),
        (500, "manifest for x:latest not found: manifest unknown", "image_missing"),
        (404, "pull access denied for x, repository does not exist", "image_missing"),
        (404, "No such container: x", "sandbox_gone"),
        (409, "Container x is not running", "sandbox_gone"),
        (409, "Container x is paused, unpause the container before exec", "engine_refused"),
        (400, 'OCI runtime create failed: exec: "x": executable file not found in $PATH: unknown', "command_missing"),
        (409, 'Conflict. The container name "/x" is already in use by container "y".', "name_taken"),
        (500, "no space left on device", "engine_refused"),
    ],
)
def test_the_engines_words_have_a_kind(status, words, kind):
    told = refusal(status, words, "go")
    assert told.kind == kind
    assert words.rstrip(".") in str(told)
