"""Presets: bundles of sandbox, network and permission settings, and the rule that none goes beyond its ceiling.

Promises: what `narrow` lets through is within the ceiling on every axis, and is what was asked for: a wider wish is
refused by name and never cut down in silence. Folders of the host are in a preset only when the operator put them in.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from acp_runtime.core.budget import Budget
from acp_runtime.core.confinement import RUNTIME, Confinement, Egress, Mount
from acp_runtime.core.errors import Rejected
from acp_runtime.core.model import Permissions
from acp_runtime.core.plaintext import one_line
from acp_runtime.egress.rules import Rule, Rules

NO_EGRESS: Final = Egress()


class Network(StrEnum):
    """What a sandbox can reach. `MODEL`: its model's one address. `EGRESS`: also what rules and registries name."""

    NONE = "none"
    MODEL = "model"
    EGRESS = "egress"


@dataclass(frozen=True, slots=True)
class Preset:
    """One bundle. Presets differ in what they allow; only `unsafe_` keys change how the container is hardened."""

    name: str
    about: str
    confinement: Confinement
    network: Network = Network.MODEL
    permissions: Permissions = Permissions.ALLOW
    egress: Egress = NO_EGRESS
    budget: Budget = field(default_factory=Budget)

    @property
    def unsafe(self) -> tuple[str, ...]:
        """What weakens the sandbox, for people to see."""
        return (*self.confinement.unsafe, *self.egress.unsafe)


MEMORY: Final = (64, 1_048_576, "MiB")
PIDS: Final = (16, 4_194_304, "processes")
_NETWORKS: Final = (Network.NONE, Network.MODEL, Network.EGRESS)
_PERMISSIONS: Final = (Permissions.DENY, Permissions.ASK, Permissions.ALLOW)


def builtin_presets(*, runtime: str = "") -> dict[str, Preset]:
    """Return the presets that come with the program, the narrowest first; all with one runtime."""
    presets = (
        Preset(
            "restricted",
            "a small sandbox; the agent asks before it does what needs a permission",
            Confinement(memory=2048, cpus=1.0, pids=256, tmp=256, runtime=runtime),
            permissions=Permissions.ASK,
        ),
        Preset(
            "friendly",
            "the usual sandbox; the agent's own questions are answered with yes",
            Confinement(runtime=runtime),
        ),
        Preset(
            "privileged",
            "a large sandbox for builds",
            Confinement(memory=8192, cpus=4.0, pids=1024, tmp=1024, runtime=runtime),
        ),
    )
    return {preset.name: preset for preset in presets}


def find_preset(presets: Mapping[str, Preset], name: str) -> Preset:
    """Return a preset. Raises `Rejected` (unknown_preset) naming the available ones."""
    found = presets.get(name)
    if found is None:
        raise Rejected("unknown_preset", f"Unknown preset {one_line(name, 60)!r}. Available: {', '.join(presets)}")
    return found


def narrow(preset: Preset, ceiling: Preset) -> Preset:
    """Return the preset when it is within the ceiling on every axis.

    Raises `Rejected` (beyond_ceiling) naming each axis on which it is wider, with both values.
    """
    if wider := _wider(preset, ceiling):
        told = "; ".join(wider)
        sentence = f"the preset {preset.name!r} goes beyond {ceiling.name!r}: {told}. Choose a narrower one"
        raise Rejected("beyond_ceiling", f"{sentence}, or have the operator raise the ceiling.", {"wider": wider})
    return preset


def reaches(preset: Preset, rule: Rule) -> bool:
    """Tell whether a preset lets its sandboxes reach all that a rule allows."""
    return preset.network is Network.EGRESS and Rules.parse(preset.egress.rules).covers(rule)


def with_permissions(preset: Preset, wanted: Permissions) -> Preset:
    """Return the preset with other permissions; the name says so."""
    return preset if wanted is preset.permissions else replace(preset, permissions=wanted)


def with_budget(preset: Preset, wanted: Budget, usual: Budget) -> Preset:
    """Return the preset with the bounds that are wanted; where there is none its own, and then the usual ones.

    Raises `Rejected` (invalid) for bounds that make no sense.
    """
    if mistakes := tuple(wanted.mistakes()):
        raise Rejected("invalid", "; ".join(mistakes))
    return replace(preset, budget=wanted.filled(preset.budget).filled(usual))


def with_confinement(preset: Preset, *, memory: int | None, pids: int | None, runtime: str | None) -> Preset:
    """Return the preset with other values of its confinement; None leaves one as it is.

    Raises `Rejected` (invalid) for a value that no sandbox can have.
    """
    for name, value, (least, most, unit) in (("memory", memory, MEMORY), ("pids", pids, PIDS)):
        if value is not None and not least <= value <= most:
            raise Rejected("invalid", f"{name} is {value}; it must be from {least} to {most} {unit}")
    if runtime is not None and not RUNTIME.fullmatch(runtime):
        sentence = f"runtime {one_line(runtime, 60)!r} is not a name; allowed are letters, digits and _.-"
        raise Rejected("invalid", sentence)
    own = preset.confinement
    wanted = replace(
        own,
        memory=own.memory if memory is None else memory,
        pids=own.pids if pids is None else pids,
        runtime=own.runtime if runtime is None else runtime,
    )
    return replace(preset, confinement=wanted)


def with_egress(preset: Preset, more: Egress) -> Preset:
    """Return the preset with further rules and registries. Raises `Rejected` (invalid, bad_egress_rule)."""
    if more == NO_EGRESS:
        return preset
    if preset.network is Network.NONE:
        sentence = f"the preset {preset.name!r} reaches nothing, and egress was asked for; choose another preset"
        raise Rejected("invalid", sentence)
    rules = Rules.parse((*preset.egress.rules, *more.rules)).texts
    registries = tuple(dict.fromkeys((*preset.egress.registries, *more.registries)))
    return replace(preset, network=Network.EGRESS, egress=Egress(rules, registries))


def _wider(preset: Preset, ceiling: Preset) -> list[str]:
    own, most = preset.confinement, ceiling.confinement
    sizes = (("memory", " MiB"), ("cpus", ""), ("pids", ""), ("tmp", " MiB"))
    wider = [
        f"{axis} {getattr(own, axis)}{unit} where {getattr(most, axis)}{unit} are allowed"
        for axis, unit in sizes
        if getattr(own, axis) > getattr(most, axis)
    ]
    if _NETWORKS.index(preset.network) > _NETWORKS.index(ceiling.network):
        wider.append(f"network {preset.network} where {ceiling.network} is allowed")
    if _PERMISSIONS.index(preset.permissions) > _PERMISSIONS.index(ceiling.permissions):
        wider.append(f"permissions {preset.permissions} where {ceiling.permissions} is allowed")
    if most.runtime not in ("", own.runtime):
        wider.append(f"the runtime {own.runtime or 'of the engine'} where {most.runtime} is asked for")
    if own.unsafe_seccomp and not most.unsafe_seccomp:
        wider.append("unsafe_seccomp")
    wider += _further(own=preset.egress, most=ceiling.egress)
    wider += preset.budget.wider_than(ceiling.budget)
    return wider + [
        f"the folder {mount.source} at {mount.target}, {'writable' if mount.writable else 'to read'}"
        for mount in own.mounts
        if not any(_covers(allowed, mount) for allowed in most.mounts)
    ]


def _further(own: Egress, most: Egress) -> list[str]:
    allowed = Rules.parse(most.rules)
    rules = [str(rule) for rule in Rules.parse(own.rules).rules if not allowed.covers(rule)]
    registries = [name for name in own.registries if name not in most.registries]
    return [f"the egress rule {rule}" for rule in rules] + [f"the package registry {name}" for name in registries]


def _covers(allowed: Mount, wanted: Mount) -> bool:
    same = (allowed.source, allowed.target) == (wanted.source, wanted.target)
    return same and (allowed.writable or not wanted.writable)
