"""The ways out of a sandbox: from loopback ports in it to the forwarder of its model and to its proxy on this side.

Where engine and manager share sockets, the relay connects to the forwarder's own, in the agent's run directory, which
is mounted. Elsewhere nothing of this machine can be mounted: the relay's connections come over an exec of
`relay attach`. Promises: a sandbox is made the same for both but for what this module says; while the way is broken the
relay holds new connections, and `RelayLink` mends it; after `async with` nothing is left on this side.
"""

import os
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Final

from acp_runtime.carrying.limits import CarryingLimits
from acp_runtime.carrying.server import Carrier, HttpServer
from acp_runtime.clock import SystemClock
from acp_runtime.config import Config
from acp_runtime.egress.proxy import EgressProxy
from acp_runtime.keys import key_in_use
from acp_runtime.manager.egress_way import EGRESS_PORT, egress_environment, egress_proxy, put_home_files
from acp_runtime.manager.launcher import LaunchRequest
from acp_runtime.manager.run_dir import EGRESS_SOCKET, HOLDER, SOCKET
from acp_runtime.models.forwarder import ModelForwarder
from acp_runtime.models.meter import Metering
from acp_runtime.models.prices import builtin_prices
from acp_runtime.models.purse import Purse
from acp_runtime.models.route import Route
from sandbox.channel import ExecChannel, Receiver
from sandbox.container import Sandbox
from sandbox.probe import ProbeResult
from sandbox.programs_volume import RELAY
from sandbox.relay.link import RelayLink
from sandbox.spec import HostMount

__all__ = ["HOLD", "PORT", "RUN", "Ways", "group", "relay_command", "run_mounts", "told", "ways_of", "ways_out"]

PORT: Final = 8790
RUN: Final = "/run/subagents"
HOLD: Final = "/run/holder"
LIMITS: Final = CarryingLimits()
ATTACH_SOCKET: Final = "/run/relay.sock"  # in a tmpfs of the sandbox, for its root alone


@dataclass(frozen=True, slots=True)
class Ways:
    """What serves a sandbox on this side: the way to its model, measured, and its proxy; None where it has none."""

    route: Route | None
    metering: Metering
    proxy: EgressProxy | None = None


def relay_command(probed: ProbeResult, *, proxied: bool = False) -> tuple[str, ...]:
    """Return what the first process of a sandbox is; `proxied`: it has a proxy."""
    ports = {PORT: SOCKET} | ({EGRESS_PORT: EGRESS_SOCKET} if proxied else {})
    if probed.sockets_shared:
        targets = [(f"127.0.0.1:{port}", f"{RUN}/{socket}") for port, socket in ports.items()]
        return (RELAY, *chain.from_iterable(targets))
    return (RELAY, "listen", ATTACH_SOCKET, *(f"127.0.0.1:{port}" for port in ports))


def run_mounts(probed: ProbeResult, run_dir: Path) -> tuple[HostMount, ...]:
    """Return the mounts of the agent's run directory, if it can be seen inside at all."""
    if not probed.sockets_shared:
        return ()
    return HostMount(str(run_dir), RUN), HostMount(str(run_dir / HOLDER), HOLD, read_only=False)


def group(probed: ProbeResult) -> int:
    """Return the group under which a sandbox shares sockets with this process, root's where it shares none."""
    return probed.gid if probed.sockets_shared else 0


@asynccontextmanager
async def ways_out(
    sandbox: Sandbox, probed: ProbeResult, run_dir: Path, ways: Ways, *, token: str, epoch: int
) -> AsyncIterator[None]:
    """Serve the requests of a sandbox that was made with `relay_command`, also one that was made long ago.

    `token` is the same for each attempt of an agent whichever manager comes, `epoch` that of this manager. Raises
    Rejected (`socket_refused`), RelayError, SandboxGone, EngineError; nothing is left then.
    """

    async def attach(receiver: Receiver) -> ExecChannel:
        argv, user = (RELAY, "attach", ATTACH_SOCKET), f"0:{sandbox.spec.gid}"
        return await sandbox.open_channel(argv, cwd="/", env={}, receiver=receiver, user=user)

    targets: dict[int, Path] = {}
    async with AsyncExitStack() as held:
        for port, name, carrier in _served(ways):
            server = await held.enter_async_context(HttpServer(run_dir / name, os.getgid(), carrier, LIMITS))
            targets[port] = server.path
        if targets and not probed.sockets_shared:
            await held.enter_async_context(RelayLink(attach, targets, token=token, epoch=epoch))
        yield


def _served(ways: Ways) -> Iterator[tuple[int, str, Carrier]]:
    if ways.route is not None:
        yield PORT, SOCKET, ModelForwarder(ways.route, metering=ways.metering, limits=LIMITS)
    if ways.proxy is not None:
        yield EGRESS_PORT, EGRESS_SOCKET, ways.proxy


def ways_of(request: LaunchRequest, config: Config, route: Route | None) -> Ways:
    """Return the ways of an order whose model is at the end of `route`."""
    clock = SystemClock()
    prices, purse = builtin_prices().with_own(config.prices), Purse(request.order.budget, request.used)
    metering = Metering(request.subagent, prices, purse, lambda: int(clock.wall().timestamp() * 1000), request.on_call)
    return Ways(route, metering, egress_proxy(request, config))


async def told(sandbox: Sandbox, request: LaunchRequest, route: Route | None, config: Config) -> dict[str, str]:
    """Have programs in a sandbox find its ways out; return the variables that the agent gets. Raises SandboxError."""
    await put_home_files(sandbox, request.order.egress, config)
    base_url = route.inside(PORT) if route is not None else ""
    return {
        **egress_environment(request.order.egress, config),
        **request.kind.environment(model=request.order.model, base_url=base_url),
    }


async def route_of(request: LaunchRequest, environ: Mapping[str, str]) -> Route | None:
    """Return where the agent's model requests go; the key is read here, at each start, and stays on this side.

    Raises Rejected (`bad_model_url`, and what sources of keys raise).
    """
    order = request.order
    if order.model_url is None:
        return None
    key = None if order.model_key is None else await key_in_use(order.model_key, environ)
    return Route.parse(order.model_url, key=key, key_form=request.kind.key_form)
