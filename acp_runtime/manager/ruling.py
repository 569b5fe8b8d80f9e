"""The part of a supervisor that has sandboxes reach and use what they may by now: by configuration and policy."""

import asyncio
from typing import Final

from acp_runtime.config import Config
from acp_runtime.core.effects import Permit
from acp_runtime.core.inputs import Configured
from acp_runtime.core.wishes import granted
from acp_runtime.manager.actor import Actor
from acp_runtime.manager.entitlement import Ruled, entitled, ruled
from acp_runtime.manager.policy import Policy, Standing

__all__ = ["Ruling"]

LOOK_SECONDS: Final = 1.0


class Ruling:
    """Of the living subagents of one store."""

    _policy: Policy
    _actors: dict[str, Actor]

    async def standing(self) -> tuple[Standing, ...]:
        """Return what was allowed for good."""
        return await asyncio.to_thread(self._policy.standing)

    async def allow_for_good(self, wanted: Standing) -> None:
        """Have all subagents of a preset reach what a rule allows, from now on and after a restart.

        Raises `Rejected` (policy_unwritable).
        """
        await asyncio.to_thread(self._policy.allow, wanted)
        self._permit_all()

    async def revoke(self, rule: str, preset: str | None) -> tuple[Standing, ...]:
        """Take back what was allowed for good, from what runs too. Raises `Rejected` (policy_unwritable)."""
        gone = await asyncio.to_thread(self._policy.revoke, rule, preset)
        self._permit_all()
        return gone

    def reconfigure(self, config: Config, by: str) -> tuple[Ruled, ...]:
        """Have another configuration say what sandboxes may reach, those that run among them; return whom it touches.

        It is in force when this returns, and carried out and written into the logs soon after.
        """
        before, self._policy.config = self._policy.config, config
        self._permit_all()
        found = []
        for actor in self._actors.values():
            self._note_rules(actor, by)
            if (touched := ruled(before, config, actor.state)) is not None:
                found.append(touched)
        return tuple(found)

    def _note_rules(self, actor: Actor, by: str) -> None:
        egress = entitled(self._policy.config, actor.state)
        if egress is not None:
            actor.tell(Configured(egress, by))

    def _permit_all(self) -> None:
        """Have every sandbox reach what it may by now: the policy has changed."""
        for actor in self._actors.values():
            if actor.performer is not None:
                actor.performer.perform(Permit(actor.state.attempt, granted(actor.state.active), actor.state.period))

    async def _watch_policy(self) -> None:
        """Have what people change in the file of the policy hold at once."""
        before = self._policy.stamp()
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if (now := self._policy.stamp()) != before:
                before = now
                self._permit_all()
