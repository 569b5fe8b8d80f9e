"""An account that is open: its sockets, where what comes in goes, and its link to the relay.

Promises: a change of where requests go touches none that is under way; after `close` nothing of it is left.
"""

from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from acp_runtime.carrying.limits import CarryingLimits
from acp_runtime.carrying.server import Carrier, HttpServer
from acp_runtime.clock import Clock
from acp_runtime.egress.proxy import EgressProxy, Policy
from acp_runtime.gateway.account import Account, EgressWay, ModelWay
from acp_runtime.gateway.ledger import Ledger
from acp_runtime.gateway.lines import Json
from acp_runtime.gateway.recording import Books, Recording
from acp_runtime.models.forwarder import ModelForwarder
from acp_runtime.models.purse import Purses

if TYPE_CHECKING:
    from acp_runtime.gateway.attaching import Engines
    from sandbox.relay.link import RelayLink

__all__ = ["Means", "Served"]

LIMITS: Final = CarryingLimits()


@dataclass(slots=True)
class Means:
    """What all accounts of a gateway work with. Owner: the gateway."""

    ledger: Ledger
    clock: Clock
    purses: Purses = field(default_factory=Purses)
    _engines: "list[Engines]" = field(default_factory=list)

    @property
    def engines(self) -> "Engines":
        """What attaches to relays."""
        if not self._engines:
            from acp_runtime.gateway.attaching import Engines  # noqa: PLC0415 - most gateways need no engine

            self._engines.append(Engines())
        return self._engines[0]

    async def close(self) -> None:
        for each in self._engines:
            await each.close()
        self.ledger.close()


class Served:
    """See the module. Owner: the gateway; `close` ends it."""

    def __init__(self, account: Account, means: Means) -> None:
        self.account = account
        self._means = means
        self._books = Books(account.subagent, account.attempt, means.ledger, means.clock, tree=account.tree)
        self._servers: dict[int, HttpServer] = {}
        self._proxy: EgressProxy | None = None
        self._targets: dict[int, Path] = {}
        self._link: RelayLink | None = None
        self._held = AsyncExitStack()

    async def open(self, epoch: int) -> None:
        """Serve. Raises Rejected (`socket_refused`), RelayError, SandboxGone, EngineError; nothing is left then."""
        try:
            await self._serve_ways(self.account)
            await self._attach(epoch)
        except BaseException:
            await self.close()
            raise

    async def change(self, account: Account, epoch: int) -> None:
        """Serve as this account says, of the same attempt and at the same sockets. Raises as `open` does."""
        before = self.account
        self.account = replace(account, model=account.model or before.model, egress=account.egress or before.egress)
        try:
            await self.stay_found()
            await self._serve_ways(self.account, before)
        except BaseException:
            self.account = before  # what is not served yet is to be another way at the next change
            raise
        if account.relay != before.relay or (self._link is not None and self._link.failure is not None):
            await self._detach()
        if self._link is None:
            await self._attach(epoch)

    async def close(self) -> None:
        """End it, with what is under way. Idempotent."""
        await self._detach()
        await self._held.aclose()

    async def stay_found(self) -> None:
        """Listen anew where somebody has removed a socket. Raises Rejected (`socket_refused`)."""
        for each in self._servers.values():
            await each.stay_found()

    def withdraw(self) -> None:
        """Have the relay hold whoever comes from now on, where it connects to the sockets itself."""
        if self.account.relay is None:
            for each in self._servers.values():
                each.withdraw()

    @property
    def running(self) -> int:
        """How many requests and tunnels are under way."""
        return sum(each.running for each in self._servers.values())

    def status(self) -> Json:
        """Return what others may know of it."""
        account, books = self.account, self._books
        return {
            "subagent": account.subagent,
            "attempt": account.attempt,
            "upstream": None if account.model is None else account.model.route.url,
            "running": self.running,
            "exchanges": books.exchanges,
            "failures": books.failures,
            "last_failure": books.last_failure,
        }

    async def _serve_ways(self, account: Account, before: Account | None = None) -> None:
        """Serve those that are not, and have those that changed go another way from now on."""
        if account.tools is not None:
            self._targets[account.tools.port] = account.tools.socket
        for way, was in ((account.model, before and before.model), (account.egress, before and before.egress)):
            if way is None or (was is not None and way.message() == was.message()):
                continue
            if isinstance(way, ModelWay):
                await self._serve(way.port, way.socket, self._forwarder(way))
            elif self._proxy is None:
                proxy = self._made_proxy(way)
                await self._serve(way.port, way.socket, proxy)
                self._proxy = proxy
            else:
                self._proxy.change(Policy(way.rules, way.registries))

    async def _serve(self, port: int, socket: Path, carrier: Carrier) -> None:
        if (server := self._servers.get(port)) is not None:
            server.carrier = carrier
            return
        server = HttpServer(socket, self.account.gid, carrier, LIMITS)
        self._servers[port] = await self._held.enter_async_context(server)
        self._targets[port] = socket

    def _forwarder(self, way: ModelWay) -> ModelForwarder:
        purses = tuple(map(self._means.purses.of, way.allowances))
        metering = self._books.metering(way.prices, purses)
        recording = partial(Recording, self._books, way.route)
        return ModelForwarder(way.route, metering=metering, observe=recording, limits=LIMITS)

    def _made_proxy(self, way: EgressWay) -> EgressProxy:
        policy, here = Policy(way.rules, way.registries), f"127.0.0.1:{way.port}"
        return EgressProxy(policy, self._books.tell, here=here, carrying=LIMITS)

    async def _attach(self, epoch: int) -> None:
        way = self.account.relay
        if way is not None:
            self._link = await self._means.engines.attach(way, self._targets, epoch)

    async def _detach(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            await link.__aexit__(None, None, None)
