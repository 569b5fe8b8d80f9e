"""A word to the holder now and then, so that each side notices when nobody is at the other end any more.

A connection through an engine can lose its other end without breaking: the engine was started again, or the way to it
is gone. Then nothing would ever come. `holder attach` ends when no word came for long, and this side gives a link up
over which nothing was heard after one.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

EVERY: Final = 30.0  # seconds
ANSWER_BOUND: Final = 10.0


class Pulse:
    """Says a word every `EVERY` seconds from `start` to `stop`; `lost` when nothing at all was heard for the bound.

    Owner: a channel, which calls `heard` for whatever comes. While it does not read it is `deaf`, and nothing is lost.
    """

    def __init__(self, say: Callable[[], Awaitable[None]], lost: Callable[[str], Awaitable[None]]) -> None:
        self._deaf = False
        self._say, self._lost = say, lost
        self._heard = False
        self._beating: asyncio.Task[None] | None = None

    def heard(self) -> None:
        self._heard = True

    def deafen(self, *, deaf: bool) -> None:
        self._deaf, self._heard = deaf, True

    def start(self) -> None:
        self.stop()
        self._beating = asyncio.create_task(self._beat(), name="holder-pulse")

    def stop(self) -> None:
        """Say no more. It may be `lost` itself that calls this: that is let finish."""
        beating, self._beating = self._beating, None
        if beating is not None and beating is not asyncio.current_task():
            beating.cancel()

    async def _beat(self) -> None:
        while self._beating is asyncio.current_task():
            await asyncio.sleep(EVERY)
            self._heard = False
            await self._say()
            await asyncio.sleep(ANSWER_BOUND)
            if not self._heard and not self._deaf:
                await self._lost(f"nothing was heard of the holder for {ANSWER_BOUND:g} s")
