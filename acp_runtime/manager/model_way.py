"""The way of an agent's model requests: from the loopback port in its sandbox to the forwarder on this side.

Where engine and manager share sockets, the relay connects to the forwarder's own, in the agent's run directory, which
is mounted. Elsewhere nothing of this machine can be mounted: the relay's connections come over an exec of
`relay attach`. Promises: a sandbox is made the same for both but for what this module says; while the way is broken the
relay holds new connections, and `RelayLink` mends it; after `async with` nothing is left on this side.
"""

import os
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from acp_runtime.carrying.limits import CarryingLimits
from acp_runtime.carrying.server import HttpServer
from acp_runtime.clock import SystemClock
from acp_runtime.core.prices import Price
from acp_runtime.keys import key_source
from acp_runtime.manager.launcher import LaunchRequest
from acp_runtime.manager.run_dir import HOLDER, SOCKET
from acp_runtime.models.forwarder import ModelForwarder
from acp_runtime.models.meter import Metering
from acp_runtime.models.prices import builtin_prices
from acp_runtime.models.route import Route
from sandbox.channel import ExecChannel, Receiver
from sandbox.container import Sandbox
from sandbox.probe import ProbeResult
from sandbox.programs_volume import RELAY
from sandbox.relay.link import RelayLink
from sandbox.spec import HostMount

__all__ = ["HOLD", "PORT", "RUN", "group", "metering", "model_way", "relay_command", "run_mounts"]

PORT: Final = 8790
RUN: Final = "/run/subagents"
HOLD: Final = "/run/holder"
ATTACH_SOCKET: Final = "/run/relay.sock"  # in a tmpfs of the sandbox, for its root alone


def relay_command(probed: ProbeResult) -> tuple[str, ...]:
    """Return what the first process of a sandbox is."""
    if probed.sockets_shared:
        return (RELAY, f"127.0.0.1:{PORT}", f"{RUN}/{SOCKET}")
    return (RELAY, "listen", ATTACH_SOCKET, f"127.0.0.1:{PORT}")


def run_mounts(probed: ProbeResult, run_dir: Path) -> tuple[HostMount, ...]:
    """Return the mounts of the agent's run directory, if it can be seen inside at all."""
    if not probed.sockets_shared:
        return ()
    return HostMount(str(run_dir), RUN), HostMount(str(run_dir / HOLDER), HOLD, read_only=False)


def group(probed: ProbeResult) -> int:
    """Return the group under which a sandbox shares sockets with this process, root's where it shares none."""
    return probed.gid if probed.sockets_shared else 0


@asynccontextmanager
async def model_way(
    sandbox: Sandbox,
    probed: ProbeResult,
    run_dir: Path,
    route: Route,
    *,
    metering: Metering,
    token: str,
    epoch: int,
) -> AsyncIterator[None]:
    """Serve the model requests of a sandbox that was made with `relay_command`, also one that was made long ago.

    `token` is the same for each attempt of an agent whichever manager comes, `epoch` that of this manager. Raises
    Rejected (`socket_refused`), RelayError, SandboxGone, EngineError; nothing is left then.
    """

    async def attach(receiver: Receiver) -> ExecChannel:
        argv, user = (RELAY, "attach", ATTACH_SOCKET), f"0:{sandbox.spec.gid}"
        return await sandbox.open_channel(argv, cwd="/", env={}, receiver=receiver, user=user)

    limits = CarryingLimits()
    forwarder = ModelForwarder(route, metering=metering, limits=limits)
    async with HttpServer(run_dir / SOCKET, os.getgid(), forwarder, limits) as server:
        if probed.sockets_shared:
            yield
            return
        async with RelayLink(attach, {PORT: server.path}, token=token, epoch=epoch):
            yield


def metering(request: LaunchRequest, own: Iterable[Price]) -> Metering:
    """Return what the agent's calls are measured with, prices of the user's `own` included."""
    clock = SystemClock()
    prices = builtin_prices().with_own(own)
    return Metering(request.subagent, prices, lambda: int(clock.wall().timestamp() * 1000), request.on_call)


async def route_of(request: LaunchRequest, environ: Mapping[str, str]) -> Route | None:
    """Return where the agent's model requests go; the key is read here, at each start, and stays on this side.

    Raises Rejected (`key_missing`, `key_malformed`, `key_unreadable`, `bad_key_source`, `bad_model_url`).
    """
    order = request.order
    if order.model_url is None:
        return None
    key = None if order.model_key is None else await key_source(order.model_key, environ).read()
    return Route.parse(order.model_url, key=key, key_form=request.kind.key_form)
