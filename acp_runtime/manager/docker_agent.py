"""An agent that runs in a container: what its owner may ask of it, and how it ends."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from acp_runtime.manager.launcher import CheckResult, Ended, Fate, LaunchError, LaunchRequest
from acp_runtime.manager.workspace import measure
from sandbox.channel import ExecChannel
from sandbox.container import Sandbox
from sandbox.errors import SandboxError
from sandbox.fate import Fate as ContainerFate
from sandbox.spec import WORKSPACE

if TYPE_CHECKING:
    from acp_runtime.manager.docker_launcher import DockerLauncher

CHECK_BYTES: Final = 1_048_576
KILLED: Final = 137
LOOKS, LOOK_SECONDS = 5, 0.2


@dataclass(slots=True)
class DockerAgent:
    """One agent in its sandbox. `end` removes the container, exports the work and then removes the volumes.

    `host_side` holds what stands on this side for it: the forwarder and the folder of its socket.
    """

    request: LaunchRequest
    sandbox: Sandbox
    channel: ExecChannel
    host_side: AsyncExitStack
    launcher: "DockerLauncher"
    exported: bool = False

    @property
    def cwd(self) -> str:
        return folder_of(self.request)

    @property
    def container(self) -> str:
        return self.sandbox.id

    async def pid(self) -> int | None:
        return await self.channel.pid()

    async def fate(self) -> Fate | None:
        """Ask the engine: the exec's exit code, and whether the container is still there. None while nobody knows."""
        if self.channel.failure is not None:
            return Fate(None, str(self.channel.failure).rstrip("."))
        code = await self.channel.exit_code()
        try:
            container = await self._container_after(code)
        except SandboxError:
            return None if code is None else Fate(code, _exited(code))
        if container.state in ("exited", "gone") or container.oom:
            return Fate(code, container.describe().rstrip("."))
        return None if code is None else Fate(code, _exited(code))

    async def _container_after(self, code: int | None) -> ContainerFate:
        """Look at the container. After a kill look again for a moment: the engine notes the reason behind it later."""
        container = await self.sandbox.fate()
        for _ in range(LOOKS if code == KILLED else 0):
            if container.state == "gone" or container.oom:
                break
            await asyncio.sleep(LOOK_SECONDS)
            container = await self.sandbox.fate()
        return container

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
        await self.channel.close()
        removed = await self.sandbox.remove()
        await self.host_side.aclose()
        return removed


def folder_of(request: LaunchRequest) -> str:
    """Return the agent's folder inside its sandbox."""
    return f"{WORKSPACE}/{request.order.cwd}" if request.order.cwd else WORKSPACE


def _exited(code: int) -> str:
    if code == KILLED:
        return "the agent was killed (exit code 137; the engine names no reason)"
    return f"the agent exited with code {code}"
