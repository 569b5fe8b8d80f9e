"""The ways out of a sandbox: from loopback ports in it to the gateway on this side.

Where engine and manager share sockets, the relay connects to the gateway's, in the agent's run directory, which is
mounted. Elsewhere nothing of this machine can be mounted: the gateway has the relay's connections over an exec of
`relay attach`. A sandbox is made the same for both but for what this module says; while the way is broken the relay
holds new connections.
"""

import os
import platform
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Final

from acp_runtime.config import Config
from acp_runtime.core.budget import Scope
from acp_runtime.core.errors import Rejected
from acp_runtime.gateway.account import ENGINE_VARIABLES, Account, ModelWay, RelayWay, ToolsWay
from acp_runtime.keys import Key, is_login, key_in_use, key_or_none_yet
from acp_runtime.manager.egress_way import EGRESS_PORT, egress_environment, egress_way, put_home_files
from acp_runtime.manager.launcher import LaunchRequest
from acp_runtime.manager.run_dir import EGRESS_SOCKET, HOLDER, SOCKET
from acp_runtime.manager.tools_way import TOOLS_PORT, TOOLS_SOCKET
from acp_runtime.models.route import Route
from sandbox.container import Sandbox
from sandbox.health import with_health
from sandbox.probe import ProbeResult
from sandbox.programs_volume import RELAY
from sandbox.spec import HostMount

__all__ = ["HOLD", "PORT", "RUN", "account_of", "group", "relay_command", "route_of", "run_mounts", "told"]

PORT: Final = 8790
RUN: Final = "/run/subagents"
HOLD: Final = "/run/holder"
ATTACH_SOCKET: Final = "/run/relay.sock"  # in a tmpfs of the sandbox, for its root alone


def relay_command(probed: ProbeResult, *, proxied: bool = False) -> tuple[str, ...]:
    """Return what the first process of a sandbox is; `proxied`: it has a proxy."""
    ports = {PORT: SOCKET} | ({EGRESS_PORT: EGRESS_SOCKET} if proxied else {}) | {TOOLS_PORT: TOOLS_SOCKET}
    if probed.sockets_shared:
        targets = [(f"127.0.0.1:{port}", f"{RUN}/{socket}") for port, socket in ports.items()]
        return with_health(tuple(chain.from_iterable(targets)))
    return with_health(("listen", ATTACH_SOCKET, *(f"127.0.0.1:{port}" for port in ports)))


def run_mounts(probed: ProbeResult, run_dir: Path) -> tuple[HostMount, ...]:
    """Return the mounts of the agent's run directory, if it can be seen inside at all."""
    if not probed.sockets_shared:
        return ()
    return HostMount(str(run_dir), RUN), HostMount(str(run_dir / HOLDER), HOLD, read_only=False)


def group(probed: ProbeResult) -> int:
    """Return the group under which a sandbox shares sockets with this process, root's where it shares none."""
    return probed.gid if probed.sockets_shared else 0


def account_of(
    request: LaunchRequest,
    *,
    sandbox: Sandbox,
    probed: ProbeResult,
    run_dir: Path,
    route: Route | None,
    config: Config,
    environ: Mapping[str, str],
) -> Account:
    """Return what the gateway is to do for a sandbox made with `relay_command`, also one that was made long ago.

    `route` is where its model is, None where it has none.
    """
    model, allowances = None, request.allowances()
    if route is not None:
        model = ModelWay(PORT, run_dir / SOCKET, route, tuple(config.prices), allowances)
    relay = None
    if not probed.sockets_shared:
        engine = {name: environ[name] for name in ENGINE_VARIABLES if name in environ}
        argv, user = (RELAY, "attach", ATTACH_SOCKET), f"0:{sandbox.spec.gid}"
        relay = RelayWay(sandbox.id, argv, user, engine, request.token)
    egress = egress_way(request, run_dir / EGRESS_SOCKET)
    tools = None if relay is None else ToolsWay(TOOLS_PORT, run_dir / TOOLS_SOCKET)
    tree = next((each.key for each in allowances if each.scope is Scope.TREE), "")
    return Account(request.subagent, request.attempt, os.getgid(), model, egress, relay, tools, tree)


async def told(sandbox: Sandbox, request: LaunchRequest, route: Route | None) -> dict[str, str]:
    """Have programs in a sandbox find its ways out; return the variables that the agent gets. Raises SandboxError."""
    await put_home_files(sandbox, request)
    base_url, login = route.inside(PORT) if route is not None else "", is_login(request.order.model_key)
    return {
        **egress_environment(request),
        **request.kind.environment(model=request.order.model, base_url=base_url, login=login),
    }


async def route_of(request: LaunchRequest, environ: Mapping[str, str], *, runs: bool = False) -> Route | None:
    """Return where the agent's model requests go; the key is read here, at each start, and stays on this side.

    Raises Rejected (`bad_model_url`, and what sources of keys raise). An agent that `runs` needs its key only when it
    asks its model: of one that is not there it is told then. One of a kind with `login_env` asks as it starts.
    """
    order = request.order
    if order.model_url is None:
        return None
    read = key_or_none_yet if runs else key_in_use
    key = None if order.model_key is None else await read(order.model_key, environ)
    if key is not None and not runs and request.kind.login_env and is_login(order.model_key):
        await _usable(key)
    kind = request.kind
    return Route.parse(order.model_url, key=key, key_form=kind.key_form, headers=kind.model_headers)


async def _usable(key: Key) -> None:
    """Raise Rejected (`login_expired`), which says where somebody has to log in, for a login that cannot be used."""
    try:
        await key.current()
    except Rejected as error:
        raise Rejected(error.kind, f"{str(error).rstrip('.')}, on {platform.node() or 'this machine'}") from error
