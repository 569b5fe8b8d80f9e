"""The host's end of a sandbox's way to its model: a unix socket in, one upstream out, the key added in between.

Promises that the key is in no log, error, representation or answer; that each wait and each buffer is bounded; that
one client's failure is told to that client and touches no other; and that after `async with` no task, connection or
socket file is left.
"""

import asyncio
import contextlib
import ssl
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Self

import h11

from acp_runtime.models.exchange import BrokenAnswer, ClientGone, Exchange, Tally
from acp_runtime.models.limits import ForwarderLimits
from acp_runtime.models.peer import CHUNK, HttpPeer
from acp_runtime.models.refusal import Refusal
from acp_runtime.models.route import Route
from acp_runtime.models.unix_listener import UnixListener

__all__ = ["ModelForwarder"]

_STOP_BOUND = 10.0  # seconds for all connections together; each is aborted, so this is never used up


class ModelForwarder:
    """An HTTP/1.1 server on a unix socket that carries each request to the route's upstream.

    `path` is the socket (mode 0660, group `gid`), `trust` the TLS context for https upstreams (default: the system's
    authorities). `tally` may be read at any time, also after the end.
    """

    def __init__(
        self,
        path: Path,
        gid: int,
        route: Route,
        *,
        trust: ssl.SSLContext | None = None,
        limits: ForwarderLimits | None = None,
    ) -> None:
        self.path = path
        self.route = route
        self.limits = limits or ForwarderLimits()
        self.tally = Tally()
        self._gid = gid
        self._trust = (trust or ssl.create_default_context()) if route.scheme == "https" else None
        self._tasks: set[asyncio.Task[None]] = set()
        self._open = False
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Listen. Raises Rejected (`socket_refused`); then nothing is left."""
        async with contextlib.AsyncExitStack() as stack:
            listener = UnixListener(self.path, self._gid)
            stack.callback(listener.close)
            stack.push_async_callback(self._end_connections)
            server = await asyncio.start_unix_server(self._accept, sock=listener.socket, limit=CHUNK)
            stack.callback(server.close)
            self._stack = stack.pop_all()
            self._open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

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
        http = h11.Connection(h11.SERVER, max_incomplete_event_size=self.limits.head_bytes)
        client = HttpPeer(http, reader, writer, self.limits.idle_seconds)
        if len(self._tasks) >= self.limits.connections:
            refusal = Refusal(503, "too_many_connections", f"At most {self.limits.connections} connections are served.")
            self.tally.fail(refusal.sentence)
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
        except Exception as error:
            self.tally.fail(f"the forwarder failed with {type(error).__name__}")
            raise
        finally:
            await client.abort()

    async def _serve_one(self, client: HttpPeer) -> bool:
        """Serve one request; whether the connection can take another one."""
        head_only = False
        try:
            request = await _next_request(client)
            if request is None:
                return False
            head_only = request.method == b"HEAD"
            self.tally.requests += 1
            await Exchange(client, self.route, self.tally, self.limits, self._dial).run(request)
        except (ClientGone, BrokenAnswer):
            return False
        except Refusal as refusal:
            self.tally.fail(refusal.sentence)
            await _refuse(client, refusal, head_only=head_only)
            return False
        return client.http.our_state is h11.DONE and client.http.their_state is h11.DONE

    async def _dial(self) -> HttpPeer:
        """Connect to the upstream. Raises Refusal."""
        route, bound = self.route, self.limits.connect_seconds
        name = route.host if self._trust else None
        where = f"{route.scheme}://{route.authority}"
        try:
            async with asyncio.timeout(bound):
                reader, writer = await asyncio.open_connection(
                    route.host, route.port, ssl=self._trust, server_hostname=name, limit=CHUNK
                )
        except TimeoutError as error:
            why = f"The model at {where} took no connection within {bound:g} s."
            raise Refusal(504, "model_unreachable", why) from error
        except ssl.SSLError as error:
            why = f"The model at {where} is not trusted: {getattr(error, 'verify_message', '') or error.reason}."
            raise Refusal(502, "model_untrusted", why) from error
        except (OSError, UnicodeError) as error:
            why = f"The model at {where} cannot be reached: {getattr(error, 'strerror', None) or error}."
            raise Refusal(502, "model_unreachable", why) from error
        http = h11.Connection(h11.CLIENT, max_incomplete_event_size=self.limits.head_bytes)
        return HttpPeer(http, reader, writer, self.limits.idle_seconds)


async def _next_request(client: HttpPeer) -> h11.Request | None:
    """Wait for a request; None when the client ends or has nothing to say. Raises Refusal for what is none."""
    try:
        event = await client.receive()
    except (OSError, TimeoutError):
        return None
    except h11.RemoteProtocolError as error:
        raise Refusal(error.error_status_hint, "bad_request", "The request is not well-formed HTTP/1.1.") from error
    return event if isinstance(event, h11.Request) else None


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
    head = h11.Response(status_code=refusal.status, headers=headers, reason=HTTPStatus(refusal.status).phrase.encode())
    return [head, h11.EndOfMessage()] if head_only else [head, h11.Data(data=body), h11.EndOfMessage()]
