"""Has a sandbox reach what it may at the moment, however often that changes and however long its gateway is away."""

import asyncio
import logging
from collections.abc import Callable

from acp_runtime.manager.launcher import Launched, LaunchError
from acp_runtime.session.backoff import Backoff

__all__ = ["Permitting"]

log = logging.getLogger(__name__)


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
