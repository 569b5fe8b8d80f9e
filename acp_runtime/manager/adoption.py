"""What an earlier manager left of an attempt, and the way of its model requests from then on.

Promises: whether an agent is taken up depends on the engine alone, never on its model; while the way of its requests
cannot be opened its relay holds them, and that is tried again until this side is closed.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from acp_runtime.core.errors import Rejected
from acp_runtime.gateway.errors import GatewayError
from acp_runtime.manager.launcher import LaunchRequest
from acp_runtime.manager.model_way import HOLD, RUN, route_of
from acp_runtime.models.route import Route
from acp_runtime.session.backoff import Backoff
from sandbox.container import Sandbox
from sandbox.engine import Engine, Json
from sandbox.errors import SandboxGone
from sandbox.probe import ProbeResult
from sandbox.spec import LABEL, SandboxSpec

log = logging.getLogger(__name__)

OpenWays = Callable[[Route | None], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Found:
    """What is left of an attempt: its container, or its journal alone. `alive`: something in it can still run.

    `probed` and `run_dir` are what the container was made with. Its own manager may have shared sockets with it where
    this one does not, or have kept them elsewhere.
    """

    sandbox: Sandbox
    probed: ProbeResult
    run_dir: Path
    alive: bool


async def find(engine: Engine, spec: SandboxSpec, probed: ProbeResult, run_dir: Path) -> Found | None:
    """Look for the container or the journal of the sandbox with this identity. Raises EngineError, SandboxGone.

    `probed` and `run_dir` are this manager's own.
    """
    identity = {"store": spec.store, "subagent": spec.subagent, "attempt": str(spec.attempt), "role": spec.role}
    containers = await engine.containers({f"{LABEL}{name}": value for name, value in identity.items()})
    if containers:
        return _as_made(engine, spec, probed, run_dir, await engine.inspect_container(containers[0]["Id"]))
    if await engine.inspect_volume(spec.journal_volume or "") is None:
        return None
    return Found(Sandbox(engine, spec, spec.name), probed, run_dir, alive=False)


def _as_made(engine: Engine, spec: SandboxSpec, probed: ProbeResult, run_dir: Path, made: Json) -> Found:
    sources = {each["Destination"]: Path(each["Source"]) for each in made["Mounts"] if each["Type"] == "bind"}
    gid = int(made["Config"]["User"].partition(":")[2] or 0)
    source = sources.get(RUN, run_dir)
    return Found(
        Sandbox(engine, replace(spec, gid=gid), made["Id"]),
        replace(probed, sockets_shared=HOLD in sources, gid=gid),
        source if source.parts[-2:] == (spec.store, spec.subagent) else run_dir,
        alive=made["State"]["Running"],
    )


@asynccontextmanager
async def opened_in_time(
    request: LaunchRequest, environ: Mapping[str, str], open_ways: OpenWays
) -> AsyncIterator[None]:
    """Have the ways out of an agent's sandbox opened meanwhile. Raises nothing of its own.

    What hinders it is a warning, told again when it changes; what an earlier manager opened stays as it is then. A key
    that is not there any more hinders nothing: calls that need it are refused, which has the agent ask for it.
    """
    try:
        route = await route_of(request, environ, runs=True)
    except Rejected as error:
        log.warning("%s goes on with the way to its model that it has, if it has one: %s", request.subagent, error)
        route = None
    opening = asyncio.create_task(_open(request.subagent, partial(open_ways, route)))
    try:
        yield
    finally:
        opening.cancel()
        await asyncio.wait([opening])


async def _open(subagent: str, open_ways: Callable[[], Awaitable[None]]) -> None:
    """Try until they are open, or there is nothing any more to open them for."""
    backoff, told = Backoff(), ""
    while True:
        try:
            return await open_ways()
        except GatewayError as error:
            if error.kind == SandboxGone.kind:
                return None
            if told != str(error):
                told = str(error)
                log.warning("the ways out of %s are not open yet: %s", subagent, error)
        await backoff.pause()
