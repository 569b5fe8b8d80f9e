"""What ran out in a sandbox, as people read it: with the limit, and with what raises it."""

from dataclasses import dataclass

from acp_runtime.core.confinement import Confinement
from sandbox.holder.frames import State


@dataclass(frozen=True, slots=True)
class Shortages:
    """What the kernel has counted in one container: processes killed for want of memory, and refused ones."""

    killed: int = 0
    refused: int = 0

    @classmethod
    def of(cls, state: State) -> "Shortages":
        """Return what a holder has told; what it cannot know counts as none."""
        return cls(state.oom_kills or 0, state.pids_denied or 0)

    def since(self, earlier: "Shortages") -> "Shortages":
        return Shortages(self.killed - earlier.killed, self.refused - earlier.refused)

    def describe(self, given: Confinement) -> str:
        """Say it in one sentence without a full stop, empty where nothing ran out."""
        parts = []
        if self.killed > 0:
            what = "a process was" if self.killed == 1 else f"{self.killed} processes were"
            parts.append(f"{what} killed because the sandbox had no memory left: {memory_limit(given)}")
        if self.refused > 0:
            what = "a new process was" if self.refused == 1 else f"{self.refused} new processes were"
            limit = f"its limit is {given.pids} at one time, which `pids` of its preset or `--pids` raises"
            parts.append(f"{what} refused because the sandbox had too many: {limit}")
        return "; ".join(parts)


def memory_limit(given: Confinement) -> str:
    return f"its limit is {given.memory} MiB, which `memory` of its preset or `--memory` raises"
