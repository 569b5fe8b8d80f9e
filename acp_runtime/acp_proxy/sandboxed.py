"""The parent agent of an editor in a sandbox of its own: started by the launcher, spoken to over pipes.

It is no subagent: nobody but the editor gives it tasks, so it has no actor. Its private store says from before its
start on that it is to be ended: that is what is done by whoever takes up the folder of a proxy that was killed.
"""

import asyncio
import logging
import secrets
import shutil
import signal
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from acp_runtime.acp_proxy.bridge import Bridge
from acp_runtime.acp_proxy.sandbox_tools import SandboxTools
from acp_runtime.clock import Clock, SystemClock
from acp_runtime.config import Config
from acp_runtime.core.budget import Allowance, Scope
from acp_runtime.core.decide import decide
from acp_runtime.core.ids import subagent_id
from acp_runtime.core.inputs import StopSubagent
from acp_runtime.core.model import Reason, Subagent
from acp_runtime.manager.bookkeeper import Bookkeeper
from acp_runtime.manager.docker_agent import DockerAgent
from acp_runtime.manager.docker_launcher import DockerLauncher
from acp_runtime.manager.entitlement import entitled
from acp_runtime.manager.holder_key import HolderKey
from acp_runtime.manager.launcher import LaunchRequest
from acp_runtime.manager.work import keep_patch, read_work
from acp_runtime.service.order import SpawnRequest, spawn_input
from acp_runtime.store.store import Store

__all__ = ["SandboxedAgent", "Site"]

log = logging.getLogger(__name__)

ATTEMPT: Final = 1
FATE_SECONDS: Final = 5.0
# Of what agents do before they end nothing is kept but files, and editors do not wait for long: some kill us after 2 s.
LEAVE_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Site:
    """Where and as whose an agent runs, and the `tools` of its sessions.

    `folder` is private and gone afterwards; `say` is told what people may know.
    """

    config: Config
    tools: SandboxTools
    launcher: DockerLauncher
    folder: Path
    parent: str
    say: Callable[[str], None]


class SandboxedAgent:
    """A started agent in its sandbox. `input` and `output` are the proxy's to connect and to close."""

    def __init__(self, site: Site, state: Subagent, agent: DockerAgent, bridge: Bridge, undo: AsyncExitStack) -> None:
        self._site = site
        self._state = state
        self._agent = agent
        self._bridge = bridge
        self._undo = undo
        self.input: IO[bytes] = bridge.input
        self.output: IO[bytes] = bridge.output

    @classmethod
    async def start(cls, request: SpawnRequest, site: Site) -> "SandboxedAgent":
        """Start an agent as it is asked for, but for its task. What is made is gone when this fails.

        Raises `Rejected` as `spawn_input` does, `LaunchError` and `StoreError`.
        """
        async with AsyncExitStack() as folder, AsyncExitStack() as undo:
            folder.callback(shutil.rmtree, site.folder, ignore_errors=True)
            path, clock = site.folder / "store.db", SystemClock()
            store = await undo.enter_async_context(Store.open(path, clock))
            site.launcher.own(store.id, store.epoch, path)
            undo.push_async_callback(site.launcher.close)
            await store.run_by(site.launcher.name)
            books = await undo.enter_async_context(Bookkeeper(store, path).open())
            state = await _noted(store, clock, site, request)
            bridge = Bridge(site.say)
            undo.push_async_callback(bridge.close)
            await bridge.listen()
            launch = _launch_of(state, store, books, site)
            agent = await site.launcher.launch(launch, bridge)
            await bridge.attach(agent)
            folder.pop_all()
            return cls(site, state, agent, bridge, undo.pop_all())

    async def ended(self) -> int:
        """Return its exit code when it has said its last."""
        await self._bridge.over.wait()
        return await self._code()

    async def end(self, *, urgent: bool) -> int:
        """End it, take its work out and remove what was made, but work that cannot be taken out: that is told."""
        async with self._undo:
            if not urgent:
                with suppress(TimeoutError):
                    async with asyncio.timeout(LEAVE_SECONDS):
                        await self._bridge.over.wait()
            code = await self._code() if self._bridge.over.is_set() else -signal.SIGKILL
            ended = await self._agent.end()
            out = ended.exported and self._kept()
        if out and ended.confirmed:
            shutil.rmtree(self._site.folder, ignore_errors=True)
        else:
            self._site.say(
                f"not all of it could be taken out or removed; the next run tries again ({self._site.folder})"
            )
        return code

    async def _code(self) -> int:
        with suppress(TimeoutError):
            async with asyncio.timeout(FATE_SECONDS):
                fate = await self._agent.fate()
                if fate is not None and fate.exit_code is not None:
                    return fate.exit_code
        return -signal.SIGKILL

    def _kept(self) -> bool:
        """Keep the work where it stays, and say where. Return whether it is there."""
        state, site = self._state, self._site
        work = read_work(site.folder / "work", state.id)
        if work is None or not work.patch:
            return work is not None
        try:
            path = keep_patch(site.config.state_dir, state.name, state.id, work.patch)
        except OSError as error:
            site.say(f"{error.filename} cannot be written: {error.strerror}")
            return False
        for notice in work.notices:
            site.say(notice)
        site.say(f"what the agent changed is in {path}; take it over with: git apply {path}")
        return True


async def _noted(store: Store, clock: Clock, site: Site, request: SpawnRequest) -> Subagent:
    """Write down who it is, and that it is to be ended: the log is read by who finds it left alone."""
    ident = subagent_id(secrets.token_bytes(5))
    given = spawn_input(site.config, ident=ident, caller=site.parent, request=request)
    events, _ = decide(None, given, clock.now())
    made = await store.commit(ident, None, 0, events)
    stop = StopSubagent(Reason.PARENT_ENDED, "parent", "the proxy of its editor was killed")
    events, _ = decide(made.state, stop, clock.now())
    await store.commit(ident, made.state, made.version, events)
    return made.state


def _launch_of(state: Subagent, store: Store, books: Bookkeeper, site: Site) -> LaunchRequest:
    config, budget = site.config, state.order.budget
    return LaunchRequest(
        store=store.id,
        subagent=state.id,
        attempt=ATTEMPT,
        kind=config.catalogue.kind(state.order.agent),
        order=state.order,
        keep=site.folder / "work",
        progress=site.say,
        token=HolderKey.beside(site.folder / "store.db").token(state.id, ATTEMPT),
        allowances=lambda: (Allowance(Scope.AGENT, state.id, budget, books.used(state.id)),),
        settled=books.settled,
        egress=lambda: entitled(config, state),
        registries=lambda: config.registries,
        tools=site.tools.door(state),
    )
