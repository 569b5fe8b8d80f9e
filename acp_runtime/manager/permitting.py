"""Has a sandbox reach what it may at the moment, however often that changes and however long its gateway is away."""

import asyncio
import logging
from collections.abc import Callable

from acp_runtime.core.budget import Allowance, Scope
from acp_runtime.core.model import Subagent
from acp_runtime.manager.launcher import Launched, LaunchError
from acp_runtime.session.backoff import Backoff

__all__ = ["Permitting", "may_change"]

log = logging.getLogger(__name__)


def may_change(state: Subagent, allowances: tuple[Allowance, ...]) -> bool:
    """Whether what a sandbox may reach and use can be another than what its gateway was told at its start."""
    shared = any(each.scope is not Scope.AGENT and str(each.budget) for each in allowances)
    return state.order.egress is not None or (state.order.model_url is not None and (state.period > 0 or shared))


class Permitting:
    """Of one subagent."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()

    async def settle(self, launched: Callable[[], Launched | None]) -> None:
        """Return once the agent's sandbox reaches what it may by now, and nothing else.

        Tries until then: who waits for this before a prompt never has a task with the ways of the one before it.
        """
        async with self._turn:
            backoff, told = Backoff(), ""
            while (agent := launched()) is not None:
                try:
                    await agent.permit()
                    break
                except LaunchError as error:
                    if told != str(error):
                        told = str(error)
                        log.warning("what a sandbox may reach could not be changed yet: %s", error)
                await backoff.pause()
