"""What a subagent may reach by the configuration of now: what its preset says today, and what its order asked for.

Promises: a parent's subagent reaches nothing beyond the ceiling of now, whatever was allowed when it was spawned. What
a preset that is gone allowed, nobody is allowed.
"""

from dataclasses import dataclass

from acp_runtime.config import Config
from acp_runtime.core.confinement import Egress
from acp_runtime.core.ids import OPERATORS_OWN
from acp_runtime.core.model import Subagent
from acp_runtime.egress.rules import MOST, Rule, Rules
from acp_runtime.presets import NO_EGRESS, Preset

__all__ = ["Ruled", "entitled", "ruled"]


@dataclass(frozen=True, slots=True)
class Ruled:
    """What another configuration means for one subagent that runs: names of what it gains and loses.

    `kept`: settings of its preset that have changed and that it has as it was started.
    """

    subagent: str
    name: str
    gained: tuple[str, ...]
    lost: tuple[str, ...]
    kept: tuple[str, ...]


def entitled(config: Config, state: Subagent) -> Egress | None:
    """Return what a subagent may reach, None where it has no proxy; at most as many rules as one may have."""
    order = state.order
    if order.egress is None:
        return None
    preset = config.presets.get(order.preset)
    given = preset.egress if preset is not None else NO_EGRESS
    own = order.egress if order.beside is None else order.beside
    rules = Rules(tuple(dict.fromkeys(map(Rule.parse, (*given.rules, *own.rules))))[:MOST])
    registries = tuple(dict.fromkeys((*given.registries, *own.registries)))
    if state.parent == OPERATORS_OWN:
        return Egress(rules.texts, registries)
    most = config.presets[config.ceiling].egress
    allowed = Rules.parse(most.rules)
    within = tuple(str(rule) for rule in rules.rules if allowed.covers(rule))
    return Egress(within, tuple(name for name in registries if name in most.registries))


def ruled(before: Config, after: Config, state: Subagent) -> Ruled | None:
    """Return what another configuration means for a subagent, None for nothing."""
    was, now = entitled(before, state) or NO_EGRESS, entitled(after, state) or NO_EGRESS
    gained, lost, kept = now.beyond(was), was.beyond(now), _kept(before, after, state)
    return Ruled(state.id, state.name, gained, lost, kept) if gained or lost or kept else None


def _kept(before: Config, after: Config, state: Subagent) -> tuple[str, ...]:
    was, now = before.presets.get(state.order.preset), after.presets.get(state.order.preset)
    if was is None or now is None:
        return () if was is now else ("preset",)
    return tuple(name for name, value in _settings(was).items() if _settings(now)[name] != value)


def _settings(preset: Preset) -> dict[str, object]:
    """Return what only a start can give a sandbox."""
    own = preset.confinement
    sizes = {
        name: getattr(own, name) for name in ("memory", "cpus", "pids", "tmp", "mounts", "runtime", "unsafe_seccomp")
    }
    return {**sizes, "network": preset.network, "permissions": preset.permissions, "budget": preset.budget}
