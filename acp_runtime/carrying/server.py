"""An HTTP/1.1 server on a unix socket, which hands each request to whoever carries it.

Promises that each wait and each buffer is bounded; that one client's failure is told to that client and touches no
other; and that after `async with` no task, connection or socket file is left.
"""

import asyncio
import contextlib
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import h11

from acp_runtime.carrying.exchange import BrokenAnswer, ClientGone
from acp_runtime.carrying.headers import has_two_framings
from acp_runtime.carrying.limits import CarryingLimits
from acp_runtime.carrying.peer import CHUNK, HttpPeer
from acp_runtime.carrying.refusal import Refusal
from acp_runtime.carrying.unix_listener import UnixListener

__all__ = ["Carrier", "HttpServer"]

_STOP_BOUND = 10.0  # seconds for all connections together; each is aborted, so this is never used up


class Carrier(Protocol):
    """Who decides what becomes of the requests of a server."""

    async def carry(self, client: HttpPeer, request: h11.Request) -> None:
        """Answer a request. Raises Refusal, ClientGone, BrokenAnswer as `Exchange.run` does."""
        ...

    def on_refused(self, refusal: Refusal) -> None:
        """Hear of a connection or a request that is turned away before it could be carried. Raises nothing."""
        ...


class HttpServer:
    """`path` is the socket: mode 0660 for the group `gid`.

    `carrier` may be exchanged: another one carries the requests that come from then on. `running` counts requests that
    are being carried.
    """

    def __init__(self, path: Path, gid: int, carrier: Carrier, limits: CarryingLimits) -> None:
        self.path = path
        self.carrier = carrier
        self.running = 0
        self._gid = gid
        self._limits = limits
        self._tasks: set[asyncio.Task[None]] = set()
        self._open = False
        self._listeners: list[UnixListener] = []
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Listen. Raises Rejected (`socket_refused`); then nothing is left."""
        self._stack.push_async_callback(self._end_connections)
        await self._listen()
        self._open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    def withdraw(self) -> None:
        """Have nobody new find the socket; who has found it is still served."""
        for each in self._listeners:
            each.withdraw()

    async def stay_found(self) -> None:
        """Listen anew where somebody has removed the socket. Raises Rejected (`socket_refused`)."""
        if not self._listeners[-1].found:
            await self._listen()

    async def _listen(self) -> None:
        async with contextlib.AsyncExitStack() as stack:
            listener = UnixListener(self.path, self._gid)
            stack.callback(listener.close)
            server = await asyncio.start_unix_server(self._accept, sock=listener.socket, limit=CHUNK)
            stack.callback(server.close)
            self._listeners.append(listener)
            self._stack.push_async_exit(stack.pop_all())

    async def _end_connections(self) -> None:
        self._open = False
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_STOP_BOUND)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._open:
            writer.transport.abort()
            return
        http = h11.Connection(h11.SERVER, max_incomplete_event_size=self._limits.head_bytes)
        client = HttpPeer(http, reader, writer, self._limits.idle_seconds)
        if len(self._tasks) >= self._limits.connections:
            bound = self._limits.connections
            refusal = Refusal(503, "too_many_connections", f"At most {bound} connections are served.")
            self.carrier.on_refused(refusal)
            writer.write(b"".join(http.send(event) or b"" for event in _answer(refusal, head_only=False)))
            writer.close()
            return
        task = asyncio.get_running_loop().create_task(self._serve(client))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, client: HttpPeer) -> None:
        try:
            while await self._serve_one(client):
                client.http.start_next_cycle()
            await client.close()
        finally:
            await client.abort()

    async def _serve_one(self, client: HttpPeer) -> bool:
        """Serve one request; whether the connection can take another one."""
        head_only = False
        try:
            try:
                request = await _next_request(client)
                if request is None:
                    return False
                head_only = request.method == b"HEAD"
                _check(request, self._limits)
            except Refusal as refusal:
                self.carrier.on_refused(refusal)
                raise
            self.running += 1
            try:
                await self.carrier.carry(client, request)
            finally:
                self.running -= 1
        except (ClientGone, BrokenAnswer):
            return False
        except Refusal as refusal:
            await _refuse(client, refusal, head_only=head_only)
            return False
        return client.http.our_state is h11.DONE and client.http.their_state is h11.DONE


async def _next_request(client: HttpPeer) -> h11.Request | None:
    """Wait for a request; None when the client ends or has nothing to say. Raises Refusal for what is none."""
    try:
        event = await client.receive()
    except (OSError, TimeoutError):
        return None
    except h11.RemoteProtocolError as error:
        raise Refusal(error.error_status_hint, "bad_request", "The request is not well-formed HTTP/1.1.") from error
    return event if isinstance(event, h11.Request) else None


def _check(request: h11.Request, limits: CarryingLimits) -> None:
    """Raise Refusal for what is carried nowhere."""
    if request.http_version != b"1.1" and request.method != b"CONNECT":  # which some clients only say in 1.0
        raise Refusal(505, "version_refused", "Only HTTP/1.1 is carried.")
    headers = list(request.headers)
    # h11 looks at the size of a head only while it is incomplete.
    if len(request.target) + sum(len(name) + len(value) for name, value in headers) > limits.head_bytes:
        raise Refusal(431, "head_too_large", f"A request's head may have at most {limits.head_bytes} bytes.")
    if has_two_framings(headers):
        raise Refusal(400, "two_framings", "The request has both a Content-Length and a Transfer-Encoding.")


async def _refuse(client: HttpPeer, refusal: Refusal, *, head_only: bool) -> None:
    """Tell the client, if its answer has not begun; what it still sends is not read."""
    if client.http.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
        return
    with contextlib.suppress(OSError, TimeoutError):
        for event in _answer(refusal, head_only=head_only):
            await client.send(event)


def _answer(refusal: Refusal, *, head_only: bool) -> list[h11.Event]:
    body = refusal.body()
    headers = [
        ("content-type", "application/json"),
        ("content-length", str(len(body))),
        ("connection", "close"),
    ]
    head = h11.Response(status_code=refusal.status, headers=headers, reason=refusal.phrase.encode())
    return [head, h11.EndOfMessage()] if head_only else [head, h11.Data(data=body), h11.EndOfMessage()]
