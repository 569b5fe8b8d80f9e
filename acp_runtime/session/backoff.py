"""Pauses between tries: each twice as long as the one before, up to a bound."""

import asyncio
from typing import Final

FIRST_SECONDS: Final = 0.2
LONGEST_SECONDS: Final = 5.0


class Backoff:
    """The pauses of one row of tries, in seconds."""

    def __init__(self, first: float = FIRST_SECONDS) -> None:
        self._next = first

    async def pause(self) -> None:
        await asyncio.sleep(self._next)
        self._next = min(2 * self._next, LONGEST_SECONDS)
