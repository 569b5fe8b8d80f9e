"""An agent that runs in a container below a holder: what its owner may ask of it, and how it ends."""

import asyncio
import logging
import signal
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from acp_runtime.manager.launcher import CheckResult, Drained, Ended, Fate, LaunchError, LaunchRequest
from acp_runtime.manager.mishaps import in_launch
from acp_runtime.manager.model_way import HOLD
from acp_runtime.manager.run_dir import HOLDER
from acp_runtime.manager.shortage import Shortages, memory_limit
from acp_runtime.manager.tools_way import TOOLS_PORT, servers_of
from acp_runtime.manager.workspace import measure, missing_folder
from acp_runtime.session.backoff import Backoff
from acp_runtime.session.channel import Receiver
from sandbox.container import Sandbox
from sandbox.errors import SandboxError
from sandbox.fate import Fate as ContainerFate
from sandbox.hold import Hold
from sandbox.holder.channel import HeldChannel
from sandbox.holder.dead import DeadChannel
from sandbox.holder.errors import EpochRefused, HolderError, HolderGone, OffsetRefused, TokenRefused, VersionRefused
from sandbox.holder.frames import UNKNOWN, Phase, State
from sandbox.probe import ProbeResult
from sandbox.programs import TOOLS as TOOLS_PROGRAM
from sandbox.programs_volume import HOLDER as HOLDER_PROGRAM
from sandbox.spec import AGENT_UID, WORKSPACE

if TYPE_CHECKING:
    from acp_runtime.manager.docker_launcher import DockerLauncher

log = logging.getLogger(__name__)

CHECK_BYTES: Final = 1_048_576
LOOKS, LOOK_SECONDS = 5, 0.2
SILENT_TRIES: Final = 5
MUTE_GRACE: Final = 2.0
FOLDER_SECONDS: Final = 30.0
ASK_SECONDS: Final = 1.0


@dataclass(slots=True)
class DockerAgent:
    """One agent in its sandbox. `end` removes the container, exports the work and then removes the volumes.

    `host_side` holds what is done on this side for it while this manager owns it.
    """

    request: LaunchRequest
    sandbox: Sandbox
    hold: Hold
    channel: HeldChannel
    receiver: Receiver
    host_side: AsyncExitStack
    launcher: "DockerLauncher"
    exported: bool = False
    refused: str | None = None
    _silent: int = 0
    _pid: int | None = None
    _told: Shortages = field(init=False)

    def __post_init__(self) -> None:
        self._told = Shortages(*self.request.ran_out)

    @property
    def cwd(self) -> str:
        return folder_of(self.request)

    @property
    def servers(self) -> tuple[Mapping[str, Any], ...]:
        return servers_of(self.request, TOOLS_PROGRAM, f"127.0.0.1:{TOOLS_PORT}")

    @property
    def container(self) -> str:
        return self.sandbox.id

    async def pid(self) -> int | None:
        """Return the pid of the first process that has the agent's uid."""
        if self._pid is None:
            try:
                processes = await self.sandbox.engine.processes(self.sandbox.id)
            except SandboxError:
                return None
            self._pid = next((pid for pid, uid in processes if uid == AGENT_UID), None)
        return self._pid

    async def recover(self) -> bool:
        """Attach to the holder. One that nobody finds from inside its container counts as dead after some tries.

        An agent that closed its output and lives is ended: nobody will hear of it any more.
        """
        try:
            await self._attach()
        except OffsetRefused as error:
            self.channel.skip(error.about)  # a part of a line that is too long for us was given up already
            return False
        except HolderGone as error:
            self._silent += error.nobody
            log.info("%s is out of reach: %s", self.request.subagent, error)
            return False
        except (EpochRefused, TokenRefused, VersionRefused) as error:
            self._turned_down(error)
            return False
        except (SandboxError, OSError) as error:
            log.info("%s is out of reach: %s", self.request.subagent, error)
            return False
        self._silent, self.refused = 0, None
        if self.channel.mute:
            await self.channel.kill(MUTE_GRACE)
        return not self.channel.mute

    def _turned_down(self, error: HolderError) -> None:
        words = f"its holder refused this manager ({error.kind}): {str(error).rstrip('.')}"
        if words != self.refused:
            log.warning("%s is out of reach: %s", self.request.subagent, words)
        self.refused = words

    async def _attach(self) -> None:
        """Attach over the shared socket, else over an exec: that the socket is not found here says nothing of it."""
        if self.hold.shared is not None:
            try:
                await self.channel.attach(self.hold.open)
            except HolderGone as error:
                if error.late:
                    raise
                log.info("the socket of %s does not answer: %s", self.request.subagent, error)
            else:
                return
        await self.hold.attach(self.channel)

    async def fate(self) -> Fate | None:
        """Ask the holder what it told last, and the engine for the container. None while nobody knows an end."""
        state = self.channel.state
        if state is not None and state.phase is Phase.ENDED:
            blind = state.oom_kills is None and state.signal == signal.SIGKILL
            return self._ended(replace(state, oom_kills=1) if blind and await self._for_memory() else state)
        try:
            container = await self._container()
        except SandboxError:
            return None
        if container.state in ("exited", "gone"):
            return Fate(container.exit_code, self._words(container.describe(), container))
        return await self._without_holder(container) if container.state == "running" else None

    async def _container(self) -> ContainerFate:
        """Ask the engine. That something was killed for memory is left out where it may be what was told before."""
        found = await self.sandbox.fate()
        return replace(found, oom=found.oom and not self._told.killed)

    def _ended(self, state: State) -> Fate:
        """Tell an end as its holder noted it, with what had run out."""
        ran_out = Shortages.of(state).since(self._told).describe(self.request.order.confinement)
        return Fate(_code(state), f"{state.how}: {ran_out}" if ran_out else state.how)

    def _words(self, words: str, container: ContainerFate) -> str:
        limit = f": {memory_limit(self.request.order.confinement)}" if container.oom else ""
        return f"{words.rstrip('.')}{limit}"

    async def _without_holder(self, container: ContainerFate) -> Fate | None:
        """End a container whose holder has gone: nobody can speak to its agent any more.

        That nobody answers does not show it, only that its journal is nobody's any more.
        """
        if self._silent < SILENT_TRIES:
            return None
        if not await self.launcher.abandoned(self):
            log.warning("%s may live, but nobody answers where its holder is to be reached", self.request.subagent)
            self._silent = 0
            return None
        if not await self.sandbox.remove():
            return None
        gone = "the process that held the agent's streams had ended, so its container was removed"
        return Fate(None, self._words(f"{gone}. {container.describe()}" if container.oom else gone, container))

    async def _for_memory(self) -> bool:
        """Return whether the engine tells of a want of memory; look for a moment, for it notes that later."""
        with suppress(SandboxError):
            for _ in range(LOOKS):
                container = await self._container()
                if container.state == "gone" or container.oom:
                    return container.oom
                await asyncio.sleep(LOOK_SECONDS)
        return False

    async def kill(self) -> bool:
        return await self.sandbox.remove()

    async def drain(self) -> Drained:
        """Read the journal, however often that fails: the next attempt removes it. The caller sets the bound."""
        if not await self.channel.give_way():
            return self._drained(self.channel.state)
        received, received_stderr = self.channel.received, self.channel.received_stderr
        dead = DeadChannel(self.receiver, self.receiver, stdout_from=received, stderr_from=received_stderr)
        backoff = Backoff()
        try:
            while not await self._replayed(dead):
                await backoff.pause()
        finally:
            await dead.close()
        return self._drained(dead.state)

    def _drained(self, state: State | None) -> Drained:
        """Return what the last state of a holder proves: of one that was killed only what its agent was given."""
        if state is None or state.phase not in (Phase.ENDED, Phase.LOST):
            return Drained()
        accepted = None if state.accepted == UNKNOWN else state.accepted
        return Drained(accepted, self._ended(state) if state.phase is Phase.ENDED else None)

    async def _replayed(self, dead: DeadChannel) -> bool:
        """Go on reading the journal. Return whether there is nothing more to read."""
        try:
            await self.launcher.replay(self, dead)
        except (SandboxError, LaunchError, OSError) as error:
            log.warning("the journal of %s could not be read: %s", self.request.subagent, error)
            return isinstance(error, HolderError) and error.kind == "journal_missing"
        return True

    async def shortage(self) -> str:
        return "; ".join(filter(None, (await self._newly_ran_out(), self._shut_in())))

    def _shut_in(self) -> str:
        order, why = self.request.order, self.launcher.gateway.trouble
        ways = order.model_url is not None or order.egress is not None
        return f"nothing that it sent out was carried: {why.rstrip('.')}" if ways and why else ""

    async def _newly_ran_out(self) -> str:
        if not self.channel.attached:
            return ""
        try:
            async with asyncio.timeout(ASK_SECONDS):
                counted = Shortages.of(await self.channel.ask())
        except (TimeoutError, SandboxError, OSError) as error:
            log.info("what ran out in the sandbox of %s is not known: %s", self.request.subagent, error)
            return ""
        newly, self._told = counted.since(self._told), counted
        return newly.describe(self.request.order.confinement)

    @property
    def ran_out(self) -> tuple[int, int]:
        return self._told.killed, self._told.refused

    async def permit(self) -> None:
        with in_launch():
            await self.launcher.gateway.refresh(self.request.subagent)

    async def changed_files(self) -> int | None:
        self.exported = False
        try:
            async with self.launcher.guest(self.request) as guest:
                return await measure(guest)
        except SandboxError as error:
            raise LaunchError(error.kind, str(error)) from error

    async def check(self, command: str, seconds: float) -> CheckResult:
        """Run a command beside the agent. The work is exported before, so what the command leaves is no part of it."""
        self.exported = self.exported or await self.launcher.export(self.request)
        try:
            done = await self.sandbox.run(
                ["sh", "-c", f"exec 2>&1\n{command}"], cwd=WORKSPACE, limit_bytes=CHECK_BYTES, timeout=seconds
            )
        except SandboxError as error:
            raise LaunchError(error.kind, str(error)) from error
        if done.exit_code is None:
            raise LaunchError("sandbox_gone", "the sandbox went away while the check ran")
        return CheckResult(done.exit_code, done.stdout.decode("utf-8", "replace"))

    async def end(self) -> Ended:
        if not await self.leave():
            return Ended(confirmed=False, exported=self.exported)
        return await self.launcher.finish(self.request, exported=self.exported)

    async def leave(self) -> bool:
        await self.release()
        await self.launcher.close_ways(self.request)
        removed = await self.sandbox.remove()
        if removed:
            self.launcher.remove_run_dir(self.request)
            if self.hold.shared is not None:  # another manager's folder, it may be
                self.launcher.remove_run_dir(self.request, self.hold.shared.parents[2])
        return removed

    async def release(self) -> None:
        await self.channel.close()
        await self.host_side.aclose()
        self.launcher.gateway.release(self.request.subagent)


def hold_in(sandbox: Sandbox, probed: ProbeResult, run_dir: Path) -> Hold:
    """Return where the holder is in a sandbox that was made for an engine like this."""
    shared = run_dir / HOLDER if probed.sockets_shared else None
    return Hold(sandbox, program=HOLDER_PROGRAM, folder=HOLD, shared=shared)


def folder_of(request: LaunchRequest) -> str:
    """Return the agent's folder inside its sandbox."""
    return f"{WORKSPACE}/{request.order.cwd}" if request.order.cwd else WORKSPACE


async def look_for_folder(sandbox: Sandbox, request: LaunchRequest) -> None:
    """Raise `LaunchError` (cwd_missing) when the agent's folder is not in its workspace."""
    if not request.order.cwd:
        return
    looked = await sandbox.run(["test", "-d", folder_of(request)], cwd="/", limit_bytes=1024, timeout=FOLDER_SECONDS)
    if looked.exit_code != 0:
        raise missing_folder(request)


def _code(state: State) -> int | None:
    """Return the exit code as a shell tells it: 128 and the signal for one that was killed."""
    return state.exit_code if state.signal is None else 128 + state.signal
