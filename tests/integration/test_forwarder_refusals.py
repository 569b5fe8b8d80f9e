"""What the forwarder does not carry, and how it tells what went wrong without telling the key."""

import asyncio
import base64
import contextlib
import json
import logging
import socket

import h11
import pytest

from acp_runtime.keys import LiveKey
from tests.integration.http_ends import KEY, client, echo, forwarding, upstream
from tests.integration.relay_process import free_port

NOWHERE = "http://127.0.0.1:1/v1"


def error(body: bytes) -> dict[str, str]:
    """The error of an answer, which has the form that clients of model APIs know."""
    found = json.loads(body)["error"]
    assert found["type"] == "forwarder_error"
    assert found["message"].endswith(".")
    assert "\n" not in found["message"]
    return found


async def say_raw(path, text: bytes) -> bytes:
    """Everything that comes back for these bytes, up to the end of the connection."""
    async with client(path) as agent:
        agent.writer.write(text)
        return await agent.reader.read()


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (b"POST /v1/x HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST /v1/x HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n", 400),
        (b"POST /v1/x HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n", 400),
        (b"POST /v1/x HTTP/1.1\r\nhost: x\r\ncontent-length: -5\r\n\r\n", 400),
        (b"POST /v1/x HTTP/1.1\r\nhost: x\r\ncontent-length : 5\r\n\r\nhello", 400),
        (b"POST /v1/x HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked, chunked\r\n\r\n", 501),
        (b"POST /v1/x HTTP/1.1\r\nhost: x\r\ntransfer-encoding: gzip\r\n\r\n", 501),
        (b"POST /v1/x HTTP/1.1\r\nhost: x\r\ntransfer-encoding\x0b: chunked\r\n\r\n", 400),
        (b"GET /v1/x HTTP/1.1\r\n\r\n", 400),
        (b"GET /v1/x HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", 400),
        (b"GET /v1/a b HTTP/1.1\r\nhost: x\r\n\r\n", 400),
        (b"GET /v1/x HTTP/1.0\r\n\r\n", 505),
        (b"GET /v1/x HTTP/2.0\r\nhost: x\r\n\r\n", 505),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (b"CONNECT other:443 HTTP/1.1\r\nhost: other:443\r\n\r\n", 405),
        (b"TRACE /v1/x HTTP/1.1\r\nhost: x\r\n\r\n", 405),
        (b"GET http://other/v1/x HTTP/1.1\r\nhost: other\r\n\r\n", 403),
        (b"GET /v1/../secrets HTTP/1.1\r\nhost: x\r\n\r\n", 403),
        (b"GET /v1/%2e%2E/secrets HTTP/1.1\r\nhost: x\r\n\r\n", 403),
        (b"GET /v1/x HTTP/1.1\r\nhost: x\r\nx: " + b"y" * 70_000 + b"\r\n\r\n", 431),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    ],
)
async def test_what_could_lead_elsewhere_or_is_no_http_is_refused_and_not_passed_on(tmp_path, text, status):
    async with upstream(echo) as model, forwarding(tmp_path, model.url) as forwarder:
        answer = await say_raw(forwarder.path, text)
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    error(answer.partition(b"\r\n\r\n")[2])
    assert answer.count(b"\r\n\r\n") == 1
    assert model.requests == []
    assert forwarder.tally.failures == 1


async def test_a_second_request_hidden_in_a_body_stays_a_body(tmp_path):
    hidden = b"GET /v1/hidden HTTP/1.1\r\nhost: x\r\n\r\n"
    async with upstream(echo) as model, forwarding(tmp_path, model.url) as forwarder, client(forwarder.path) as agent:
        assert (await agent.exchange("POST", "/v1/x", hidden))[1] == b"POST /v1/x " + hidden
    assert len(model.requests) == 1


async def test_an_absolute_target_of_the_upstream_is_carried_as_a_path(tmp_path):
    async with upstream(echo) as model, forwarding(tmp_path, model.url) as forwarder, client(forwarder.path) as agent:
        assert (await agent.exchange("GET", f"{model.url}/x?beta"))[1] == b"GET /v1/x?beta "


async def test_a_body_that_says_it_is_too_large_is_refused_before_the_upstream_is_asked(tmp_path):
    async with (
        upstream(echo) as model,
        forwarding(tmp_path, model.url, body_bytes=1000) as forwarder,
        client(forwarder.path) as agent,
    ):
        assert (await agent.exchange("POST", "/v1/x", b"y" * 1000))[0].status_code == 200
        answer, body = await agent.exchange("POST", "/v1/x", b"y" * 1001)
    assert (answer.status_code, error(body)["code"]) == (413, "body_too_large")
    assert len(model.requests) == 1


async def test_a_body_that_becomes_too_large_is_cut_off(tmp_path):
    cut = asyncio.Event()

    async def listen(end, _):
        with contextlib.suppress(ConnectionError, h11.RemoteProtocolError):
            await end.hear_body()
            raise AssertionError("the body was ended in order")
        cut.set()

    async with (
        upstream(listen) as model,
        forwarding(tmp_path, model.url, body_bytes=1000) as forwarder,
        client(forwarder.path) as agent,
    ):
        chunked = [("host", "x"), ("transfer-encoding", "chunked")]
        await agent.say(h11.Request(method="POST", target="/v1/x", headers=chunked))
        await agent.say(h11.Data(data=b"y" * 600), h11.Data(data=b"y" * 600))
        assert (await agent.hear()).status_code == 413
        await cut.wait()


async def test_a_broken_chunk_in_a_request_is_not_ended_in_order(tmp_path):
    cut = asyncio.Event()

    async def listen(end, _):
        with pytest.raises((ConnectionError, h11.RemoteProtocolError)):
            await end.hear_body()
        cut.set()

    async with upstream(listen) as model, forwarding(tmp_path, model.url) as forwarder:
        head = b"POST /v1/x HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
        answer = await say_raw(forwarder.path, head + b"5\r\nhello\r\nzz\r\n")
        assert answer.startswith(b"HTTP/1.1 400 ")
        await cut.wait()


async def test_an_upstream_that_breaks_the_connection_during_a_request_is_told_as_502(tmp_path):
    async def break_off(end, _):
        await end.hear()
        end.writer.transport.abort()

    loop = asyncio.get_running_loop()
    async with upstream(break_off) as model, forwarding(tmp_path, model.url) as forwarder:
        with socket.socket(socket.AF_UNIX) as agent:
            agent.setblocking(False)
            await loop.sock_connect(agent, str(forwarder.path))
            await loop.sock_sendall(agent, b"POST /v1/x HTTP/1.1\r\nhost: x\r\ncontent-length: 50000000\r\n\r\n")
            with contextlib.suppress(ConnectionError):
                while True:
                    await loop.sock_sendall(agent, b"y" * 65536)
            text = await loop.sock_recv(agent, 65536)
    assert text.startswith(b"HTTP/1.1 502 ")
    assert error(text.partition(b"\r\n\r\n")[2])["code"] == "upstream_broken"


@pytest.mark.parametrize("method", ["POST", "HEAD"])
async def test_an_upstream_that_is_down_is_told_as_502(tmp_path, method):
    async with forwarding(tmp_path, NOWHERE) as forwarder, client(forwarder.path) as agent:
        headers = [("expect", "100-continue")] if method == "POST" else []
        answer, body = await agent.exchange(method, "/v1/x", b"{}" if method == "POST" else b"", headers)
    assert answer.status_code == 502
    if method == "POST":
        assert error(body)["code"] == "upstream_unreachable"
    sentence = "The model at http://127.0.0.1:1 cannot be reached: Connection refused"
    assert (forwarder.tally.failures, forwarder.tally.last_error) == (1, sentence)


async def test_an_upstream_that_takes_no_connection_is_given_up_after_its_bound(tmp_path):
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):  # what does not fit into the backlog is not answered at all
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        async with forwarding(tmp_path, url, connect_seconds=0.2) as forwarder, client(forwarder.path) as agent:
            answer, body = await agent.exchange("GET", "/v1/x")
    assert (answer.status_code, error(body)["code"]) == (504, "upstream_unreachable")


async def test_an_upstream_that_is_silent_is_given_up_after_its_bound(tmp_path):
    async def silent(end, _):
        with contextlib.suppress(ConnectionError):
            await end.reader.read()

    async with (
        upstream(silent) as model,
        forwarding(tmp_path, model.url, idle_seconds=0.2) as forwarder,
        client(forwarder.path) as agent,
    ):
        answer, body = await agent.exchange("GET", "/v1/x")
    assert (answer.status_code, error(body)["code"]) == (504, "upstream_silent")
    assert forwarder.tally.last_error == "The model was silent for 0.2 s"


async def test_a_client_that_says_nothing_is_closed_after_the_bound(tmp_path):
    async with forwarding(tmp_path, NOWHERE, idle_seconds=0.2) as forwarder:
        for text in (b"", b"GET /v1/x HT"):
            assert await say_raw(forwarder.path, text) == b""


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"garbage\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 200_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx-echo : Bearer " + KEY.encode() + b"\r\n\r\n",
    ],
)
async def test_an_answer_that_is_no_http_is_told_as_502(tmp_path, answer):
    async def say(end, _):
        await end.hear_body()
        end.writer.write(answer)

    async with upstream(say) as model, forwarding(tmp_path, model.url) as forwarder, client(forwarder.path) as agent:
        head, body = await agent.exchange("GET", "/v1/x")
    assert (head.status_code, error(body)["code"]) == (502, "upstream_broken")
    assert KEY.encode() not in body


@pytest.mark.parametrize("framing", [("transfer-encoding", "chunked"), ("content-length", "1000")])
@pytest.mark.parametrize("status", [200, 500])
async def test_an_answer_that_breaks_off_is_not_ended_in_order(tmp_path, framing, status):
    async def break_off(end, _):
        await end.hear_body()
        await end.say(h11.Response(status_code=status, headers=[framing]), h11.Data(data=b"first half"))

    async with upstream(break_off) as model, forwarding(tmp_path, model.url) as forwarder:
        text = await say_raw(forwarder.path, b"GET /v1/x HTTP/1.1\r\nhost: x\r\n\r\n")
    assert b"first half" in text
    assert not text.endswith(b"0\r\n\r\n")
    what = "the model's answer broke off after 10 bytes" if status == 200 else "the model answered 500"
    assert (forwarder.tally.failures, forwarder.tally.last_error) == (1, what)


async def test_an_error_of_the_model_arrives_as_it_is_and_is_remembered(tmp_path):
    async def fail(end, _):
        await end.hear_body()
        await end.answer(500, b'{"error": "mine"}', [("retry-after", "7")])

    async with upstream(fail) as model, forwarding(tmp_path, model.url) as forwarder, client(forwarder.path) as agent:
        for count in (1, 2):
            answer, body = await agent.exchange("POST", "/v1/x", b"{}")
            assert (answer.status_code, body) == (500, b'{"error": "mine"}')
            assert dict(answer.headers)[b"retry-after"] == b"7"
            assert (forwarder.tally.failures, forwarder.tally.last_error) == (count, "the model answered 500")


async def test_connections_over_the_limit_are_told_so_and_a_free_place_is_given_again(tmp_path):
    async with upstream(echo) as model, forwarding(tmp_path, model.url, connections=2) as forwarder:
        async with client(forwarder.path) as first:
            await first.exchange("GET", "/v1/x")
            async with client(forwarder.path) as second:
                await second.exchange("GET", "/v1/x")
                answer = await say_raw(forwarder.path, b"")
                assert answer.startswith(b"HTTP/1.1 503 ")
                assert error(answer.partition(b"\r\n\r\n")[2])["code"] == "too_many_connections"
                await second.exchange("GET", "/v1/x")
            await first.exchange("GET", "/v1/x")
        async with client(forwarder.path) as third:
            assert (await third.exchange("GET", "/v1/x"))[0].status_code == 200


async def test_the_key_is_in_nothing_that_can_be_seen(tmp_path, caplog):
    """An upstream that repeats what it was sent, cut in the middle of the key, must not give the key away."""
    caplog.set_level(logging.DEBUG)

    async def repeat(end, request):
        await end.hear_body()
        said = b"\n".join(name + b": " + value for name, value in request.headers)
        echo = ("x-echo", dict(request.headers)[b"authorization"].decode())
        await end.say(h11.Response(status_code=400, headers=[echo, ("content-length", str(len(said)))]))
        for byte in said:
            await end.say(h11.Data(data=bytes([byte])))
        await end.say(h11.EndOfMessage())

    async with upstream(repeat) as model:
        url = f"{model.url}/with"
        async with forwarding(tmp_path, url) as forwarder:
            texts = [
                await say_raw(forwarder.path, b"GET /v1/with/x HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"),
                await say_raw(forwarder.path, b"GET /v1/../x HTTP/1.1\r\nhost: x\r\n\r\n"),
                await say_raw(forwarder.path, b"nonsense\r\n\r\n"),
            ]
            shown = (vars(forwarder.forwarder), vars(forwarder.server), forwarder, forwarder.tally)
            texts += [repr(each).encode() for each in shown]
    texts.append(caplog.text.encode())
    assert b"authorization: Bearer " + b"*" * len(KEY) in texts[0]
    assert any(KEY.encode() in value for _, value in model.requests[0].headers)
    for form in (KEY.encode(), base64.b64encode(KEY.encode()), KEY.encode().hex().encode()):
        assert not [text for text in texts if form in text]


@pytest.mark.requirement("T8")
async def test_a_key_that_is_said_beside_the_status_does_not_come_back(tmp_path):
    async def say_it(end, _request):
        await end.hear_body()
        phrase = b"No such key: " + KEY.encode()
        head = h11.Response(status_code=400, headers=[("content-length", "0")], reason=phrase)
        await end.say(head, h11.EndOfMessage())

    async with upstream(say_it) as model, forwarding(tmp_path, model.url) as forwarder, client(forwarder.path) as agent:
        answer, _ = await agent.exchange("POST", "/v1/x")
    assert (answer.status_code, answer.reason) == (400, b"No such key: " + b"*" * len(KEY))


async def test_cookies_of_the_upstream_do_not_arrive_and_redirects_are_left_to_the_client(tmp_path):
    async def redirect(end, _):
        await end.hear_body()
        await end.answer(307, b"", [("location", "http://other/x"), ("set-cookie", "a=b")])

    async with (
        upstream(redirect) as model,
        forwarding(tmp_path, model.url) as forwarder,
        client(forwarder.path) as agent,
    ):
        answer, _ = await agent.exchange("GET", "/v1/x")
    assert answer.status_code == 307
    assert dict(answer.headers)[b"location"] == b"http://other/x"
    assert b"set-cookie" not in dict(answer.headers)
    assert len(model.requests) == 1


async def test_an_upstream_that_comes_up_later_is_reached_without_a_new_forwarder(tmp_path):
    port = free_port()
    async with forwarding(tmp_path, f"http://127.0.0.1:{port}/v1") as forwarder:
        async with client(forwarder.path) as agent:
            assert (await agent.exchange("GET", "/v1/x"))[0].status_code == 502
        listening = asyncio.Event()

        async def answer(reader, writer):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
            listening.set()
            writer.close()

        async with await asyncio.start_server(answer, "127.0.0.1", port), client(forwarder.path) as agent:
            assert (await agent.exchange("GET", "/v1/x"))[1] == b"ok"


@pytest.mark.requirement("T8")
async def test_what_a_program_says_that_gave_no_key_is_told_to_the_user_and_not_to_the_agent(tmp_path):
    program = tmp_path / "no-key"
    program.write_text("#!/bin/sh\necho canary@example.org is logged out >&2\nexit 1\n")
    program.chmod(0o700)
    key = LiveKey(f"command:{program}", {"PATH": "/usr/bin:/bin"})
    async with (
        upstream(echo) as model,
        forwarding(tmp_path, model.url, key=key) as forwarder,
        client(forwarder.path) as agent,
    ):
        answer, body = await agent.exchange("POST", "/v1/chat/completions", b"{}")
    assert (answer.status_code, json.loads(body)["error"]["code"]) == (400, "key_missing")
    assert b"canary" not in body
    assert b"no-key" not in body
    assert "canary@example.org is logged out" in str(forwarder.tally.last_error)
