"""The seam between runtime and sandbox: what the manager needs to have an agent running somewhere.

Two launchers exist: `docker_launcher` (a hardened container each) and `local_launcher` (an unprotected process, for
tests and development).
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from acp_runtime.core.budget import Allowance
from acp_runtime.core.confinement import Egress
from acp_runtime.core.model import Order
from acp_runtime.egress.registry import Registry, builtin_registries
from acp_runtime.manager.grounds import Grounds
from acp_runtime.manager.tools_socket import ToolsDoor
from acp_runtime.session.catalogue import AgentKind
from acp_runtime.session.channel import Channel, Receiver
from sandbox.judgement import Action, Judgement, Kind, Log, Standing

__all__ = [
    "Action", "CheckResult", "Drained", "Ended", "Fate", "Judgement", "Kind", "LaunchError", "LaunchRequest",
    "Launched", "Launcher", "Log", "Progress", "Standing", "Work",
]  # fmt: skip

Progress = Callable[[str], None]


class LaunchError(Exception):
    """An agent could not be started. `kind` is stable (`sandbox.errors` names them); the text is for people."""

    def __init__(self, kind: str, sentence: str) -> None:
        super().__init__(sentence)
        self.kind = kind


async def _nothing_left() -> None:
    """Return at once: nothing is measured."""


@dataclass(frozen=True, slots=True)
class LaunchRequest:
    """What to start. `store` and `subagent` name everything made for it; `keep` is where its work is exported to.

    `resume` is the session of an earlier attempt: the home and the work that it left are gone on with. Without it
    everything is made anew, and what an earlier attempt left is cleared away first. `token` is the secret by which
    managers of this store reach the agent of this attempt. `allowances` tells what bounds its calls of models by now,
    by what is booked: exact for what was over when `settled` was called. `egress` tells what the sandbox may reach by
    now beside its model, None where it has no proxy, and `registries` where the package registries are by now.
    `ran_out` counts what ran out in the sandbox of this attempt and was told already. `tools`: how the agent's tools
    are served, None where nobody serves any.
    """

    store: str
    subagent: str
    attempt: int
    kind: AgentKind
    order: Order
    keep: Path
    progress: Progress
    token: str
    allowances: Callable[[], tuple[Allowance, ...]] = tuple
    settled: Callable[[], Awaitable[None]] = _nothing_left
    resume: str | None = None
    ran_out: tuple[int, int] = (0, 0)
    egress: Callable[[], Egress | None] = lambda: None
    registries: Callable[[], Mapping[str, Registry]] = builtin_registries
    tools: ToolsDoor | None = None


@dataclass(frozen=True, slots=True)
class Fate:
    """How an agent process ended. `exit_code` is None where nobody can know it."""

    exit_code: int | None
    cause: str


@dataclass(frozen=True, slots=True)
class Drained:
    """What is known of an agent once it was heard out, None each where nobody can know it.

    `accepted`: of its input it was given nothing behind this offset; `fate`: how it ended, where that was noted.
    """

    accepted: int | None = None
    fate: Fate | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """How an end went. `confirmed`: nothing that should be gone is left; `exported`: its work is in `keep`."""

    confirmed: bool
    exported: bool


@dataclass(frozen=True, slots=True)
class Work:
    """What an agent changed in its workspace, as a patch against what it was given. Counts are lines.

    `notices` are sentences for the user about what the patch does not hold or what to look at before applying it.
    """

    patch: bytes
    files: int
    insertions: int
    deletions: int
    diffstat: str
    notices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The end of a command that ran beside the agent. `output` is its stdout and stderr, bounded."""

    exit_code: int
    output: str


class Launched(Protocol):
    """An agent that runs. Its owner calls `end`, `leave` or `release` exactly once."""

    @property
    def channel(self) -> Channel:
        """The agent's stdio."""
        ...

    @property
    def cwd(self) -> str:
        """The agent's folder, as the agent sees it."""
        ...

    @property
    def servers(self) -> tuple[Mapping[str, Any], ...]:
        """What the agent is told of the tools that it has of us, as ACP's `mcpServers`."""
        ...

    @property
    def container(self) -> str:
        """The id of its container, empty for a process of this machine."""
        ...

    @property
    def refused(self) -> str | None:
        """By which words whoever keeps the agent turned `recover` down last, since its channel was there."""
        ...

    async def pid(self) -> int | None:
        """Return the agent's process id on the engine's machine, None where nobody tells it."""
        ...

    async def fate(self) -> Fate | None:
        """Return how the agent's process ended, or None while it lives or nothing can be learnt."""
        ...

    async def recover(self) -> bool:
        """Try once to get a lost channel back, or an adopted one. Return whether it goes on. Bounded; never raises."""
        ...

    async def kill(self) -> bool:
        """End the agent at once, and leave what it wrote to `drain`. Return whether its end is certain."""
        ...

    async def drain(self) -> Drained:
        """Give the receiver what an agent that has died had written and nobody heard, then tell it the end.

        Tries until that is heard or cannot be heard any more; the caller sets the bound.
        """
        ...

    async def shortage(self) -> str:
        """Return in one sentence what has run out in its sandbox since the last call, empty for nothing.

        Beside that it says why nothing gets out of it, as long as that is so.
        The first call of who took the agent up tells of all that its request's `ran_out` does not count. Bounded; never
        raises.
        """
        ...

    @property
    def ran_out(self) -> tuple[int, int]:
        """How many processes were killed and refused for want of something, of all that `shortage` has told."""
        ...

    async def permit(self) -> None:
        """Have its sandbox reach and use what its request's `egress` and `allowances` say by now, and nothing else.

        A tunnel to what it may not reach any more is cut, a call of a model is not. Raises `LaunchError`.
        """
        ...

    async def changed_files(self) -> int | None:
        """Return how many files differ from what the agent was given, or None where that cannot be counted."""
        ...

    async def check(self, command: str, seconds: float) -> CheckResult:
        """Run a shell command in the agent's sandbox and workspace. Raises `LaunchError`.

        What it leaves in the workspace is not exported, unless the agent gets another prompt afterwards.
        """
        ...

    async def end(self) -> Ended:
        """End the agent, export its work to `keep`, and remove what was made, but what the order keeps.

        Work that cannot be exported stays where it is, and `exported` is False.
        """
        ...

    async def leave(self) -> bool:
        """End the agent and leave its home and work to the next attempt. Return whether the end is certain."""
        ...

    async def release(self) -> None:
        """Let the agent go on without its manager, for another one to adopt; where none can, the agent ends."""
        ...


class Launcher(Protocol):
    """Starts agents."""

    @property
    def name(self) -> str:
        """How it runs them: `docker` or `local`."""
        ...

    @property
    def measures(self) -> bool:
        """Whether what its agents ask of models is measured, so that it can be bounded."""
        ...

    @property
    def environ(self) -> Mapping[str, str]:
        """The variables by which it finds the keys of models, and all else."""
        ...

    def own(self, store: str, epoch: int, path: Path) -> None:
        """Say, before anything else is asked of it, as which owner of which store it acts.

        `path` is the store's: what the launcher keeps for it lies beside it.
        """
        ...

    async def launch(self, request: LaunchRequest, receiver: Receiver) -> Launched:
        """Start the agent; `receiver` gets its output. Raises `LaunchError`; whatever was made anew is gone then."""
        ...

    async def adopt(self, request: LaunchRequest, receiver: Receiver, output_from: int) -> Launched | None:
        """Return the agent of an earlier manager, dead or alive, its channel lost; None when nothing of it is left.

        `recover` and `drain` give the receiver what the agent wrote from the offset `output_from` on. Raises
        `LaunchError` when that cannot be learnt now.
        """
        ...

    async def reap(self, request: LaunchRequest) -> bool:
        """End what an earlier manager left running and keep what it stored. Return whether nothing runs for certain."""
        ...

    async def sweep(self, request: LaunchRequest) -> Ended:
        """Do for what an earlier manager left what `Launched.end` does for an agent."""
        ...

    async def discard(self, request: LaunchRequest) -> bool:
        """Remove all that was kept of an ended subagent but its exported work. Return whether all is gone."""
        ...

    async def reap_all(
        self, log: Log, *, dry_run: bool = False, volumes_of: frozenset[str] = frozenset()
    ) -> list[Judgement]:
        """Remove whatever of the store `log` does not know as alive, and what dead managers of other stores left.

        With `dry_run` nothing is removed. `volumes_of` names stores whose volumes go with their dead manager. Raises
        `LaunchError` when nobody can tell what there is.
        """
        ...

    async def grounds(self) -> Grounds:
        """Return what the agents stand on, as it is now. Bounded; raises nothing."""
        ...

    async def close(self) -> None:
        """Give up connections. Idempotent."""
        ...
