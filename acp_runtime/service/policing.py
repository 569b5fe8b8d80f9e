"""What the operator decides for all subagents of a preset while they run."""

import asyncio
from dataclasses import dataclass, replace
from typing import Final

from acp_runtime.callers import Caller, Operator, word_of
from acp_runtime.config import Config, ConfigError
from acp_runtime.core.errors import Rejected
from acp_runtime.egress.rules import Rule
from acp_runtime.manager.entitlement import Ruled
from acp_runtime.manager.policy import Standing
from acp_runtime.manager.supervisor import Supervisor
from acp_runtime.presets import find_preset

__all__ = ["Policed", "Reloaded"]

# Tables and keys that hold anew once they are read again.
_RELOADED: Final = (
    *("presets", "registries", "ceiling", "default_preset"),  # what sandboxes may reach
    *("models", "orchestration", "tree_budget", "parent_budget"),  # what is spawned from then on, and what trees may be
)


@dataclass(frozen=True, slots=True)
class Reloaded:
    """What another configuration changed: subagents that run, and keys that only a new start of the daemon reads."""

    subagents: tuple[Ruled, ...]
    restart: tuple[str, ...]


class Policed:
    """The part of a `Runtime` by which the operator says what sandboxes may reach."""

    _config: Config
    _supervisor: Supervisor

    async def reload(self, caller: Caller) -> Reloaded:
        """Read the configuration again: what presets, registries and the ceiling say holds at once, for what runs too.

        So do the bounds of trees, for each spawn from then on. What a sandbox got at its start it keeps. Raises
        `Rejected` (operator_only; no_configuration where this runtime was given one that was never in a file;
        config_error naming the mistakes, and then nothing was changed).
        """
        _operator_alone(caller)
        async with self._supervisor.reconfiguring:  # what was read first is not put in force last
            before = self._config
            found = await _read_again(before)
            restart = tuple(sorted(key for key in {*before.values, *found.values} if _differs(key, before, found)))
            self._config = _applied(before, found)
            return Reloaded(self._supervisor.reconfigure(self._config, word_of(caller)), restart)

    async def allowed(self, caller: Caller) -> list[Standing]:
        """Return what was allowed for good, the oldest first. Raises `Rejected` (operator_only)."""
        _operator_alone(caller)
        return list(await self._supervisor.standing())

    async def allow(self, caller: Caller, rule: str, *, preset: str) -> Standing:
        """Allow a rule for good to every subagent of a preset that has a proxy; at once, and after restarts.

        Idempotent. Raises `Rejected` (operator_only, bad_egress_rule, unknown_preset, policy_unwritable).
        """
        _operator_alone(caller)
        wanted = Standing(find_preset(self._config.presets, preset).name, str(Rule.parse(rule)))
        await self._supervisor.allow_for_good(wanted)
        return wanted

    async def disallow(self, caller: Caller, rule: str, *, preset: str | None = None) -> list[Standing]:
        """Take a rule back that was allowed for good, from one preset or from all that have it; return what is gone.

        What runs loses it at once, with its tunnels, but for a task that was allowed it itself. Raises `Rejected`
        (operator_only, bad_egress_rule, not_allowed where there is none, policy_unwritable).
        """
        _operator_alone(caller)
        meant = str(Rule.parse(rule))
        if gone := await self._supervisor.revoke(meant, preset):
            return list(gone)
        there = ", ".join(f"{each.rule} ({each.preset})" for each in await self._supervisor.standing())
        whose = "no preset" if preset is None else f"the preset {preset!r} not"
        sentence = f"{meant} was allowed for good to {whose}; what is: {there or 'nothing'}"
        raise Rejected("not_allowed", sentence, {"rule": meant})


async def _read_again(config: Config) -> Config:
    if config.again is None:
        sentence = "this runtime was opened with a configuration of its program's own; open it anew with another"
        raise Rejected("no_configuration", sentence)
    try:
        return await asyncio.to_thread(config.again)
    except ConfigError as error:
        raise Rejected("config_error", f"{error}\nNothing was changed: the configuration of before holds") from error


def _applied(before: Config, found: Config) -> Config:
    """Return the configuration that is in force, with what can be changed as it was found."""
    values = {key: value for key, value in before.values.items() if not _reloads(key)}
    return replace(
        before,
        **{name: getattr(found, name) for name in _RELOADED},
        origins=found.origins,
        values=values | {key: value for key, value in found.values.items() if _reloads(key)},
    )


def _reloads(key: str) -> bool:
    # The runtime of a sandbox is a part of each preset that names none.
    return key.partition(".")[0] in _RELOADED or key == "sandbox.runtime"


def _differs(key: str, before: Config, found: Config) -> bool:
    return not _reloads(key) and before.values.get(key) != found.values.get(key)


def _operator_alone(caller: Caller) -> None:
    if not isinstance(caller, Operator):
        raise Rejected("operator_only", "what presets allow holds for all parents; ask as the operator")
