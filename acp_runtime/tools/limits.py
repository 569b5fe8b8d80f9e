"""What bounds a caller, as its model reads it with the tools: a refusal that it can foresee costs it nothing."""

from collections.abc import Iterable
from dataclasses import dataclass

from acp_runtime.config import Config
from acp_runtime.core.budget import Budget
from acp_runtime.core.errors import Rejected
from acp_runtime.presets import find_preset, narrow, with_budget


@dataclass(frozen=True, slots=True)
class Limits:
    """How many subagents a parent may have at one time, and the names it may give; the default stands first."""

    open: int
    one_shot: int
    agents: tuple[str, ...]
    presets: tuple[str, ...]

    @classmethod
    def of(cls, config: Config) -> "Limits":
        """Return the limits of a parent that is configured so."""
        within = [name for name in config.presets if _within(config, name)]
        return cls(
            open=max(1, config.admission.per_parent),
            one_shot=max(1, config.one_shot.admission.per_parent) if config.one_shot.enabled else 0,
            agents=_first(config.default_agent, config.catalogue.kinds),
            presets=_first(config.default_preset, within),
        )

    def of_spawning(self) -> str:
        """Return what a model is told beside the tool that starts subagents."""
        names = f"agent_kind: {_told(self.agents)}. preset: {_told(self.presets)}."
        return f"At most {self.open} are open at one time, and {self.one_shot} one_shot. {names}"

    def of_delegating(self) -> str:
        """Return what a model is told beside the tool that delegates one task."""
        return f"At most {self.one_shot} at one time."


def _within(config: Config, name: str) -> bool:
    """Return whether a parent may choose a preset."""
    presets, usual = config.presets, config.budget
    given, ceiling = (with_budget(find_preset(presets, each), Budget(), usual) for each in (name, config.ceiling))
    try:
        narrow(given, ceiling)
    except Rejected:
        return False
    return True


def _first(default: str, names: Iterable[str]) -> tuple[str, ...]:
    known = sorted(names)
    return (default, *(name for name in known if name != default)) if default in known else tuple(known)


def _told(names: tuple[str, ...]) -> str:
    return ", ".join(names) or "none"
