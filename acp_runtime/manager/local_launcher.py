"""UNSAFE: agents as processes of this machine, for tests and development.

Nothing separates such an agent from its user: it has the user's rights, files and network. What is the same as in a
container is the workspace (a clone of its own) and how the work comes back.
"""

import asyncio
import logging
import platform
import shutil
import signal
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from acp_runtime.manager.grounds import Grounds
from acp_runtime.manager.launcher import CheckResult, Drained, Ended, Fate, Judgement, LaunchError, LaunchRequest, Log
from acp_runtime.manager.local_channel import LocalChannel
from acp_runtime.manager.mishaps import in_launch
from acp_runtime.manager.tools_way import served_tools, servers_of
from acp_runtime.manager.workspace import export, measure, missing_folder, nothing_kept, snapshot
from acp_runtime.session.channel import Receiver
from sandbox.errors import ProgramMissing, SandboxError
from sandbox.programs import program
from sandbox.workspace import Guest, LocalRunner, WorkspaceLimits, bring_in

log = logging.getLogger(__name__)

CHECK_BYTES = 1_048_576
PASSED_ON = ("PATH", "LANG", "LC_ALL", "TZ")


class LocalLauncher:
    """Starts agents below `root`, a folder that is its own."""

    name: Final = "local"
    measures: Final = False

    def __init__(self, root: Path, environ: Mapping[str, str]) -> None:
        self._root = root
        self.environ = environ

    def own(self, store: str, epoch: int, path: Path) -> None:
        """Nothing outlives a process of this machine that another manager could mistake for its own."""

    async def launch(self, request: LaunchRequest, receiver: Receiver) -> "LocalAgent":
        """Clone the workspace, or take the one that was kept, and start the agent in it. Raises `LaunchError`."""
        if request.order.confinement.mounts:
            sentence = "a process of this machine sees its folders as they are; mounts are for agents in containers"
            raise LaunchError("mount_refused", sentence)
        if runtime := request.order.confinement.runtime:
            raise LaunchError("runtime_missing", f"a process of this machine has no runtime {runtime!r}; leave it out")
        for bounds in filter(None, (str(each.budget) for each in request.allowances())):
            sentence = f"nothing measures what a process of this machine asks its models, and its budget is {bounds}"
            raise LaunchError("budget_unmeasured", f"{sentence}; leave it out, or run the agent in a container")
        home = self._home(request)
        made = request.resume is None
        if not made and not (home / "workspace").is_dir():
            raise nothing_kept(request)
        host_side = AsyncExitStack()
        try:
            guest = await self._prepare(home, request) if made else self._guest(home)
            with in_launch():
                socket = await host_side.enter_async_context(served_tools(request, home / "tools", shared=False))
            channel = await self._start(home, request, receiver)
        except BaseException as error:
            await host_side.aclose()
            if made:
                shutil.rmtree(home, ignore_errors=True)
            if isinstance(error, SandboxError):
                raise LaunchError(error.kind, str(error)) from error
            raise
        return LocalAgent(home, request, guest, channel, host_side, _servers(request, socket))

    def _home(self, request: LaunchRequest) -> Path:
        return self._root / request.subagent

    def _guest(self, home: Path) -> Guest:
        runner = LocalRunner(self.environ.get("PATH", "/usr/bin:/bin"))
        return Guest(runner, WorkspaceLimits(), base=str(home / "base"), work=str(home / "workspace"))

    async def _prepare(self, home: Path, request: LaunchRequest) -> Guest:
        await asyncio.to_thread(shutil.rmtree, home, ignore_errors=True)
        for name in ("base", "workspace", "home", "scratch"):
            (home / name).mkdir(parents=True)
        guest = self._guest(home)
        async with snapshot(request, home / "scratch", self.environ) as taken:
            await bring_in(guest, taken)
        return guest

    async def _start(self, home: Path, request: LaunchRequest, receiver: Receiver) -> LocalChannel:
        order = request.order
        env = {name: self.environ[name] for name in PASSED_ON if name in self.environ}
        env |= {"HOME": str(home / "home")}
        env |= request.kind.environment(model=order.model, base_url=order.model_url or "")
        cwd = home / "workspace" / order.cwd
        if not cwd.is_dir():
            raise missing_folder(request)
        try:
            return await LocalChannel.open(request.kind.argv, cwd=cwd, env=env, receiver=receiver)
        except OSError as error:
            program = request.kind.argv[0]
            sentence = f"{program!r} could not be executed: {error.strerror}; install it or name it by its path"
            raise LaunchError("command_missing", sentence) from error

    async def adopt(
        self,
        request: LaunchRequest,  # noqa: ARG002 - the protocol's signature
        receiver: Receiver,  # noqa: ARG002
        output_from: int,  # noqa: ARG002
    ) -> None:
        """Nothing is left: an agent's process ended with the pipes of its manager."""
        return

    async def reap(self, request: LaunchRequest) -> bool:  # noqa: ARG002 - the protocol's signature
        """Nothing runs any more: an agent's process ended with the pipes of its manager."""
        return True

    async def sweep(self, request: LaunchRequest) -> Ended:
        """Export what an earlier manager left, and remove it unless it is kept."""
        home = self._home(request)
        exported = not (home / "base").is_dir() or await export(self._guest(home), request)
        if exported and not request.order.keep:
            await self.discard(request)
        return Ended(confirmed=True, exported=exported)

    async def discard(self, request: LaunchRequest) -> bool:
        """Remove the folder of a subagent."""
        await asyncio.to_thread(shutil.rmtree, self._home(request), ignore_errors=True)
        return True

    async def reap_all(
        self,
        log: Log,  # noqa: ARG002 - the protocol's signature
        *,
        dry_run: bool = False,  # noqa: ARG002
        volumes_of: frozenset[str] = frozenset(),  # noqa: ARG002
    ) -> list[Judgement]:
        """Nothing that dead managers left runs, and what their agents stored is swept by the next one."""
        return []

    async def grounds(self) -> Grounds:
        """Return that there is nothing: it has neither containers nor a gateway."""
        return Grounds()

    async def close(self) -> None:
        """Nothing is held."""


@dataclass(slots=True)
class LocalAgent:
    """An agent process with its folder."""

    home: Path
    request: LaunchRequest
    guest: Guest
    channel: LocalChannel
    host_side: AsyncExitStack
    servers: tuple[Mapping[str, Any], ...] = ()
    exported: bool = False

    container = ""
    refused = None

    @property
    def cwd(self) -> str:
        return str(self.home / "workspace" / self.request.order.cwd)

    async def pid(self) -> int | None:
        return self.channel.pid

    async def fate(self) -> Fate | None:
        code = self.channel.exit_code
        return None if code is None else Fate(code, describe_exit(code))

    async def recover(self) -> bool:
        return False

    async def kill(self) -> bool:
        return await self.leave()

    async def drain(self) -> Drained:
        """Nothing is kept."""
        return Drained()

    async def shortage(self) -> str:
        return ""  # nothing is limited

    @property
    def ran_out(self) -> tuple[int, int]:
        return 0, 0

    async def permit(self) -> None:
        """Nothing: no sandbox is around it, and it reaches what this machine does."""

    async def changed_files(self) -> int | None:
        self.exported = False
        try:
            return await measure(self.guest)
        except SandboxError as error:
            raise LaunchError(error.kind, str(error)) from error

    async def check(self, command: str, seconds: float) -> CheckResult:
        self.exported = self.exported or await export(self.guest, self.request)
        try:
            done = await self.guest.runner.run(
                ["sh", "-c", f"exec 2>&1\n{command}"],
                cwd=str(self.home / "workspace"),
                env={"HOME": str(self.home / "home")},
                stdin=None,
                limit_bytes=CHECK_BYTES,
                timeout=seconds,
            )
        except SandboxError as error:
            raise LaunchError(error.kind, str(error)) from error
        if done.exit_code is None:
            raise LaunchError("sandbox_gone", "the command was lost")
        return CheckResult(done.exit_code, done.stdout.decode("utf-8", "replace"))

    async def end(self) -> Ended:
        await self.leave()
        exported = self.exported or await export(self.guest, self.request)
        if exported and not self.request.order.keep:
            await asyncio.to_thread(shutil.rmtree, self.home, ignore_errors=True)
        return Ended(confirmed=True, exported=exported)

    async def leave(self) -> bool:
        await self.channel.close()
        await self.host_side.aclose()
        return True

    async def release(self) -> None:
        await self.leave()


def _servers(request: LaunchRequest, socket: Path) -> tuple[Mapping[str, Any], ...]:
    """Return what an agent is told of its tools; nothing where this package has no program for this machine."""
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    try:
        return servers_of(request, str(program("tools", machine)), str(socket))
    except ProgramMissing as error:
        log.warning("%s has no tools: %s", request.subagent, error)
        return ()


def describe_exit(code: int) -> str:
    """Return how a process ended, for people. Negative codes are signals, as Python gives them."""
    if code >= 0:
        return f"the agent exited with code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"the agent was killed by {name}"
