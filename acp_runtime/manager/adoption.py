"""What an earlier manager left of an attempt, and the way of its model requests from then on.

Promises: whether an agent is taken up depends on the engine alone, never on its model; while the way of its requests
cannot be opened its relay holds them, and that is tried again until this side is closed.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final

from acp_runtime.core.errors import Rejected
from acp_runtime.manager.launcher import LaunchRequest
from acp_runtime.manager.model_way import route_of
from acp_runtime.models.route import Route
from sandbox.container import Sandbox
from sandbox.engine import Engine
from sandbox.errors import SandboxError, SandboxGone
from sandbox.spec import LABEL, SandboxSpec

log = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0  # seconds
ALIVE: Final = ("running", "paused")

OpenWay = Callable[[Route], AbstractAsyncContextManager[None]]


@dataclass(frozen=True, slots=True)
class Found:
    """What is left of an attempt: its container, or its journal alone. `alive`: something in it can still run."""

    sandbox: Sandbox
    alive: bool


async def find(engine: Engine, spec: SandboxSpec) -> Found | None:
    """Look for the container or the journal of the sandbox with this identity. Raises EngineError."""
    identity = {"store": spec.store, "subagent": spec.subagent, "attempt": str(spec.attempt), "role": spec.role}
    containers = await engine.containers({f"{LABEL}{name}": value for name, value in identity.items()})
    if containers:
        return Found(Sandbox(engine, spec, containers[0]["Id"]), containers[0]["State"] in ALIVE)
    if await engine.inspect_volume(spec.journal_volume or "") is None:
        return None
    return Found(Sandbox(engine, spec, spec.name), alive=False)


@asynccontextmanager
async def opened_in_time(request: LaunchRequest, environ: Mapping[str, str], open_way: OpenWay) -> AsyncIterator[None]:
    """Have the way of an agent's model requests opened meanwhile, and close it afterwards. Raises nothing of its own.

    What hinders it is a warning, told again when it changes.
    """
    try:
        route = route_of(request, environ)
    except Rejected as error:
        log.warning("%s goes on without a way to its model: %s", request.subagent, error)
        route = None
    async with AsyncExitStack() as held:
        if route is None:
            yield
            return
        opening = asyncio.create_task(_open(request.subagent, lambda: held.enter_async_context(open_way(route))))
        try:
            yield
        finally:
            opening.cancel()
            await asyncio.wait([opening])


async def _open(subagent: str, enter: Callable[[], Awaitable[None]]) -> None:
    """Try until it is open, or there is nothing any more to open it for."""
    pause, told = FIRST_PAUSE, ""
    while True:
        try:
            return await enter()
        except SandboxGone:
            return None
        except (SandboxError, Rejected, OSError) as error:
            if told != str(error):
                told = str(error)
                log.warning("the way of %s to its model is not open yet: %s", subagent, error)
        await asyncio.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)
