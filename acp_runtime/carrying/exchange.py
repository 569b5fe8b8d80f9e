"""One request of a client and the upstream's answer, carried piece by piece in both directions at once.

Promises that each piece is passed on before the next is waited for, that an answer which breaks off is never ended in
order, that an upstream's request is given up when the client leaves, and that nothing outlives `run`.

Every request gets a connection of its own to the upstream: a kept one can be closed by the other side at the very
moment it is used, and a request to a model cannot be repeated unseen.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import h11

from acp_runtime.carrying.headers import for_client, for_upstream, has_two_framings
from acp_runtime.carrying.limits import CarryingLimits
from acp_runtime.carrying.observer import Ending, Observer
from acp_runtime.carrying.peer import CHUNK, HttpPeer
from acp_runtime.carrying.redaction import Redaction
from acp_runtime.carrying.refusal import Refusal
from acp_runtime.carrying.rewriting import RewritingStream
from acp_runtime.carrying.upstream import Onward

__all__ = ["BrokenAnswer", "ClientGone", "Exchange", "WhereTo"]

WhereTo = Callable[[h11.Request], Awaitable[Onward]]


class ClientGone(Exception):  # noqa: N818 - reads as what happened
    """The client closed its connection, or takes nothing more."""


class BrokenAnswer(Exception):  # noqa: N818
    """The answer broke off after its head was passed on; the client's connection must be cut."""


class Exchange:
    """`run` does it once. `where_to` says what becomes of the request, or raises Refusal."""

    def __init__(self, client: HttpPeer, where_to: WhereTo, limits: CarryingLimits, observer: Observer) -> None:
        self._client = client
        self._where_to = where_to
        self._limits = limits
        self._observer = observer
        self._noun = "upstream"
        self._status: int | None = None
        self._ended = False

    async def run(self, request: h11.Request) -> None:
        """Carry the request and its answer.

        Raises Refusal when the client must be told an error instead, ClientGone, and BrokenAnswer. Afterwards the
        client's connection can be used again only when both of its h11 states are DONE.
        """
        self._observer.on_request(request)
        try:
            await self._carry(request)
        except Refusal as refusal:
            self._end(Ending.refused(refusal))
            raise
        except ClientGone:
            self._end(Ending("left", self._status, self._bad_status()))
            raise
        except BrokenAnswer as broken:
            self._end(Ending("broken", self._status, self._bad_status() or str(broken)))
            raise
        except Exception as error:
            self._end(Ending("broken", self._status, f"the request could not be carried: {type(error).__name__}"))
            raise
        finally:
            self._end(Ending("cut", self._status))

    def _end(self, ending: Ending) -> None:
        if not self._ended:
            self._ended = True
            self._observer.on_end(ending)

    def _bad_status(self) -> str | None:
        return None if self._status is None or self._status < 400 else f"the {self._noun} answered {self._status}"

    @property
    def _the(self) -> str:
        return f"The {self._noun}"

    async def _carry(self, request: h11.Request) -> None:
        headers = list(request.headers)
        self._bound_body(next((int(value) for name, value in headers if name == b"content-length"), 0))
        onward = await self._where_to(request)
        self._noun = onward.upstream.noun
        headers = for_upstream(headers, onward.upstream.authority, onward.credentials, onward.carries)
        upward = h11.Request(method=request.method, target=onward.target, headers=headers)
        upstream = await onward.upstream.dial(self._limits)
        try:
            await _first_of(self._upload(upstream, upward), self._download(upstream, onward))
        finally:
            await upstream.abort()

    def _bound_body(self, length: int) -> None:
        bound = self._limits.body_bytes
        if length > bound:
            raise Refusal(413, "body_too_large", f"A request's body may have at most {bound} bytes.")

    async def _upload(self, upstream: HttpPeer, request: h11.Request) -> None:
        """Pass the request on, then wait for the client to leave or to send its next request."""
        taken = await _passed_on(upstream, request)
        if taken and self._client.http.they_are_waiting_for_100_continue:
            await self._send_client(h11.InformationalResponse(status_code=100, headers=[]))
        length = 0
        while taken and not isinstance(event := await self._receive_client(), h11.EndOfMessage):
            if isinstance(event, h11.Data):
                length += len(event.data)
                self._bound_body(length)
                self._observer.on_request_body(bytes(event.data))
                taken = await _passed_on(upstream, h11.Data(data=event.data))
        if taken:
            await _passed_on(upstream, h11.EndOfMessage())
        await self._watch_client()

    async def _watch_client(self) -> None:
        try:
            data = await self._client.reader.read(CHUNK)
        except OSError as error:
            raise ClientGone from error
        if not data:
            raise ClientGone
        self._client.http.receive_data(data)

    async def _download(self, upstream: HttpPeer, onward: Onward) -> None:
        head = await self._receive_head(upstream)
        self._status = head.status_code
        onward.answered(head.status_code)
        headers = for_client(list(head.headers), onward.secret)
        filters: list[Redaction | RewritingStream] = [Redaction(onward.secret)]
        if (rewriting := onward.rewriting) is not None:
            headers = rewriting.headers(headers)
            if rewriting.body:
                self._refuse_encoded(head)
                filters.append(RewritingStream(rewriting.beginnings))
        beside = Redaction(onward.secret)
        reason = beside.feed(head.reason) + beside.finish()
        head = h11.Response(status_code=head.status_code, headers=headers, reason=reason)
        self._observer.on_answer(head)
        down: list[h11.Event] = [head]
        count = 0
        while not isinstance(event := await self._next_of_body(upstream, down, count), h11.EndOfMessage):
            count += len(event.data)
            self._hear(_filtered(filters, bytes(event.data)), down)
        self._hear(_filtered(filters, b"", last=True), down)
        self._end(Ending("answered", self._status, self._bad_status()))
        await self._pass_down([*down, h11.EndOfMessage()])

    def _hear(self, data: bytes, down: list[h11.Event]) -> None:
        if data:
            self._observer.on_answer_body(data)
            down.append(h11.Data(data=data))

    async def _next_of_body(self, upstream: HttpPeer, down: list[h11.Event], count: int) -> h11.Data | h11.EndOfMessage:
        """Return what comes next, after all in `down` was passed on: but for the last piece of an answer.

        A client that knows the length takes the answer for over as soon as it has that piece.
        """
        try:
            event = upstream.at_hand()
        except h11.RemoteProtocolError:
            event = h11.NEED_DATA  # it is raised again below
        if isinstance(event, h11.EndOfMessage):
            return event
        await self._pass_down(down)
        down.clear()
        return event if isinstance(event, h11.Data) else await self._receive_body(upstream, count)

    async def _pass_down(self, events: list[h11.Event]) -> None:
        for each in events:
            await self._send_client(each)

    def _refuse_encoded(self, head: h11.Response) -> None:
        encodings = {value.lower() for name, value in head.headers if name == b"content-encoding"}
        if encodings - {b"identity", b""}:
            raise Refusal(502, "upstream_broken", f"{self._the} answered in an encoding that nobody asked for.")

    async def _receive_head(self, upstream: HttpPeer) -> h11.Response:
        try:
            while isinstance(event := await upstream.receive(), h11.InformationalResponse):
                pass
        except TimeoutError as error:
            raise Refusal(504, "upstream_silent", f"{self._the} was silent for {upstream.idle:g} s.") from error
        except OSError as error:
            raise Refusal(
                502, "upstream_broken", f"{self._the} broke its connection: {error.strerror or error}."
            ) from error
        except h11.RemoteProtocolError as error:
            # h11 quotes what it could not read, and that could be anything.
            raise Refusal(
                502, "upstream_broken", f"{self._the} closed the connection, or did not answer in HTTP."
            ) from error
        if not isinstance(event, h11.Response) or has_two_framings(list(event.headers)):
            raise Refusal(502, "upstream_broken", f"{self._the} did not answer in well-formed HTTP.")
        return event

    async def _receive_body(self, upstream: HttpPeer, count: int) -> h11.Data | h11.EndOfMessage:
        try:
            event = await upstream.receive()
        except TimeoutError as error:
            raise BrokenAnswer(f"the {self._noun} was silent for {upstream.idle:g} s after {count} bytes") from error
        except (OSError, h11.RemoteProtocolError) as error:
            raise BrokenAnswer(f"the {self._noun}'s answer broke off after {count} bytes") from error
        if isinstance(event, h11.Data | h11.EndOfMessage):
            return event
        raise BrokenAnswer(f"the {self._noun}'s answer broke off after {count} bytes")

    async def _receive_client(self) -> object:
        try:
            return await self._client.receive()
        except TimeoutError as error:
            raise Refusal(408, "client_silent", f"The request stood still for {self._client.idle:g} s.") from error
        except OSError as error:
            raise ClientGone from error
        except h11.RemoteProtocolError as error:
            raise Refusal(400, "bad_request", "The request's body is not well-formed, or broke off.") from error

    async def _send_client(self, event: h11.Event) -> None:
        try:
            await self._client.send(event)
        except (OSError, TimeoutError) as error:
            raise ClientGone from error


def _filtered(filters: Sequence[Redaction | RewritingStream], data: bytes, *, last: bool = False) -> bytes:
    """Return what may be passed on of a piece, or with `last` of all that was held back."""
    for each in filters:
        data = each.feed(data) + (each.finish() if last else b"")
    return data


async def _passed_on(upstream: HttpPeer, event: h11.Event) -> bool:
    """Send an event; False when the upstream takes no more, which is no error yet: it may have answered already."""
    try:
        await upstream.send(event)
    except (OSError, TimeoutError):
        return False
    return True


async def _first_of(upload: Awaitable[None], download: Awaitable[None]) -> None:
    """Run both until the download has ended or the upload has failed, and leave none behind."""
    up, down = asyncio.ensure_future(upload), asyncio.ensure_future(download)
    try:
        await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
        if not down.done():
            up.result()
        await down
    finally:
        up.cancel()
        down.cancel()
        await asyncio.gather(up, down, return_exceptions=True)
