"""Has a sandbox reach what it may at the moment, however often that changes and however long its gateway is away."""

import asyncio
import logging
from collections.abc import Callable

from acp_runtime.core.budget import Allowance, Scope
from acp_runtime.core.model import Subagent
from acp_runtime.manager.launcher import Launched, LaunchError
from acp_runtime.manager.surroundings import Surroundings
from acp_runtime.session.backoff import Backoff

__all__ = ["Permitting"]

log = logging.getLogger(__name__)


def _may_change(state: Subagent, allowances: tuple[Allowance, ...]) -> bool:
    """Whether what a sandbox may reach and use can be another than what its gateway was told at its start."""
    shared = any(each.scope is not Scope.AGENT and str(each.budget) for each in allowances)
    return state.order.egress is not None or (state.order.model_url is not None and (state.period > 0 or shared))


class Permitting:
    """Of one subagent. `launched` gives its agent, where there is one."""

    def __init__(self, around: Surroundings, launched: Callable[[], Launched | None]) -> None:
        self._around = around
        self._launched = launched
        self._turn = asyncio.Lock()
        self._changes = 0

    def change(self) -> None:
        """Note that it may be another than what is on its way to the gateway."""
        self._changes += 1

    async def settle(self) -> None:
        """Return once the agent's sandbox reaches what it may by now, and nothing else.

        Tries until then: who waits for this before a prompt never has a task with the ways of the one before it.
        """
        state = self._around.state()
        if not _may_change(state, self._around.request(state.attempt).allowances()):
            return
        async with self._turn:
            backoff, told = Backoff(), ""
            while (agent := self._launched()) is not None:
                changes = self._changes
                try:
                    await agent.permit()
                    if changes == self._changes:
                        break
                    continue
                except LaunchError as error:
                    if told != str(error):
                        told = str(error)
                        log.warning("what a sandbox may reach could not be changed yet: %s", error)
                await backoff.pause()
