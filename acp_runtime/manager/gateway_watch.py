"""Whether a gateway that is there still answers: asked now and then, for as long as somebody needs it.

Only time in which this process itself ran counts as time in which the gateway could have answered: a manager that was
stopped, or starved of the processor, wakes up with its question overdue and the answer perhaps unread.
"""

import asyncio
from dataclasses import dataclass
from enum import Enum
from typing import Final

from acp_runtime.clock import Clock
from acp_runtime.gateway.client import GatewayClient

__all__ = ["GatewayWatch", "Standing"]

TICK: Final = 500  # milliseconds; of each that took longer no more than this counts
LATE: Final = 1_500
LONGEST: Final = 3_600.0  # seconds; the watch ends its questions itself


class Standing(Enum):
    """How a gateway stands: it answered, its connection has ended, or it is there and says nothing."""

    GOOD = "good"
    GONE = "gone"
    SILENT = "silent"


@dataclass(frozen=True, slots=True)
class GatewayWatch:
    """Asks every so many seconds, and waits so many for the answer."""

    clock: Clock
    every: float = 5.0
    patience: float = 15.0

    async def look(self, client: GatewayClient) -> Standing:
        """Return how it stands after `every` seconds, or at once when it is gone.

        It is silent when it left a question unanswered for all of `patience`, and a second one where this process was
        kept from running meanwhile.
        """
        gone = asyncio.ensure_future(client.lost.wait())
        pause = asyncio.ensure_future(self.clock.until(self.clock.now() + round(self.every * 1000)))
        try:
            await asyncio.wait([gone, pause], return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone.cancel()
            pause.cancel()
        for _ in range(2):
            asking = asyncio.ensure_future(client.ask("about", LONGEST))
            try:
                late = await self._wait(asking)
                answered = asking.done()
            finally:
                asking.cancel()
                await asyncio.wait([asking])
            if client.lost.is_set():
                return Standing.GONE
            if answered:
                return Standing.GOOD
            if not late:
                break
        return Standing.SILENT

    async def _wait(self, asking: asyncio.Task[object]) -> bool:
        """Return once it is answered, or patience is over; and whether this process was kept from running meanwhile."""
        left, late = round(self.patience * 1000), False
        while left > 0 and not asking.done():
            began = self.clock.now()
            tick = asyncio.ensure_future(self.clock.until(began + TICK))
            await asyncio.wait([asking, tick], return_when=asyncio.FIRST_COMPLETED)
            tick.cancel()
            passed = self.clock.now() - began
            late = late or passed > TICK + LATE
            left -= min(passed, TICK)
        return late
