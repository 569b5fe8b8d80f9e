"""The way out of a sandbox: what its policy does not name goes nowhere, and is told how it could be asked for.

    CONNECT host:port          a tunnel, for TLS to that very host
    GET http://host:port/path  one request without TLS; each of a kept connection is judged anew
    GET /registry/path         one request to a package registry, by TLS from here on

Promises: names are resolved here and each of their addresses judged; the connection goes to a judged address. Each
request and each refusal is told to `tell`, once.
"""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import partial

import h11

from acp_runtime.carrying.exchange import ClientGone, Exchange
from acp_runtime.carrying.headers import PLAIN, is_harmless
from acp_runtime.carrying.limits import CarryingLimits
from acp_runtime.carrying.observer import Ending
from acp_runtime.carrying.peer import HttpPeer
from acp_runtime.carrying.refusal import Refusal
from acp_runtime.carrying.upstream import Onward, Upstream
from acp_runtime.egress.asking import ForHost, ForRegistry, tunnel_of, wish_of
from acp_runtime.egress.client_hello import HelloRefused
from acp_runtime.egress.contact import Contact, Tell
from acp_runtime.egress.registry import Asked, Registry
from acp_runtime.egress.report import Report
from acp_runtime.egress.resolving import NameRefused, Resolver
from acp_runtime.egress.rules import PRIVATE, Rules, needed
from acp_runtime.egress.tunnel import Tunnel, TunnelBroken

__all__ = ["EgressLimits", "EgressProxy", "Policy"]

_WHO_DECIDES = "The operator of this sandbox decides; tell whoever gave you the task"
_ASKED = "Whoever gave you the task is told, and may allow it: go on without it, and try again after a while"


@dataclass(frozen=True, slots=True)
class Policy:
    """What one sandbox may reach."""

    rules: Rules = field(default_factory=Rules)
    registries: tuple[Registry, ...] = ()


@dataclass(frozen=True, slots=True)
class EgressLimits:
    """Bounds in seconds: until a tunnel's client has said its hello, and without a byte in a tunnel."""

    hello_seconds: float = 15.0
    tunnel_idle_seconds: float = 600.0


class EgressProxy:
    """A carrier for one sandbox, which reaches it at `here`, as `127.0.0.1:PORT`.

    `trust` is for registries (default: the system's authorities).
    """

    def __init__(
        self,
        policy: Policy,
        tell: Tell,
        *,
        here: str,
        carrying: CarryingLimits,
        limits: EgressLimits | None = None,
        resolver: Resolver | None = None,
        trust: ssl.SSLContext | None = None,
    ) -> None:
        self.policy = policy
        self._tell = tell
        self._here = here
        self._carrying = carrying
        self._limits = limits or EgressLimits()
        self._resolver = resolver or Resolver()
        self._trust = trust
        self._under_way: dict[Report, asyncio.Task[object] | None] = {}

    def change(self, policy: Policy) -> None:
        """Judge by another policy from now on; what is under way to what it does not allow is cut."""
        self.policy = policy
        for report, task in self._under_way.items():
            if task is not None and not self._allows_still(report):
                report.forbidden = True
                task.cancel()

    def _allows_still(self, report: Report) -> bool:
        """Tell whether the policy allows what was allowed, or was not yet decided."""
        if report.way == "registry":
            return report.allowed_by in {f"registry {each.name}" for each in self.policy.registries}
        rule = self.policy.rules.find(report.host, report.port)
        inwards = report.allowed_by.startswith(PRIVATE)
        return not report.allowed_by or (rule is not None and (rule.private or not inwards))

    async def carry(self, client: HttpPeer, request: h11.Request) -> None:
        """See `Carrier`."""
        report = Report(self._tell, request)
        self._under_way[report] = asyncio.current_task()
        try:
            if request.method == b"CONNECT":
                await self._tunnel(client, request, report)
            else:
                await Exchange(client, partial(self._where_to, report), self._carrying, report).run(request)
        finally:
            del self._under_way[report]

    def on_refused(self, refusal: Refusal) -> None:
        self._tell(
            Contact("none", "refused", refused=refusal.code, why=refusal.sentence.rstrip("."), status=refusal.status)
        )

    # ---- requests

    async def _where_to(self, report: Report, request: h11.Request) -> Onward:
        wish = wish_of(request, self._here)
        if isinstance(wish, ForRegistry):
            return await self._to_registry(request, self._below(wish), report)
        report.way, report.host, report.port = "http", wish.host, wish.port
        if (asked := self._known_as(wish)) is not None:
            return await self._to_registry(request, asked, report)
        return Onward(await self._allowed(wish.host, wish.port, report), wish.target.encode("ascii"), is_harmless)

    async def _to_registry(self, request: h11.Request, asked: Asked, report: Report) -> Onward:
        address = asked.place.address
        report.way, report.host, report.port, report.path = "registry", address.host, address.port, asked.path
        report.allowed_by = f"registry {asked.registry.name}"
        if any(name in (b"content-length", b"transfer-encoding") for name, _ in request.headers):
            raise Refusal(400, "bad_request", "What is asked of a package registry has no body.")
        asked.place.admit(request.method, asked.path)
        addresses = await self._resolve(address.host, address.port, private=asked.registry.private)
        trust = self._tls() if address.scheme == "https" else None
        upstream = Upstream(address.host, address.port, trust, "package registry", addresses)
        return Onward(upstream, asked.target, PLAIN.__contains__, rewriting=asked.rewriting(self._here))

    def _below(self, wish: ForRegistry) -> Asked:
        registry = next((each for each in self.policy.registries if each.name == wish.name), None)
        if registry is None:
            sentence = f"This sandbox has no package registry {wish.name!r}."
            how = f"a preset with {wish.name!r} among its registries, or --registry {wish.name}, would give it one."
            raise Refusal(403, "egress_denied", f"{sentence} {_WHO_DECIDES}: {how}")
        asked = registry.below(wish.path)
        if asked is None:
            raise Refusal(403, "path_refused", f"The registry {wish.name} has no such path.")
        return asked

    def _known_as(self, wish: ForHost) -> Asked | None:
        if wish.port != 80:
            return None
        found = (registry.asked_as(f"http://{wish.host}{wish.target}") for registry in self.policy.registries)
        return next((each for each in found if each is not None), None)

    def _tls(self) -> ssl.SSLContext:
        if self._trust is None:
            self._trust = ssl.create_default_context()
        return self._trust

    # ---- tunnels

    async def _tunnel(self, client: HttpPeer, request: h11.Request, report: Report) -> None:
        try:
            tunnel = await self._open_tunnel(client, request, report)
        except Refusal as refusal:
            report.on_end(Ending.refused(refusal))
            raise
        except BaseException:
            report.on_end(Ending("cut"))
            raise
        async with self._reporting(tunnel, report):
            await tunnel.run(client.http.trailing_data[0])

    async def _open_tunnel(self, client: HttpPeer, request: h11.Request, report: Report) -> Tunnel:
        report.way = "tunnel"
        wish = tunnel_of(request)
        report.host, report.port = wish.host, wish.port
        upstream = await self._allowed(wish.host, wish.port, report)
        streams = await upstream.connect(self._carrying)
        limits = self._limits
        tunnel = Tunnel(client, streams, wish.host, seconds=limits.hello_seconds, idle=limits.tunnel_idle_seconds)
        try:
            await client.receive()  # the end of a request without a body
            await client.send(h11.Response(status_code=200, headers=[], reason=b"Connection established"))
        except BaseException as error:
            await tunnel.close()
            if isinstance(error, OSError | TimeoutError):
                raise ClientGone from error
            raise
        return tunnel

    @contextlib.asynccontextmanager
    async def _reporting(self, tunnel: Tunnel, report: Report) -> AsyncIterator[None]:
        """Tell how a tunnel ended. Nothing that befell it is raised: its client knows."""
        ending: Ending | None = None
        try:
            yield
        except HelloRefused as refused:
            ending = Ending("refused", 200, f"The client of the tunnel was cut off: {refused}", "hello_refused")
        except TunnelBroken as broken:
            ending = Ending(broken.how, 200, str(broken))
        finally:
            report.bytes_up, report.bytes_down = tunnel.bytes_up, tunnel.bytes_down
            report.on_end(ending or Ending("answered" if tunnel.over else "cut", 200))

    # ---- hosts

    async def _allowed(self, host: str, port: int, report: Report) -> Upstream:
        """Return where an allowed host is. Raises Refusal."""
        rule = self.policy.rules.find(host, port)
        if rule is None:
            rule_text = needed(host, port)
            sentence = f"{host}:{port} is not among what this sandbox may reach."
            how = f"The rule {rule_text} in the egress of its preset, or --egress {rule_text}, would allow it for good."
            phrase = f"Denied by the sandbox; your task's giver may allow the egress rule {rule_text}: try again later"
            raise Refusal(403, "egress_denied", f"{sentence} {_ASKED}. {how}", phrase=phrase)
        report.allowed_by = str(rule)
        return Upstream(host, port, None, "host", await self._resolve(host, port, private=rule.private))

    async def _resolve(self, host: str, port: int, *, private: bool) -> tuple[str, ...]:
        try:
            return await self._resolver.resolve(host, port, private=private, seconds=self._carrying.connect_seconds)
        except NameRefused as refused:
            status = 403 if refused.code == "address_refused" else 502
            raise Refusal(status, refused.code, str(refused), phrase=str(refused).rstrip(".")) from refused
