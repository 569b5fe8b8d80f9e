"""Agents in containers: one hardened container each, without a network, on the engine that answers.

Everything made for an agent is named after store, subagent and attempt, so that it can be found and removed by a later
manager; a launch that fails leaves nothing.
"""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

from acp_runtime.config import Config
from acp_runtime.gateway.onlooker import look_at
from acp_runtime.gateway.place import GatewayPlace
from acp_runtime.manager.adoption import find, opened_in_time
from acp_runtime.manager.confinement import host_mounts
from acp_runtime.manager.docker_agent import DockerAgent, hold_in, look_for_folder
from acp_runtime.manager.gateway_link import GatewayLink
from acp_runtime.manager.grounds import Grounds
from acp_runtime.manager.launcher import Ended, Judgement, LaunchError, LaunchRequest, Log
from acp_runtime.manager.mishaps import in_launch, surely
from acp_runtime.manager.model_way import account_of, route_of, run_mounts, told
from acp_runtime.manager.reaping import Reaping
from acp_runtime.manager.run_dir import make_private, make_run_dir, remove_run_dir
from acp_runtime.manager.sandbox_specs import Mounts, agent_spec, guest_spec
from acp_runtime.manager.tools_way import served_tools
from acp_runtime.manager.work import forget_removal, note_removal, removal_noted
from acp_runtime.manager.workspace import SCRATCH, export, nothing_kept, snapshot, tell_kept
from acp_runtime.models.route import Route
from acp_runtime.session.channel import Receiver
from sandbox.agents_volume import AGENTS_MOUNT
from sandbox.container import Sandbox
from sandbox.engine import Engine
from sandbox.errors import CommandMissing, SandboxError
from sandbox.hold import Hold
from sandbox.holder.channel import HeldChannel
from sandbox.holder.dead import DeadChannel
from sandbox.holder.errors import AgentNotStarted
from sandbox.holder.reader import abandoned, journal_of, reader, remove_journals
from sandbox.images import ensure_agents, ensure_base, ensure_image
from sandbox.ownership import Owner
from sandbox.probe import ProbeResult, probe
from sandbox.programs_volume import PROGRAMS_MOUNT, ensure_programs
from sandbox.removal import remove_containers, remove_volumes
from sandbox.spec import BASE, LABEL, WORKSPACE, SandboxSpec, VolumeMount
from sandbox.workspace import Guest, WorkspaceLimits, bring_in

log = logging.getLogger(__name__)

EXPORTS: Final = 4  # at once; more only take longer each


@dataclass(frozen=True, slots=True)
class _Ground:
    """What every sandbox on this engine stands on."""

    engine: Engine
    base: str
    probed: ProbeResult


class DockerLauncher:
    """Starts agents on one engine. Holds one connection from the first use to `close`."""

    name, measures = "docker", True

    def __init__(self, config: Config, environ: Mapping[str, str], *, labels: Mapping[str, str] | None = None) -> None:
        self._config = config
        self.environ = environ
        self._reaping = Reaping(config, environ)
        self._more_labels = labels or {}
        self.own("unowned", 0, config.state_dir / "unowned")
        self._ground: _Ground | None = None
        self._failed = False
        self._preparing = asyncio.Lock()
        # Each start costs about 110 ms of the engine whatever the parallelism; more at once only wait longer.
        self._slots = asyncio.Semaphore(2 * (os.cpu_count() or 1))
        self._exports = asyncio.Semaphore(EXPORTS)

    def own(self, store: str, epoch: int, path: Path) -> None:
        """See `Launcher.own`."""
        self._owner = Owner.of_this_process(store, epoch)
        place = GatewayPlace.of_store(store, path, self._config.runtime_dir)
        self.gateway = GatewayLink(place, epoch, self._config.orphan_ttl, self.environ)

    @property
    def _labels(self) -> Mapping[str, str]:
        return {**self._owner.labels(), **self._more_labels}

    async def launch(self, request: LaunchRequest, receiver: Receiver) -> DockerAgent:
        """Start the agent in a container of its own. Raises `LaunchError`; whatever was made is gone then."""
        with in_launch():
            async with self._slots, AsyncExitStack() as undo:
                agent = await self._launch(request, receiver, undo)
                undo.pop_all()
                return agent

    async def _launch(self, request: LaunchRequest, receiver: Receiver, undo: AsyncExitStack) -> DockerAgent:
        route = await route_of(request, self.environ)
        ground = await self._with_base(await self._prepared(request), request)
        await self._clear(ground, request)
        image = ground.base
        if request.order.image is not None:
            image = await ensure_image(ground.engine, request.order.image, request.progress)
        mounts = await self._mounts(ground, request)
        host_side = await undo.enter_async_context(AsyncExitStack())
        run_dir = make_run_dir(self._config.runtime_dir, request.store, request.subagent, self._owner.epoch)
        undo.callback(self.remove_run_dir, request)
        await host_side.enter_async_context(served_tools(request, run_dir))
        request.progress("creating the container")
        spec = self._spec(request, image, ground.probed, (*mounts, *run_mounts(ground.probed, run_dir)))
        if request.resume is None:
            undo.push_async_callback(surely, self.remove_volumes, request)
        sandbox = await Sandbox.create(ground.engine, spec)
        undo.push_async_callback(surely, sandbox.remove)
        undo.push_async_callback(surely, self.close_ways, request)
        await self._open_ways(request, sandbox, ground.probed, run_dir, route)
        if request.resume is None:
            await self._bring_in(request)
        if request.attempt > 1:
            await remove_journals(sandbox, before=request.attempt)
        await look_for_folder(sandbox, request)
        env = await told(sandbox, request, route)
        agent = self._agent(request, hold_in(sandbox, ground.probed, run_dir), receiver, host_side)
        undo.push_async_callback(agent.channel.close)
        await self._start(agent, env)
        return agent

    def _agent(
        self, request: LaunchRequest, hold: Hold, receiver: Receiver, host_side: AsyncExitStack, *, output_from: int = 0
    ) -> DockerAgent:
        channel = HeldChannel(receiver, receiver, token=request.token, epoch=self._owner.epoch, stdout_from=output_from)
        return DockerAgent(request, hold.sandbox, hold, channel, receiver, host_side, self)

    async def _start(self, agent: DockerAgent, env: Mapping[str, str]) -> None:
        """Start the agent below its holder, in the environment that the container has, and attach to it."""
        found = await agent.sandbox.engine.inspect_container(agent.sandbox.id)
        around = dict(each.split("=", 1) for each in found["Config"]["Env"] or () if "=" in each)
        argv, token, epoch = agent.request.kind.argv, agent.request.token, self._owner.epoch
        env = {**around, **env}
        try:
            await agent.hold.start(argv, cwd=agent.cwd, env=env, token=token, epoch=epoch, ttl=self._config.orphan_ttl)
        except AgentNotStarted as error:
            raise CommandMissing(f"The program {argv[0]!r} could not be executed in the sandbox: {error}") from error
        await agent.channel.attach(agent.hold.open)

    async def adopt(self, request: LaunchRequest, receiver: Receiver, output_from: int) -> DockerAgent | None:
        """Find what an earlier manager left of the attempt. Raises `LaunchError`."""
        with in_launch():
            ground = await self._prepared(request)
            root, spec = self._config.runtime_dir, self._spec(request, ground.base, ground.probed)
            found = await find(ground.engine, spec, ground.probed, root / request.store / request.subagent)
            if found is None:
                return None
            make_run_dir(root, request.store, request.subagent, self._owner.epoch, keep=True)
            async with AsyncExitStack() as host_side:
                if found.alive:
                    await host_side.enter_async_context(served_tools(request, found.run_dir))
                    ways = partial(self._open_ways, request, found.sandbox, found.probed, found.run_dir)
                    await host_side.enter_async_context(opened_in_time(request, self.environ, ways))
                hold = hold_in(found.sandbox, found.probed, found.run_dir)
                return self._agent(request, hold, receiver, host_side.pop_all(), output_from=output_from)

    async def _open_ways(
        self, request: LaunchRequest, sandbox: Sandbox, probed: ProbeResult, run_dir: Path, route: Route | None
    ) -> None:
        """Have the gateway carry what comes out of the sandbox. Raises GatewayError."""
        made = partial(
            account_of, request, sandbox=sandbox, probed=probed, run_dir=run_dir, route=route, config=self._config,
            environ=self.environ,
        )  # fmt: skip
        if route is not None or request.order.egress is not None or not probed.sockets_shared:
            await self.gateway.open(made, request.settled)

    async def close_ways(self, request: LaunchRequest) -> None:
        """Have the gateway carry nothing more of this attempt, or an earlier one. Raises nothing."""
        await self.gateway.close_account(request.subagent, request.attempt)

    def remove_run_dir(self, request: LaunchRequest, root: Path | None = None) -> None:
        remove_run_dir(root or self._config.runtime_dir, request.store, request.subagent, self._owner.epoch)

    async def replay(self, agent: DockerAgent, dead: DeadChannel) -> None:
        """Go on telling what the journal of an agent that has died holds. Raises as `DeadChannel.replay`, LaunchError.

        Raises OSError when a folder of this machine fails.
        """
        ground = await self._prepared(agent.request)
        async with reader(ground.engine, agent.sandbox.spec, ground.base) as sandbox:
            await dead.replay(sandbox.open_channel, journal_of(agent.request.attempt))

    async def abandoned(self, agent: DockerAgent) -> bool:
        """Return whether the holder of an agent has ended for certain."""
        try:
            ground = await self._prepared(agent.request)
            async with reader(ground.engine, agent.sandbox.spec, ground.base) as sandbox:
                return await abandoned(sandbox, journal_of(agent.request.attempt))
        except (SandboxError, LaunchError, OSError) as error:
            log.warning("nothing tells whether the holder of %s lives: %s", agent.request.subagent, error)
            return False

    async def _prepared(self, request: LaunchRequest) -> _Ground:
        async with self._preparing:
            if self._ground is None:
                try:
                    self._ground = await self._prepare(request)
                except Exception:
                    self._failed = True
                    raise
                self._failed = False
            return self._ground

    async def _prepare(self, request: LaunchRequest) -> _Ground:
        engine = await Engine.connect(self.environ)
        try:
            base = await self._base(engine, request)
            root = make_private(self._config.runtime_dir)
            remote = self._config.sockets == "exec"
            return _Ground(engine, base, await probe(engine, root, base, assume_remote=remote, labels=self._labels))
        except BaseException:
            await engine.close()
            raise

    async def _with_base(self, ground: _Ground, request: LaunchRequest) -> _Ground:
        """Have the base image again where somebody removed it while nothing ran from it, as a clean-up does."""
        if await ground.engine.inspect_image(ground.base) is None:
            async with self._preparing:
                ground = self._ground = replace(ground, base=await self._base(ground.engine, request))
        return ground

    async def _base(self, engine: Engine, request: LaunchRequest) -> str:
        if self._config.base_image is not None:
            return await ensure_image(engine, self._config.base_image, request.progress)
        return await ensure_base(engine, request.progress, environ=self.environ)

    async def _clear(self, ground: _Ground, request: LaunchRequest) -> None:
        """Remove the containers of earlier attempts, and what they stored when nothing of it is gone on with."""
        if request.attempt == 1:
            return
        await remove_containers(ground.engine, self._own(request), self._owner.epoch)
        volumes = {each["Name"] for each in await ground.engine.volumes(self._own(request))}
        if request.resume is None:
            await self.remove_volumes(request)
        elif not volumes.issuperset(self._guest_spec(ground, request).volumes):
            raise nothing_kept(request)

    async def _mounts(self, ground: _Ground, request: LaunchRequest) -> Mounts:
        async with self._preparing:  # one fills it, the others wait
            programs = await ensure_programs(ground.engine, ground.base)
        hosts = host_mounts(request.order.confinement, ground.engine.endpoint, shared=ground.probed.sockets_shared)
        mounts: Mounts = (VolumeMount(programs, PROGRAMS_MOUNT), *hosts)
        if any(part.startswith(f"{AGENTS_MOUNT}/") for part in request.kind.argv):
            volume = await ensure_agents(ground.engine, request.progress, environ=self.environ)
            return *mounts, VolumeMount(volume, AGENTS_MOUNT)
        return mounts

    def _spec(self, request: LaunchRequest, image: str, probed: ProbeResult, mounts: Mounts = ()) -> SandboxSpec:
        return agent_spec(request, image, probed, mounts, self._labels)

    async def _bring_in(self, request: LaunchRequest) -> None:
        request.progress(f"taking the workspace in: {request.order.workspace}")
        scratch = make_private(self._config.cache_dir / SCRATCH, "XDG_CACHE_HOME")
        async with snapshot(request, scratch, self.environ) as taken, self.guest(request) as guest:
            await bring_in(guest, taken)

    @asynccontextmanager
    async def guest(self, request: LaunchRequest) -> AsyncIterator[Guest]:
        """Give a sandbox that sees the agent's work and what it was given, and that the agent never enters.

        Raises the errors of `Sandbox.create`. The volumes stay.
        """
        ground = self._ground
        if ground is None:
            raise LaunchError("engine_unreachable", "the engine was never reached by this manager")
        sandbox = await Sandbox.create(ground.engine, self._guest_spec(ground, request))
        try:
            yield Guest(sandbox, WorkspaceLimits(), base=BASE, work=WORKSPACE)
        finally:
            await surely(sandbox.remove)

    def _guest_spec(self, ground: _Ground, request: LaunchRequest) -> SandboxSpec:
        return guest_spec(request, ground.base, self._labels)

    async def finish(self, request: LaunchRequest, *, exported: bool = False) -> Ended:
        """Export the work unless it was, then remove the volumes, but not what is kept or could not be exported."""
        exported = exported or await self.export(request)
        kept = request.order.keep or not exported
        return Ended(confirmed=kept or await self._remove_exported(request), exported=exported)

    async def _remove_exported(self, request: LaunchRequest) -> bool:
        with suppress(OSError):  # a full disk: should the removal be cut short too, the work is told as not taken out
            note_removal(request.keep, request.subagent, request.attempt)
        removed = await self.remove_volumes(request)
        if removed:
            forget_removal(request.keep, request.subagent)
        return removed

    async def export(self, request: LaunchRequest) -> bool:
        """Write the work to the request's folder. Return False, having told why, when it cannot be taken out.

        What a removal of ours that was cut short left is no work: what was written before it began counts.
        """
        try:
            async with self._exports:
                if not await self._cut_short(request):
                    async with self.guest(request) as guest:
                        return await export(guest, request)
        except SandboxError as error:
            tell_kept(request, str(error))
            return False
        written = removal_noted(request.keep, request.subagent, request.attempt)
        if not written:
            tell_kept(request, "a volume of its workspace is gone, and it was not this manager that removed it")
        return written

    async def _cut_short(self, request: LaunchRequest) -> bool:
        """Return whether a volume of the workspace is gone, which a sandbox would make anew, and empty."""
        if (ground := self._ground) is None:
            return False
        wanted = self._guest_spec(ground, request).volumes
        return None in [await ground.engine.inspect_volume(name) for name in wanted]

    async def remove_volumes(self, request: LaunchRequest) -> bool:
        """Remove every volume of a subagent. Return False when the engine does not answer."""
        ground = self._ground
        if ground is None:
            return True
        try:
            await remove_volumes(ground.engine, self._own(request), self._owner.epoch)
        except SandboxError:
            return False
        return True

    async def reap(self, request: LaunchRequest) -> bool:
        """Remove the containers that an earlier manager left."""
        await self.close_ways(request)
        if self._failed and not self._preparing.locked():
            self._failed = False
            return False  # a launch could not reach the engine a moment ago: it does not wait for that twice
        try:
            ground = await self._prepared(request)
            await remove_containers(ground.engine, self._own(request), self._owner.epoch)
        except (SandboxError, LaunchError):
            return False
        self.remove_run_dir(request)
        return True

    async def sweep(self, request: LaunchRequest) -> Ended:
        """Take up what an earlier manager left: remove containers, export the work, remove volumes."""
        if not await self.reap(request):
            return Ended(confirmed=False, exported=False)
        try:
            ground = await self._prepared(request)
            if not await ground.engine.volumes(self._own(request)):
                return Ended(confirmed=True, exported=True)
        except (SandboxError, LaunchError):
            return Ended(confirmed=False, exported=False)
        return await self.finish(request)

    async def discard(self, request: LaunchRequest) -> bool:
        """Remove what was kept of an ended subagent."""
        return await self.reap(request) and await self.remove_volumes(request)

    async def reap_all(
        self, log: Log, *, dry_run: bool = False, volumes_of: frozenset[str] = frozenset()
    ) -> list[Judgement]:
        """See `Launcher.reap_all`."""
        accounts = await self.gateway.prune(log, dry_run=dry_run)
        return accounts + await self._reaping.run(self._owner, log, dry_run=dry_run, volumes_of=volumes_of)

    async def grounds(self) -> Grounds:
        """See `Launcher.grounds`."""
        seen = await look_at(self.gateway.place)
        found = await Grounds.of(seen, None if self._ground is None else self._ground.engine, self._owner.store)
        return replace(found, no_gateway=self.gateway.trouble)

    def _own(self, request: LaunchRequest) -> dict[str, str]:
        return {f"{LABEL}store": request.store, f"{LABEL}subagent": request.subagent}

    async def close(self) -> None:
        """Give up the connections to the engine and to the gateway. Idempotent."""
        await self.gateway.close()
        ground, self._ground = self._ground, None
        if ground is not None:
            await ground.engine.close()
