"""What the operator decides for all subagents of a preset while they run."""

from acp_runtime.callers import Caller, Operator
from acp_runtime.config import Config
from acp_runtime.core.errors import Rejected
from acp_runtime.egress.rules import Rule
from acp_runtime.manager.policy import Standing
from acp_runtime.manager.supervisor import Supervisor
from acp_runtime.presets import find_preset

__all__ = ["Policed"]


class Policed:
    """The part of a `Runtime` by which the operator says what sandboxes may reach."""

    _config: Config
    _supervisor: Supervisor

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


def _operator_alone(caller: Caller) -> None:
    if not isinstance(caller, Operator):
        raise Rejected("operator_only", "what is allowed for good holds for all parents; ask as the operator")
