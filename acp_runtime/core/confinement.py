"""What an order lets its sandbox use, and what of that weakens it."""

import re
from dataclasses import dataclass
from typing import Final

RUNTIME: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}")


@dataclass(frozen=True, slots=True)
class Mount:
    """A folder of the host that was asked for by name, as the agent sees it at `target`."""

    source: str
    target: str
    writable: bool = False


@dataclass(frozen=True, slots=True)
class Confinement:
    """What a sandbox may use: sizes in MiB, a number of processors and of processes, folders of the host.

    `runtime` is what the engine runs the container with, by its name there; empty for the engine's own default.
    `unsafe_seccomp`: the agent's system calls are not filtered.
    """

    memory: int = 4096
    cpus: float = 2.0
    pids: int = 512
    tmp: int = 512
    mounts: tuple[Mount, ...] = ()
    runtime: str = ""
    unsafe_seccomp: bool = False

    @property
    def unsafe(self) -> tuple[str, ...]:
        """What weakens the sandbox, by the names under which it was asked for."""
        return (
            *(f"unsafe_writable {mount.target}" for mount in self.mounts if mount.writable),
            *(("unsafe_seccomp",) if self.unsafe_seccomp else ()),
        )


@dataclass(frozen=True, slots=True)
class Egress:
    """What a sandbox may reach beyond its model, over a proxy: rules as text, and names of package registries."""

    rules: tuple[str, ...] = ()
    registries: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """What is let through, one name each: the rules, and `registry NAME`."""
        return (*self.rules, *(f"registry {name}" for name in self.registries))

    def beyond(self, other: "Egress") -> tuple[str, ...]:
        """Return the names of what is here and not there."""
        there = set(other.names)
        return tuple(name for name in self.names if name not in there)

    @property
    def unsafe(self) -> tuple[str, ...]:
        """The rules that lead into private networks, for people to see."""
        return tuple(rule for rule in self.rules if rule.startswith("unsafe_"))
