"""What an observer hears of an exchange, whoever says where it goes."""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import h11
import pytest

from acp_runtime.carrying import CarryingLimits, Ending, Exchange, HttpServer, Onward, Refusal, Upstream
from acp_runtime.carrying.headers import is_harmless
from acp_runtime.carrying.peer import HttpPeer
from tests.integration.http_ends import End, client, upstream
from tests.integration.http_ends import Upstream as Scripted

LIMITS = CarryingLimits()
GONE = "The store closed the connection, or did not answer in HTTP."


class Carrier:
    """Carries everything to one port, and writes down what it hears; an observer of one exchange at a time."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.heard: list[object] = []
        self.over = asyncio.Event()

    async def carry(self, peer: HttpPeer, request: h11.Request) -> None:
        await Exchange(peer, self.where_to, LIMITS, self).run(request)

    async def where_to(self, request: h11.Request) -> Onward:
        if request.target == b"/refused":
            raise Refusal(403, "test_refused", "The test refuses this.")
        secret = b"hush" if request.target == b"/secret" else None
        return Onward(Upstream("127.0.0.1", self.port, None, "store"), request.target, is_harmless, secret=secret)

    def on_refused(self, refusal: Refusal) -> None:
        self.heard.append(refusal.code)

    def on_request(self, request: h11.Request) -> None:
        self.heard.append(request.target)

    def on_request_body(self, data: bytes) -> None:
        self.heard.append(("up", data))

    def on_answer(self, head: h11.Response) -> None:
        self.heard.append(head.status_code)

    def on_answer_body(self, data: bytes) -> None:
        self.heard.append(("down", data))

    def on_end(self, ending: Ending) -> None:
        self.heard.append(ending)
        self.over.set()


async def act(end: End, request: h11.Request) -> None:
    body = await end.hear_body()
    match request.target:
        case b"/broken":
            await end.say(h11.Response(status_code=200, headers=[("content-length", "9")]), h11.Data(data=b"half"))
        case b"/nothing":
            return
        case b"/waits":
            await end.say(h11.Response(status_code=200, headers=[("content-length", "9")]))
            with contextlib.suppress(ConnectionError):
                await end.reader.read()
        case b"/bad":
            await end.answer(500, body)
        case _:
            await end.answer(200, body)


@contextlib.asynccontextmanager
async def carrying(folder: Path, model: Scripted, make: type[Carrier] = Carrier) -> AsyncIterator[tuple[Carrier, Path]]:
    carrier = make(model.port)
    async with HttpServer(folder / "way.sock", os.getgid(), carrier, LIMITS) as server:
        yield carrier, server.path


@pytest.mark.parametrize(
    ("target", "heard"),
    [
        ("/whole", [200, ("down", b"hush!"), Ending("answered", 200)]),
        ("/secret", [200, ("down", b"****!"), Ending("answered", 200)]),
        ("/bad", [500, ("down", b"hush!"), Ending("answered", 500, "the store answered 500")]),
        ("/broken", [200, ("down", b"half"), Ending("broken", 200, "the store's answer broke off after 4 bytes")]),
        ("/nothing", [Ending("refused", 502, GONE, "upstream_broken")]),
    ],
)
async def test_an_observer_hears_each_piece_and_the_end_before_the_client_does(tmp_path, target, heard):
    async with upstream(act) as model, carrying(tmp_path, model) as (carrier, path), client(path) as agent:
        with contextlib.suppress(h11.RemoteProtocolError):
            await agent.exchange("POST", target, b"hush!")
        assert carrier.heard == [target.encode(), ("up", b"hush!"), *heard]
        assert carrier.heard[-1].failed == (target not in {"/whole", "/secret"})


@pytest.mark.parametrize("body", [b"hush END", b"x" * 20_000 + b"END"], ids=["with its head", "in pieces"])
async def test_a_client_that_knows_the_length_has_the_last_piece_only_after_the_observer_heard_the_end(tmp_path, body):
    """What was written down of an exchange is there when the client goes on: looked at in the moment of the end."""
    at_the_end: list[bytes] = []
    with socket.socket(socket.AF_UNIX) as line:
        line.setblocking(False)  # what is there for it is seen at once, without a turn of the loop

        class Looking(Carrier):
            def on_end(self, ending: Ending) -> None:
                with contextlib.suppress(BlockingIOError):
                    at_the_end.append(line.recv(1 << 20, socket.MSG_PEEK))
                super().on_end(ending)

        async with upstream(act) as model, carrying(tmp_path, model, Looking) as (carrier, path):
            loop = asyncio.get_running_loop()
            await loop.sock_connect(line, str(path))
            head = b"POST /whole HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body)
            await loop.sock_sendall(line, head + body)
            answer = b""
            async with asyncio.timeout(10):
                await carrier.over.wait()  # nothing is read before: all that came lies there to be looked at
                while piece := await loop.sock_recv(line, 1 << 20):
                    answer += piece
    assert answer.endswith(body)
    assert not any(part.endswith(b"END") for part in at_the_end)


async def test_an_observer_hears_of_a_request_that_goes_nowhere_and_of_what_is_no_request(tmp_path):
    async with upstream(act) as model, carrying(tmp_path, model) as (carrier, path):
        async with client(path) as agent:
            assert (await agent.exchange("GET", "/refused"))[0].status_code == 403
        async with client(path) as agent:
            agent.writer.write(b"nonsense\r\n\r\n")
            await agent.reader.read()
    assert carrier.heard == [
        b"/refused",
        Ending("refused", 403, "The test refuses this.", "test_refused"),
        "bad_request",
    ]
    assert model.requests == []


@pytest.mark.parametrize("who", ["left", "cut"])
async def test_an_observer_hears_that_a_client_left_or_that_this_side_ended(tmp_path, who):
    async with upstream(act) as model, contextlib.AsyncExitStack() as agents:
        async with carrying(tmp_path, model) as (carrier, path):
            agent = await agents.enter_async_context(client(path))
            await agent.ask("GET", "/waits")
            assert (await agent.hear()).status_code == 200
            if who == "left":
                await agents.aclose()
                await carrier.over.wait()
        assert carrier.heard == [b"/waits", 200, Ending(who, 200)]
