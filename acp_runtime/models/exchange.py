"""One request of a client and the upstream's answer, carried piece by piece in both directions at once.

Promises that each piece is passed on before the next is waited for, that an answer which breaks off is never ended in
order, that an upstream's request is given up when the client leaves, and that nothing outlives `run`.

Every request gets a connection of its own to the upstream: a kept one can be closed by the other side at the very
moment it is used, and a request to a model cannot be repeated unseen.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import h11

from acp_runtime.models.headers import Headers, for_client, for_upstream, has_two_framings
from acp_runtime.models.limits import ForwarderLimits
from acp_runtime.models.peer import CHUNK, HttpPeer
from acp_runtime.models.redaction import Redaction
from acp_runtime.models.refusal import Refusal
from acp_runtime.models.route import Route

__all__ = ["BrokenAnswer", "ClientGone", "Exchange", "Tally"]


@dataclass(slots=True)
class Tally:
    """What went through a forwarder. Bytes are those of bodies.

    A failure is a request that the model did not answer with a status below 400 and to its end, except when the
    client left. `last_error` is the sentence of the last one, without a full stop.
    """

    requests: int = 0
    failures: int = 0
    last_error: str | None = None
    bytes_up: int = 0
    bytes_down: int = 0

    def fail(self, sentence: str) -> None:
        """Count a failure."""
        self.failures += 1
        self.last_error = sentence.rstrip(".")


class ClientGone(Exception):  # noqa: N818 - reads as what happened
    """The client closed its connection, or takes nothing more."""


class BrokenAnswer(Exception):  # noqa: N818
    """The answer broke off after its head was passed on; the client's connection must be cut."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """What an exchange needs; `run` does it once."""

    client: HttpPeer
    route: Route
    tally: Tally
    limits: ForwarderLimits
    dial: Callable[[], Awaitable[HttpPeer]]

    async def run(self, request: h11.Request) -> None:
        """Carry the request and its answer.

        Raises Refusal when the client must be told an error instead, ClientGone, and BrokenAnswer. Afterwards the
        client's connection can be used again only when both of its h11 states are DONE.
        """
        upward = self._admit(request)
        upstream = await self.dial()
        try:
            await _first_of(self._upload(upstream, upward), self._download(upstream))
        finally:
            await upstream.abort()

    def _admit(self, request: h11.Request) -> h11.Request:
        if request.http_version != b"1.1":
            raise Refusal(505, "version_refused", "Only HTTP/1.1 is carried to the model.")
        headers: Headers = list(request.headers)
        # h11 looks at the size of a head only while it is incomplete.
        if len(request.target) + sum(len(name) + len(value) for name, value in headers) > self.limits.head_bytes:
            raise Refusal(431, "head_too_large", f"A request's head may have at most {self.limits.head_bytes} bytes.")
        if has_two_framings(headers):
            raise Refusal(400, "two_framings", "The request has both a Content-Length and a Transfer-Encoding.")
        length = next((int(value) for name, value in headers if name == b"content-length"), 0)
        self._bound_body(length)
        target = self.route.admit(request.method, request.target)
        onward = for_upstream(headers, self.route.authority, self.route.credentials())
        return h11.Request(method=request.method, target=target, headers=onward)

    def _bound_body(self, length: int) -> None:
        bound = self.limits.body_bytes
        if length > bound:
            raise Refusal(413, "body_too_large", f"A request's body may have at most {bound} bytes.")

    async def _upload(self, upstream: HttpPeer, request: h11.Request) -> None:
        """Pass the request on, then wait for the client to leave or to send its next request."""
        taken = await _passed_on(upstream, request)
        if taken and self.client.http.they_are_waiting_for_100_continue:
            await self._send_client(h11.InformationalResponse(status_code=100, headers=[]))
        length = 0
        while taken and not isinstance(event := await self._receive_client(), h11.EndOfMessage):
            if isinstance(event, h11.Data):
                length += len(event.data)
                self._bound_body(length)
                self.tally.bytes_up += len(event.data)
                taken = await _passed_on(upstream, h11.Data(data=event.data))
        if taken:
            await _passed_on(upstream, h11.EndOfMessage())
        await self._watch_client()

    async def _watch_client(self) -> None:
        try:
            data = await self.client.reader.read(CHUNK)
        except OSError as error:
            raise ClientGone from error
        if not data:
            raise ClientGone
        self.client.http.receive_data(data)

    async def _download(self, upstream: HttpPeer) -> None:
        head = await self._receive_head(upstream)
        failed = head.status_code >= 400
        if failed:
            self.tally.fail(f"the model answered {head.status_code}")
        try:
            await self._pass_down(upstream, head)
        except BrokenAnswer as broken:
            if not failed:
                self.tally.fail(str(broken))
            raise

    async def _pass_down(self, upstream: HttpPeer, head: h11.Response) -> None:
        secret = self.route.key.reveal() if self.route.key else None
        headers = for_client(list(head.headers), secret)
        await self._send_client(h11.Response(status_code=head.status_code, headers=headers, reason=head.reason))
        redaction = Redaction(secret)
        count = 0
        while not isinstance(event := await self._receive_body(upstream, count), h11.EndOfMessage):
            count += len(event.data)
            self.tally.bytes_down += len(event.data)
            await self._send_client(h11.Data(data=redaction.feed(bytes(event.data))))
        await self._send_client(h11.Data(data=redaction.finish()))
        await self._send_client(h11.EndOfMessage())

    async def _receive_head(self, upstream: HttpPeer) -> h11.Response:
        try:
            while isinstance(event := await upstream.receive(), h11.InformationalResponse):
                pass
        except TimeoutError as error:
            raise Refusal(504, "model_silent", f"The model was silent for {upstream.idle:g} s.") from error
        except OSError as error:
            raise Refusal(502, "model_broken", f"The model's connection broke: {error.strerror or error}.") from error
        except h11.RemoteProtocolError as error:
            # h11 quotes what it could not read, and that could be anything.
            raise Refusal(502, "model_broken", "The model closed the connection, or did not answer in HTTP.") from error
        if not isinstance(event, h11.Response) or has_two_framings(list(event.headers)):
            raise Refusal(502, "model_broken", "The model's answer is not well-formed HTTP.")
        return event

    async def _receive_body(self, upstream: HttpPeer, count: int) -> h11.Data | h11.EndOfMessage:
        try:
            event = await upstream.receive()
        except TimeoutError as error:
            raise BrokenAnswer(f"the model was silent for {upstream.idle:g} s after {count} bytes") from error
        except (OSError, h11.RemoteProtocolError) as error:
            raise BrokenAnswer(f"the model's answer broke off after {count} bytes") from error
        if isinstance(event, h11.Data | h11.EndOfMessage):
            return event
        raise BrokenAnswer(f"the model's answer broke off after {count} bytes")

    async def _receive_client(self) -> object:
        try:
            return await self.client.receive()
        except TimeoutError as error:
            raise Refusal(408, "client_silent", f"The request stood still for {self.client.idle:g} s.") from error
        except OSError as error:
            raise ClientGone from error
        except h11.RemoteProtocolError as error:
            raise Refusal(400, "bad_request", "The request's body is not well-formed, or broke off.") from error

    async def _send_client(self, event: h11.Event) -> None:
        try:
            await self.client.send(event)
        except (OSError, TimeoutError) as error:
            raise ClientGone from error


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
