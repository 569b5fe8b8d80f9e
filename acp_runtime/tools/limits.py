"""What bounds a caller, as its model reads it with the tools: a refusal that it can foresee costs it nothing."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace

from acp_runtime.config import Config
from acp_runtime.core.budget import Budget
from acp_runtime.core.errors import Rejected
from acp_runtime.core.lineage import Role, roles
from acp_runtime.core.model import Subagent
from acp_runtime.presets import Preset, find_preset, narrow, with_budget
from acp_runtime.service.descent import own_preset


@dataclass(frozen=True, slots=True)
class Limits:
    """How many subagents a parent may have at one time, and the names it may give; the default stands first.

    `one_shot`: how many of those that end with their task, None where they are counted with the others.
    """

    open: int
    one_shot: int | None
    agents: tuple[str, ...]
    presets: tuple[str, ...]
    roles: tuple[Role, ...]

    @classmethod
    def of(cls, config: Config) -> "Limits":
        """Return the limits of a parent that is configured so."""
        return cls(
            open=max(1, config.admission.per_parent),
            one_shot=max(1, config.one_shot.admission.per_parent) if config.one_shot.enabled else 0,
            agents=_first(config.default_agent, config.catalogue.kinds),
            presets=_first(config.default_preset, _within(config, config.presets)),
            roles=roles(0, config.orchestration),
        )

    @classmethod
    def below(cls, config: Config, leader: Subagent) -> "Limits":
        """Return the limits of a subagent that leads others."""
        order, usual = leader.order, cls.of(config)
        own = _within(config, usual.presets, own_preset(config, leader))
        return replace(
            usual,
            open=max(1, config.orchestration.max_concurrent_children),
            one_shot=None if config.one_shot.enabled else 0,
            agents=_first(order.agent, usual.agents),
            presets=_first(order.preset, own),
            roles=roles(order.lineage.depth, config.orchestration),
        )

    def of_spawning(self) -> str:
        """Return what a model is told beside the tool that starts subagents."""
        names = f"agent_kind: {_told(self.agents)}. preset: {_told(self.presets)}. role: {_told(self.roles)}."
        others = "one_shot ones among them" if self.one_shot is None else f"and {self.one_shot} one_shot"
        return f"At most {self.open} are open at one time, {others}. {names}"

    def of_delegating(self) -> str:
        """Return what a model is told beside the tool that delegates one task."""
        return f"At most {self.open if self.one_shot is None else self.one_shot} at one time."


def _within(config: Config, names: Iterable[str], ceiling: Preset | None = None) -> list[str]:
    """Return which presets a parent may choose: those that go no further than a ceiling, by default that of all."""

    def whole(name: str) -> Preset:
        return with_budget(find_preset(config.presets, name), Budget(), config.budget)

    most = whole(config.ceiling) if ceiling is None else ceiling
    found = []
    for name in names:
        with suppress(Rejected):
            narrow(whole(name), most)
            found.append(name)
    return found


def _first(default: str, names: Iterable[str]) -> tuple[str, ...]:
    known = sorted(names)
    return (default, *(name for name in known if name != default)) if default in known else tuple(known)


def _told(names: tuple[str, ...]) -> str:
    return ", ".join(names) or "none"
