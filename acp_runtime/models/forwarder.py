"""What becomes of a sandbox's model requests: each goes to the one upstream of its route, the key added.

Promises that the key is in no log, error, representation or answer.
"""

import contextlib
import ssl
from collections.abc import Callable
from typing import Final

import h11

from acp_runtime.carrying.exchange import Exchange
from acp_runtime.carrying.limits import CarryingLimits
from acp_runtime.carrying.observer import Ending, Observer
from acp_runtime.carrying.peer import HttpPeer
from acp_runtime.carrying.refusal import Refusal
from acp_runtime.carrying.upstream import Onward, Upstream
from acp_runtime.core.errors import Rejected
from acp_runtime.keys import is_login
from acp_runtime.models.formats.refusals import without_key
from acp_runtime.models.meter import Meter, Metering
from acp_runtime.models.route import Route

__all__ = ["ModelForwarder"]

UNAUTHORIZED: Final = 401


class ModelForwarder:
    """A carrier. `trust` is the TLS context for https upstreams (default: the system's authorities).

    `metering` says what may be asked, and is told each call when it is over. `observe` gives who is to hear of an
    exchange, right behind it; what is turned away before it could be one is heard as its end alone.
    """

    def __init__(
        self,
        route: Route,
        *,
        metering: Metering,
        observe: Callable[[], Observer],
        trust: ssl.SSLContext | None = None,
        limits: CarryingLimits,
    ) -> None:
        self.route = route
        self._metering = metering
        self._observe = observe
        self._limits = limits
        tls = (trust or ssl.create_default_context()) if route.scheme == "https" else None
        self._upstream = Upstream(route.host, route.port, tls, "model")

    async def carry(self, client: HttpPeer, request: h11.Request) -> None:
        """See `Carrier`."""
        meter = Meter(self._metering)

        async def where_to(asked: h11.Request) -> Onward:
            target = self.route.admit(asked.method, asked.target)
            try:
                onward = await self._onward(target)
                meter.admit(target)
            except Refusal:
                await self._take_the_rest(client)
                raise
            return onward

        await Exchange(client, where_to, self._limits, _Both(meter, self._observe())).run(request)

    def on_refused(self, refusal: Refusal) -> None:
        self._observe().on_end(Ending.refused(refusal))

    async def _take_the_rest(self, client: HttpPeer) -> None:
        """Read what a client still sends, within its bound: one that cannot send all of it may not read the answer."""
        if client.http.they_are_waiting_for_100_continue:
            return
        length = 0
        with contextlib.suppress(OSError, TimeoutError, h11.RemoteProtocolError):
            while isinstance(event := await client.receive(), h11.Data) and length <= self._limits.body_bytes:
                length += len(event.data)

    async def _onward(self, target: bytes) -> Onward:
        key = self.route.key
        if key is None:
            return Onward(self._upstream, target, self.route.carries)
        try:
            secret = await key.current()
        except Rejected as error:
            passing = is_login(key.name)  # its vendor may be out of reach; else somebody has to mend it
            raise without_key(target, error.kind if passing else "key_missing", str(error)) from error

        def answered(status: int) -> None:
            if status == UNAUTHORIZED and key.refuse(secret):
                why = f"The model refused the key {key.name}, which is read again now: ask once more."
                raise without_key(target, "key_refused", why)

        ours = self.route.credentials(secret)
        return Onward(self._upstream, target, self.route.carries, ours, secret.reveal(), answered=answered)


class _Both:
    """Two observers of one exchange."""

    def __init__(self, first: Observer, second: Observer) -> None:
        self._both = (first, second)

    def on_request(self, request: h11.Request) -> None:
        for each in self._both:
            each.on_request(request)

    def on_request_body(self, data: bytes) -> None:
        for each in self._both:
            each.on_request_body(data)

    def on_answer(self, head: h11.Response) -> None:
        for each in self._both:
            each.on_answer(head)

    def on_answer_body(self, data: bytes) -> None:
        for each in self._both:
            each.on_answer_body(data)

    def on_end(self, ending: Ending) -> None:
        for each in self._both:
            each.on_end(ending)
