"""What became of a sandbox, from what the engine knows.

The engine's own flag for "killed for memory" lies both ways (a killed child sets it while the container runs on, a
killed exec does not set it), so its events are asked too; no event proves nothing, for the engine forgets.
"""

from dataclasses import dataclass
from typing import Literal

from sandbox.engine import Engine
from sandbox.errors import SandboxGone


@dataclass(frozen=True, slots=True)
class Fate:
    """`exit_code` is that of PID 1, known when `exited`; `oom`: the kernel killed some process of it for memory."""

    state: Literal["running", "paused", "exited", "gone"]
    exit_code: int | None = None
    oom: bool = False

    def describe(self) -> str:
        """Say it in one sentence."""
        told = {
            "running": "The container runs.",
            "paused": "The container is paused.",
            "exited": f"The container has exited with code {self.exit_code}.",
            "gone": "The container does not exist any more; something else has removed it.",
        }[self.state]
        if not self.oom:
            return told
        return f"{told[:-1]}, and the kernel killed a process in it because its memory limit was reached."


async def fate_of(engine: Engine, container: str) -> Fate:
    """Ask the engine. Raises EngineError when it does not answer."""
    try:
        found = await engine.inspect_container(container)
        oom = bool(found["State"].get("OOMKilled"))
        if not oom:
            oom = bool(await engine.events(container, names=("oom",)))
    except SandboxGone:
        return Fate("gone")
    state = found["State"]
    if state.get("Paused"):
        return Fate("paused", oom=oom)
    if state.get("Running"):
        return Fate("running", oom=oom)
    return Fate("exited", exit_code=int(state["ExitCode"]), oom=oom)
