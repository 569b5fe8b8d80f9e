"""What an order allows beyond its model, and what programs in the sandbox are told of it.

Promises: what is allowed comes from the order and this side's configuration alone, never from a workspace or an image.
"""

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from acp_runtime.egress.registry import Registry
from acp_runtime.egress.rules import Rules
from acp_runtime.gateway.account import EgressWay
from acp_runtime.manager.launcher import LaunchRequest
from sandbox.container import Sandbox
from sandbox.spec import HOME

__all__ = ["EGRESS_PORT", "egress_environment", "egress_way", "environment_for", "put_home_files"]

log = logging.getLogger(__name__)

EGRESS_PORT: Final = 8791
HERE: Final = f"127.0.0.1:{EGRESS_PORT}"
PUT_SECONDS: Final = 30.0
# As the agent's user, so that a link it left in an earlier attempt leads nowhere that it could not write itself.
_PUT: Final = 'test -e "$1" || { mkdir -p "${1%/*}" && printf %s "$2" > "$1"; }'


def egress_way(request: LaunchRequest, socket: Path) -> EgressWay | None:
    """Return what the gateway is to let through for a request by now, None for one that has no proxy."""
    egress = request.egress()
    if egress is None:
        return None
    return EgressWay(EGRESS_PORT, socket, Rules.parse(egress.rules), registries_of(request))


def registries_of(request: LaunchRequest) -> tuple[Registry, ...]:
    """Return the registries that a sandbox may reach by now, of those that there still are."""
    egress, known = request.egress(), request.registries()
    return () if egress is None else tuple(known[name] for name in egress.registries if name in known)


def egress_environment(request: LaunchRequest) -> dict[str, str]:
    """Return the variables by which programs find what is allowed; none where there is no proxy."""
    return {} if request.order.egress is None else environment_for(registries_of(request))


def environment_for(registries: Iterable[Registry]) -> dict[str, str]:
    """Return the variables by which programs find the proxy and registries."""
    proxies = ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy")
    found = dict.fromkeys(proxies, f"http://{HERE}")
    found |= dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1,localhost,::1")
    for registry in registries:
        found |= registry.environment(HERE)
    return found


async def put_home_files(sandbox: Sandbox, request: LaunchRequest) -> None:
    """Write the files of an agent that has a way out, and those of registries, where there are none.

    Raises SandboxError.
    """
    wanted = {} if request.order.egress is None else dict(request.kind.home_files)
    for registry in registries_of(request):
        wanted |= registry.home_files(HERE)
    for path, text in wanted.items():
        argv = ("sh", "-c", _PUT, "sh", f"{HOME}/{path}", text)
        done = await sandbox.run(argv, cwd=HOME, limit_bytes=4096, timeout=PUT_SECONDS)
        if done.exit_code != 0:
            log.warning("%s of %s was not written: exit %s", path, request.subagent, done.exit_code)
