"""What an earlier manager left of an attempt, and the way of its model requests from then on.

Promises: whether an agent is taken up depends on the engine alone, never on its model; while the way of its requests
cannot be opened its relay holds them, and that is tried again until this side is closed.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from acp_runtime.config import Config
from acp_runtime.core.errors import Rejected
from acp_runtime.manager.launcher import LaunchRequest
from acp_runtime.manager.model_way import HOLD, RUN, Ways, route_of, ways_of
from acp_runtime.session.backoff import Backoff
from sandbox.container import Sandbox
from sandbox.engine import Engine, Json
from sandbox.errors import SandboxError, SandboxGone
from sandbox.probe import ProbeResult
from sandbox.spec import LABEL, SandboxSpec

log = logging.getLogger(__name__)

OpenWay = Callable[[Ways], AbstractAsyncContextManager[None]]


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
    request: LaunchRequest, config: Config, environ: Mapping[str, str], open_way: OpenWay
) -> AsyncIterator[None]:
    """Have the ways out of an agent's sandbox opened meanwhile, and close them afterwards. Raises nothing of its own.

    What hinders it is a warning, told again when it changes.
    """
    try:
        route = await route_of(request, environ)
    except Rejected as error:
        log.warning("%s goes on without a way to its model: %s", request.subagent, error)
        route = None
    ways = ways_of(request, config, route)
    async with AsyncExitStack() as held:
        opening = asyncio.create_task(_open(request.subagent, lambda: held.enter_async_context(open_way(ways))))
        try:
            yield
        finally:
            opening.cancel()
            await asyncio.wait([opening])


async def _open(subagent: str, enter: Callable[[], Awaitable[None]]) -> None:
    """Try until it is open, or there is nothing any more to open it for."""
    backoff, told = Backoff(), ""
    while True:
        try:
            return await enter()
        except SandboxGone:
            return None
        except (SandboxError, Rejected, OSError) as error:
            if told != str(error):
                told = str(error)
                log.warning("the ways out of %s are not open yet: %s", subagent, error)
        await backoff.pause()
