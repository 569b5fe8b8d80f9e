"""What the forwarder carries: both directions, piece by piece, on connections that live on."""

import asyncio
import contextlib
import ssl
from pathlib import Path

import h11
import pytest

from tests.integration.http_ends import KEY, End, client, echo, forwarding, upstream

MIB = 1 << 20
CERTIFICATE = Path(__file__).parents[1] / "fixtures" / "tls" / "upstream.pem"


def head(*headers: tuple[str, str], status: int = 200) -> h11.Response:
    return h11.Response(status_code=status, headers=list(headers))


async def test_a_request_arrives_with_the_key_and_without_the_clients_credentials(tmp_path):
    async with upstream(echo) as model, forwarding(tmp_path, model.url) as forwarder, client(forwarder.path) as agent:
        sent = [("authorization", "Bearer stand-in"), ("x-api-key", "stand-in"), ("x-org-id", "1"), ("x-app", "cli")]
        answer, body = await agent.exchange("POST", "/v1/chat/completions?project=p&after=b%20c", b"{}", sent)
    assert (answer.status_code, body) == (200, b"POST /v1/chat/completions?after=b%20c {}")
    headers = list(model.requests[0].headers)
    assert [value for name, value in headers if name == b"authorization"] == [b"Bearer " + KEY.encode()]
    assert (b"x-app", b"cli") in headers
    assert (b"host", f"127.0.0.1:{model.port}".encode()) in headers
    assert {name for name, _ in headers} & {b"x-api-key", b"x-org-id"} == set()


async def test_a_route_whose_api_wants_the_key_in_a_header_of_its_own_gets_it_there_alone(tmp_path):
    async with (
        upstream(echo) as model,
        forwarding(tmp_path, model.url, key_form="x-api-key") as forwarder,
        client(forwarder.path) as agent,
    ):
        sent = [("authorization", "Bearer stand-in"), ("x-api-key", "stand-in"), ("anthropic-version", "2023-06-01")]
        await agent.exchange("POST", "/v1/messages", b"{}", sent)
    headers = list(model.requests[0].headers)
    assert [value for name, value in headers if name == b"x-api-key"] == [KEY.encode()]
    assert [value for name, value in headers if name == b"authorization"] == []
    assert (b"anthropic-version", b"2023-06-01") in headers


async def test_without_a_key_the_clients_credentials_do_not_arrive_either(tmp_path):
    async with (
        upstream(echo) as model,
        forwarding(tmp_path, model.url, key=None) as forwarder,
        client(forwarder.path) as agent,
    ):
        await agent.exchange("GET", "/v1/models", headers=[("authorization", "Bearer stand-in")])
    assert {name for name, _ in model.requests[0].headers} & {b"authorization", b"x-api-key"} == set()


async def test_requests_follow_each_other_on_one_connection_and_are_counted(tmp_path):
    async with upstream(echo) as model, forwarding(tmp_path, model.url) as forwarder, client(forwarder.path) as agent:
        for number in range(5):
            _, body = await agent.exchange("POST", f"/v1/{number}", b"x" * number)
            assert body == b"POST /v1/%d " % number + b"x" * number
    tally = forwarder.tally
    assert (tally.requests, tally.failures, tally.last_error) == (5, 0, None)
    assert (tally.bytes_up, tally.bytes_down) == (10, 65)


async def test_a_request_sent_before_the_last_answer_came_is_served_after_it(tmp_path):
    go_on = asyncio.Event()

    async def wait(end, request):
        await end.hear_body()
        await go_on.wait()
        await end.answer(200, request.target)

    async with upstream(wait) as model, forwarding(tmp_path, model.url) as forwarder, client(forwarder.path) as agent:
        agent.writer.write(b"GET /v1/a HTTP/1.1\r\nhost: x\r\n\r\nGET /v1/b HTTP/1.1\r\nhost: x\r\n\r\n")
        go_on.set()
        text = await agent.reader.readuntil(b"/v1/a")
        text += await agent.reader.readuntil(b"/v1/b")
        assert text.count(b"HTTP/1.1 200") == 2


async def test_each_piece_of_an_answer_arrives_before_the_next_is_made(tmp_path):
    heard = asyncio.Event()

    async def stream(end, _):
        await end.hear_body()
        await end.say(head(("content-type", "text/event-stream")))
        for number in range(20):
            await end.say(h11.Data(data=b"data: %d\n\n" % number))
            await heard.wait()
            heard.clear()
        await end.say(h11.EndOfMessage())

    async with upstream(stream) as model, forwarding(tmp_path, model.url) as forwarder, client(forwarder.path) as agent:
        await agent.ask("POST", "/v1/chat/completions", b"{}")
        assert dict((await agent.hear()).headers)[b"content-type"] == b"text/event-stream"
        for number in range(20):
            assert (await agent.hear()).data == b"data: %d\n\n" % number
            heard.set()
        assert isinstance(await agent.hear(), h11.EndOfMessage)


async def test_each_piece_of_a_request_arrives_before_the_next_is_sent(tmp_path):
    heard: asyncio.Queue[bytes] = asyncio.Queue()

    async def listen(end, _):
        while isinstance(event := await end.hear(), h11.Data):
            heard.put_nowait(bytes(event.data))
        await end.answer(200)

    async with upstream(listen) as model, forwarding(tmp_path, model.url) as forwarder, client(forwarder.path) as agent:
        chunked = [("host", "x"), ("transfer-encoding", "chunked")]
        await agent.say(h11.Request(method="POST", target="/v1/x", headers=chunked))
        for number in range(20):
            await agent.say(h11.Data(data=b"piece %d" % number))
            assert await heard.get() == b"piece %d" % number
        await agent.say(h11.EndOfMessage())
        assert (await agent.hear()).status_code == 200
    assert (b"transfer-encoding", b"chunked") in list(model.requests[0].headers)


async def test_a_client_that_waits_for_100_is_told_to_go_on_once_the_upstream_is_connected(tmp_path):
    async with upstream(echo) as model, forwarding(tmp_path, model.url) as forwarder, client(forwarder.path) as agent:
        headers = [("host", "x"), ("content-length", "4"), ("expect", "100-continue")]
        await agent.say(h11.Request(method="POST", target="/v1/x", headers=headers))
        assert (await agent.hear()).status_code == 100
        assert len(model.requests) == 1
        await agent.say(h11.Data(data=b"body"), h11.EndOfMessage())
        assert (await agent.hear()).status_code == 200
        assert await agent.hear_body() == b"POST /v1/x body"
    assert b"expect" not in dict(model.requests[0].headers)


async def test_interim_answers_of_the_upstream_are_not_passed_on(tmp_path):
    async def hint(end, _):
        await end.hear_body()
        await end.say(h11.InformationalResponse(status_code=103, headers=[("link", "</x>")]))
        await end.answer(200, b"final")

    async with upstream(hint) as model, forwarding(tmp_path, model.url) as forwarder, client(forwarder.path) as agent:
        assert (await agent.exchange("GET", "/v1/x"))[1] == b"final"


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
async def test_an_answer_that_has_no_body_ends_with_its_head(tmp_path, method, status):
    async def no_body(end, _):
        await end.hear_body()
        await end.say(
            head(*([("content-length", "1234")] if method == "HEAD" else []), status=status), h11.EndOfMessage()
        )

    async with (
        upstream(no_body) as model,
        forwarding(tmp_path, model.url) as forwarder,
        client(forwarder.path) as agent,
    ):
        for _ in range(2):
            answer, body = await agent.exchange(method, "/v1/x")
            assert (answer.status_code, body) == (status, b"")
            assert dict(answer.headers).get(b"content-length") == (b"1234" if method == "HEAD" else None)


async def test_an_answer_that_ends_with_its_connection_is_ended_in_order(tmp_path):
    async def old(end, _):
        await end.hear_body()
        end.writer.write(b"HTTP/1.0 200 OK\r\n\r\nall of it")

    async with upstream(old) as model, forwarding(tmp_path, model.url) as forwarder, client(forwarder.path) as agent:
        for _ in range(2):
            assert (await agent.exchange("GET", "/v1/x"))[1] == b"all of it"


async def test_a_client_that_reads_slowly_holds_the_upstream_back_and_gets_everything(tmp_path):
    size = 96 * MIB
    sent = 0

    async def pour(end, request):
        nonlocal sent
        await end.hear_body()
        if request.target == b"/v1/small":
            await end.answer(200, b"small")
            return
        await end.say(head(("content-length", str(size))))
        while sent < size:
            await end.say(h11.Data(data=b"x" * 65536))
            sent += 65536
        await end.say(h11.EndOfMessage())

    async with upstream(pour) as model, forwarding(tmp_path, model.url) as forwarder, client(forwarder.path) as agent:
        await agent.ask("GET", "/v1/large")
        assert (await agent.hear()).status_code == 200
        agent.writer.transport.pause_reading()
        async with client(forwarder.path) as other:
            for _ in range(100):
                assert (await other.exchange("GET", "/v1/small"))[1] == b"small"
        assert forwarder.tally.bytes_down < 2 * MIB
        assert sent < size // 3
        agent.writer.transport.resume_reading()
        count = 0
        while isinstance(event := await agent.hear(), h11.Data):
            count += len(event.data)
        assert count == size


async def test_an_upstream_that_reads_slowly_holds_the_client_back_and_gets_everything(tmp_path):
    size = 48 * MIB
    go_on = asyncio.Event()

    async def sip(end, request):
        if request.target == b"/v1/large":
            end.writer.transport.pause_reading()
            await go_on.wait()
            end.writer.transport.resume_reading()
        count = 0
        while isinstance(event := await end.hear(), h11.Data):
            count += len(event.data)
        await end.answer(200, b"%d" % count)

    async with upstream(sip) as model, forwarding(tmp_path, model.url) as forwarder, client(forwarder.path) as agent:
        large = asyncio.ensure_future(agent.exchange("POST", "/v1/large", b"x" * size))
        async with client(forwarder.path) as other:
            for _ in range(100):
                assert (await other.exchange("GET", "/v1/small"))[1] == b"0"
        assert forwarder.tally.bytes_up < size // 2
        go_on.set()
        assert (await large)[1] == b"%d" % size


async def test_an_answer_before_the_end_of_the_request_reaches_the_client(tmp_path):
    async def refuse(end, _):
        await end.hear()
        await end.answer(413, b"too large for me")

    async with upstream(refuse) as model, forwarding(tmp_path, model.url) as forwarder, client(forwarder.path) as agent:
        chunked = [("host", "x"), ("transfer-encoding", "chunked")]
        await agent.say(h11.Request(method="POST", target="/v1/x", headers=chunked), h11.Data(data=b"x" * 1000))
        assert (await agent.hear()).status_code == 413
        assert await agent.hear_body() == b"too large for me"
        assert await agent.reader.read() == b""
    assert forwarder.tally.last_error == "the model answered 413"


async def test_a_client_that_leaves_ends_the_upstreams_request(tmp_path):
    asked, left = asyncio.Event(), asyncio.Event()

    async def think(end, _):
        await end.hear_body()
        asked.set()
        with contextlib.suppress(ConnectionError):
            assert await end.reader.read() == b""
        left.set()

    async with upstream(think) as model, forwarding(tmp_path, model.url) as forwarder:
        async with client(forwarder.path) as agent:
            await agent.ask("POST", "/v1/x", b"{}")
            await asked.wait()
        await left.wait()


async def test_one_client_that_stands_still_holds_no_other_up(tmp_path):
    stuck, done = asyncio.Event(), asyncio.Event()

    async def wait_on_demand(end, request):
        await end.hear_body()
        if request.target == b"/v1/stuck":
            stuck.set()
            await done.wait()
        await end.answer(200, b"ok")

    async with (
        upstream(wait_on_demand) as model,
        forwarding(tmp_path, model.url) as forwarder,
        client(forwarder.path) as first,
        client(forwarder.path) as silent,
        client(forwarder.path) as second,
    ):
        silent.writer.write(b"GET /v1/x HT")
        await first.ask("GET", "/v1/stuck")
        await stuck.wait()
        assert (await second.exchange("GET", "/v1/x"))[1] == b"ok"
        done.set()
        assert (await first.hear()).status_code == 200


async def test_a_stop_ends_open_connections_on_both_sides(tmp_path):
    ended, asked = asyncio.Event(), asyncio.Event()

    async def think(end, _):
        await end.hear_body()
        await end.say(head())
        asked.set()
        with contextlib.suppress(ConnectionError):
            assert await end.reader.read() == b""
        ended.set()

    async with upstream(think) as model:
        async with contextlib.AsyncExitStack() as clients:
            async with forwarding(tmp_path, model.url) as forwarder:
                busy = await clients.enter_async_context(client(forwarder.path))
                idle = await clients.enter_async_context(client(forwarder.path))
                await busy.ask("GET", "/v1/x")
                await asked.wait()
                assert (await busy.hear()).status_code == 200
            assert await idle.reader.read() == b""
            with pytest.raises(h11.RemoteProtocolError):
                await busy.hear()
        await ended.wait()


def tls_server() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    return context


async def test_an_upstream_with_an_own_authority_is_reached_by_tls(tmp_path):
    trust = ssl.create_default_context(cafile=str(CERTIFICATE))
    async with (
        upstream(echo, tls_server()) as model,
        forwarding(tmp_path, model.url, trust=trust) as forwarder,
        client(forwarder.path) as agent,
    ):
        for size in (1, 3 * MIB):
            _, body = await agent.exchange("POST", "/v1/x", b"y" * size)
            assert len(body) == len(b"POST /v1/x ") + size


@pytest.mark.parametrize("trusted", [True, False])
async def test_an_upstream_that_cannot_prove_its_name_gets_nothing(tmp_path, trusted):
    trust = ssl.create_default_context(cafile=str(CERTIFICATE)) if trusted else None
    seen: list[End] = []

    async def never(end, _):
        seen.append(end)

    async with upstream(never, tls_server()) as model:
        url = model.url.replace("127.0.0.1", "localhost") if trusted else model.url
        async with forwarding(tmp_path, url, trust=trust) as forwarder, client(forwarder.path) as agent:
            answer, body = await agent.exchange("GET", "/v1/x")
    assert answer.status_code == 502
    assert b"upstream_untrusted" in body
    assert seen == []
