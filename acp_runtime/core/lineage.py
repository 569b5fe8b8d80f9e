"""Lineage: where a subagent stands in the tree of those who lead and those who are led, and what it may do there.

An outer parent is at depth 0, its subagents are at depth 1. A subagent that leads others is their parent under the
name `subagent:ID`. Depth and role are decided once, when a subagent is admitted, by who asks for it.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from acp_runtime.core.errors import Rejected
from acp_runtime.core.plaintext import one_line

PREFIX: Final = "subagent:"
DEEPEST: Final = 8
_DEPTH_KEY: Final = "orchestration.max_spawn_depth"
_SWITCH_KEY: Final = "orchestration.orchestrator_enabled"


class Role(StrEnum):
    """Whether a subagent may have subagents of its own."""

    LEAF = "leaf"
    ORCHESTRATOR = "orchestrator"


@dataclass(frozen=True, slots=True)
class Orchestration:
    """What trees may be. Those at depth 0 to `max_spawn_depth` - 1 may spawn; 1 is a flat tree.

    `enabled`: without it everybody is a leaf. `max_concurrent_children`: of one orchestrator at one time. `wakes`: so
    often in a row an idle orchestrator is woken for news of its subagents, until somebody else sends it a task.
    """

    max_spawn_depth: int = 1
    enabled: bool = True
    max_concurrent_children: int = 3
    wakes: int = 10


@dataclass(frozen=True, slots=True)
class Lineage:
    """One subagent's place. `above`: its parents, the nearest first and the root last (see `chain`).

    `deepest`: `max_spawn_depth` when it was admitted. `note` says why it is not what was asked for, empty where it is.
    """

    role: Role = Role.LEAF
    above: tuple[str, ...] = ()
    deepest: int = 1
    note: str = ""

    @property
    def depth(self) -> int:
        return max(1, len(self.above))

    @property
    def leads(self) -> bool:
        """Whether it may have subagents of its own."""
        return self.role is Role.ORCHESTRATOR

    @property
    def below(self) -> int:
        """How many levels there may be below it."""
        return max(1, self.deepest - self.depth) if self.leads else 0


def name_of(subagent: str) -> str:
    """Return the name under which a subagent is the parent of others."""
    return PREFIX + subagent


def leader_of(parent: str) -> str | None:
    """Return the id of the subagent that a parent is, None for one outside of every sandbox."""
    return parent.removeprefix(PREFIX) if parent.startswith(PREFIX) else None


def chain(parent: str, lineage: Lineage) -> tuple[str, ...]:
    """Return all parents of a subagent, the nearest first and the root last."""
    return lineage.above or (parent,)


def descend(asked: str, *, above: tuple[str, ...], leader: Role | None, limits: Orchestration) -> Lineage:
    """Return the place of a new subagent below these parents, whose own has the role `leader`; None for an outer one.

    A role that cannot be had is not refused: the subagent is a leaf, and `note` says why. Raises `Rejected`:
    depth_limit, and not_an_orchestrator for a parent that may not spawn.
    """
    depth = len(above) - 1
    if depth >= limits.max_spawn_depth:
        numbers = f"(depth={depth}, max_spawn_depth={limits.max_spawn_depth})"
        remedy = f"Raise {_DEPTH_KEY} in config.toml if deeper nesting is required (cap: {DEEPEST})."
        data = {"depth": depth, "max_spawn_depth": limits.max_spawn_depth}
        raise Rejected("depth_limit", f"Delegation depth limit reached {numbers}. {remedy}", data)
    if leader is not None and not limits.enabled:
        raise Rejected("not_an_orchestrator", f"Orchestrators are switched off ({_SWITCH_KEY}): you may not spawn.")
    if leader is Role.LEAF:
        sentence = "You are a leaf: only a subagent that was spawned as an orchestrator may spawn."
        raise Rejected("not_an_orchestrator", sentence)
    role, note = _role(asked)
    if role is Role.ORCHESTRATOR:
        note = _degraded(depth + 1, limits)
    return Lineage(Role.LEAF if note else role, above, limits.max_spawn_depth, note)


def roles(depth: int, limits: Orchestration) -> tuple[Role, ...]:
    """Return which roles who stands at a depth may give to its own."""
    return (Role.LEAF,) if _degraded(depth + 1, limits) else tuple(Role)


def _role(asked: str) -> tuple[Role, str]:
    word = asked.strip().lower()
    if not word:
        return Role.LEAF, ""
    if word in set(Role):
        return Role(word), ""
    known = " and ".join(Role)
    return Role.LEAF, f"There is no role {one_line(asked, 40)!r} (there are {known}), so it is a leaf."


def _degraded(depth: int, limits: Orchestration) -> str:
    """Return why a subagent at a depth cannot be an orchestrator, empty when it can."""
    if not limits.enabled:
        return f"Orchestrators are switched off ({_SWITCH_KEY}), so it is a leaf."
    if depth >= limits.max_spawn_depth:
        numbers = f"depth={depth}, max_spawn_depth={limits.max_spawn_depth}"
        return f"It would lead nobody at its depth ({numbers}; see {_DEPTH_KEY}), so it is a leaf."
    return ""
