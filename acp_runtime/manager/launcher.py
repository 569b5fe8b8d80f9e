"""The seam between runtime and sandbox: what the manager needs to have an agent running somewhere.

Two launchers exist: `docker_launcher` (a hardened container each) and `local_launcher` (an unprotected process, for
tests and development).
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from acp_runtime.core.model import Order
from acp_runtime.session.catalogue import AgentKind
from acp_runtime.session.channel import Channel, Receiver

Progress = Callable[[str], None]


class LaunchError(Exception):
    """An agent could not be started. `kind` is stable (`sandbox.errors` names them); the text is for people."""

    def __init__(self, kind: str, sentence: str) -> None:
        super().__init__(sentence)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class LaunchRequest:
    """What to start. `store` and `subagent` name everything made for it; `keep` is where its work is exported to."""

    store: str
    subagent: str
    attempt: int
    kind: AgentKind
    order: Order
    keep: Path
    progress: Progress


@dataclass(frozen=True, slots=True)
class Fate:
    """How an agent process ended. `exit_code` is None where nobody can know it."""

    exit_code: int | None
    cause: str


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
    """An agent that runs. Its owner calls `end` exactly once; everything that was made for it goes then."""

    @property
    def channel(self) -> Channel:
        """The agent's stdio."""
        ...

    @property
    def cwd(self) -> str:
        """The agent's workspace, as the agent sees it."""
        ...

    async def fate(self) -> Fate | None:
        """Return how the agent's process ended, or None while it lives or nothing can be learnt."""
        ...

    async def changed_files(self) -> int | None:
        """Return how many files differ from what the agent was given, or None where that cannot be counted."""
        ...

    async def check(self, command: str, seconds: float) -> CheckResult:
        """Run a shell command in the agent's sandbox and workspace. Raises `LaunchError`.

        What it leaves in the workspace is not exported, unless the agent gets another prompt afterwards.
        """
        ...

    async def end(self) -> bool:
        """End the agent, export its work to `keep`, remove what was made. Return whether the end is certain."""
        ...


class Launcher(Protocol):
    """Starts agents."""

    async def launch(self, request: LaunchRequest, receiver: Receiver) -> Launched:
        """Start the agent; `receiver` gets its output. Raises `LaunchError`; whatever was made is gone then."""
        ...

    async def sweep(self, request: LaunchRequest) -> bool:
        """Export the work and remove what an earlier manager made. Return whether nothing is left for certain."""
        ...

    async def close(self) -> None:
        """Give up connections. Idempotent."""
        ...
