"""The two ends of what is carried: a scripted upstream on loopback and a client on its unix socket, both by h11."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import h11

from acp_runtime.carrying import CarryingLimits, HttpServer, Tally
from acp_runtime.clock import ManualClock
from acp_runtime.core.budget import Allowance, Budget, Scope, Used
from acp_runtime.core.metering import Call
from acp_runtime.core.prices import Price, Prices
from acp_runtime.keys import Key, Secret
from acp_runtime.models import Metering, ModelForwarder, Purse, Route
from acp_runtime.session.catalogue import KeyForm

KEY = "sk-canary-4711"
BOUND = 60.0  # seconds; a hang, not a speed
MOMENT = 1_700_000_000_000
PRICES = Prices([Price.of("priced", input=Decimal(1), output=Decimal(2))])

Pairs = Sequence[tuple[str, str]]


class End:
    """One side of one connection, which says and hears HTTP events."""

    def __init__(self, role, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.http = h11.Connection(role)
        self.reader = reader
        self.writer = writer

    async def hear(self):
        while (event := self.http.next_event()) is h11.NEED_DATA:
            self.http.receive_data(await self.reader.read(65536))
        return event

    async def hear_body(self) -> bytes:
        body = b""
        while isinstance(event := await self.hear(), h11.Data):
            body += event.data
        assert isinstance(event, h11.EndOfMessage), event
        return body

    async def say(self, *events: h11.Event) -> None:
        for event in events:
            self.writer.write(self.http.send(event) or b"")
            await self.writer.drain()

    async def answer(self, status: int, body: bytes = b"", headers: Pairs = ()) -> None:
        head = h11.Response(status_code=status, headers=[*headers, ("content-length", str(len(body)))])
        await self.say(head, h11.Data(data=body), h11.EndOfMessage())

    async def ask(self, method: str, target: str, body: bytes = b"", headers: Pairs = ()) -> None:
        length = [("content-length", str(len(body)))] if body else []
        head = h11.Request(method=method, target=target, headers=[("host", "stand-in"), *headers, *length])
        await self.say(head, *([h11.Data(data=body)] if body else []), h11.EndOfMessage())

    async def exchange(self, method: str, target: str, body: bytes = b"", headers: Pairs = ()):
        """The answer's head and body; the end is ready for the next request where the connection lives on."""
        await self.ask(method, target, body, headers)
        head = await self.hear()
        assert isinstance(head, h11.Response), head
        answer = await self.hear_body()
        if self.http.our_state is self.http.their_state is h11.DONE:
            self.http.start_next_cycle()
        return head, answer

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()


Handler = Callable[[End, h11.Request], Awaitable[None]]


class Upstream:
    """A model server that does what `handler` does with each connection's first request."""

    def __init__(self, port: int, scheme: str) -> None:
        self.port = port
        self.url = f"{scheme}://127.0.0.1:{port}/v1"
        self.requests: list[h11.Request] = []


@contextlib.asynccontextmanager
async def upstream(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[Upstream]:
    tasks: set[asyncio.Task[None]] = set()

    async def serve(end: End) -> None:
        try:
            request = await end.hear()
            if isinstance(request, h11.Request):
                server.requests.append(request)
                await handler(end, request)
        finally:
            await end.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.ensure_future(serve(End(h11.SERVER, reader, writer))))

    async with asyncio.timeout(BOUND), await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls) as listener:
        server = Upstream(listener.sockets[0].getsockname()[1], "https" if tls else "http")
        yield server
        await asyncio.gather(*tasks)


async def echo(end: End, request: h11.Request) -> None:
    body = await end.hear_body()
    await end.answer(200, request.method + b" " + request.target + b" " + body)


@dataclass(frozen=True)
class Forwarding:
    path: Path
    forwarder: ModelForwarder
    server: HttpServer
    calls: list[Call]
    tally: Tally


@contextlib.asynccontextmanager
async def forwarding(
    folder: Path,
    url: str,
    *,
    key: Key | str | None = KEY,
    key_form: KeyForm = "bearer",
    trust: ssl.SSLContext | None = None,
    budget: Budget = Budget(),  # noqa: B008 - frozen
    **limits: float,
) -> AsyncIterator[Forwarding]:
    """A served forwarder that leaves no task and no socket file behind, and that never shows its key."""
    secret = Secret(key, name="MODEL_KEY") if isinstance(key, str) else key
    before = asyncio.all_tasks()
    path = folder / "model.sock"
    limited = CarryingLimits(**limits)
    calls: list[Call] = []
    purse = Purse(Allowance(Scope.AGENT, "bg-0000000001", budget, Used()))
    metering = Metering("bg-0000000001", PRICES, (purse,), ManualClock(MOMENT), calls.append)
    route = Route.parse(url, key=secret, key_form=key_form)
    tally = Tally()
    forwarder = ModelForwarder(route, metering=metering, observe=lambda: tally, trust=trust, limits=limited)
    async with HttpServer(path, path.parent.stat().st_gid, forwarder, limited) as server:
        yield Forwarding(path, forwarder, server, calls, tally)
    assert not path.exists()
    assert [task for task in asyncio.all_tasks() - before if "_accept_connection" in repr(task)] == []
    assert [task for task in asyncio.all_tasks() - before if "HttpServer" in repr(task)] == []
    assert KEY not in repr(vars(forwarder)) + repr(vars(server)) + str(tally)


@contextlib.asynccontextmanager
async def client(path: Path) -> AsyncIterator[End]:
    end = End(h11.CLIENT, *await asyncio.open_unix_connection(path))
    try:
        async with asyncio.timeout(BOUND):
            yield end
    finally:
        await end.close()
