"""What becomes of a sandbox's model requests: each goes to the one upstream of its route, the key added.

Promises that the key is in no log, error, representation or answer.
"""

import ssl

import h11

from acp_runtime.carrying.exchange import Exchange
from acp_runtime.carrying.limits import CarryingLimits
from acp_runtime.carrying.observer import Ending
from acp_runtime.carrying.peer import HttpPeer
from acp_runtime.carrying.refusal import Refusal
from acp_runtime.carrying.tally import Tally
from acp_runtime.carrying.upstream import Onward, Upstream
from acp_runtime.models.route import Route

__all__ = ["ModelForwarder"]


class ModelForwarder:
    """A carrier. `trust` is the TLS context for https upstreams (default: the system's authorities).

    `tally` may be read at any time.
    """

    def __init__(self, route: Route, *, trust: ssl.SSLContext | None = None, limits: CarryingLimits) -> None:
        self.route = route
        self.tally = Tally()
        self._limits = limits
        tls = (trust or ssl.create_default_context()) if route.scheme == "https" else None
        self._upstream = Upstream(route.host, route.port, tls, "model")

    async def carry(self, client: HttpPeer, request: h11.Request) -> None:
        """See `Carrier`."""
        await Exchange(client, self._where_to, self._limits, self.tally).run(request)

    def on_refused(self, refusal: Refusal) -> None:
        self.tally.on_end(Ending.refused(refusal))

    async def _where_to(self, request: h11.Request) -> Onward:
        target = self.route.admit(request.method, request.target)
        secret = self.route.key.reveal() if self.route.key else None
        return Onward(self._upstream, target, self.route.credentials(), secret)
