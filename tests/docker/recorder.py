"""A receiver that keeps what it is given and can be waited for."""

import asyncio
from collections.abc import Callable

BOUND = 30.0


class Recorder:
    """Fails at once when anything comes after the end, or a second end."""

    def __init__(self) -> None:
        self.stdout, self.stderr, self.reasons = bytearray(), bytearray(), []
        self._changed = asyncio.Event()

    @property
    def reason(self) -> str:
        (reason,) = self.reasons
        return reason

    def on_stdout(self, data: bytes) -> None:
        self._take(self.stdout, data)

    def on_stderr(self, data: bytes) -> None:
        self._take(self.stderr, data)

    def on_closed(self, reason: str) -> None:
        self.reasons.append(reason)
        self._changed.set()

    def _take(self, kept: bytearray, data: bytes) -> None:
        assert not self.reasons, "bytes after the end"
        kept += data
        self._changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(BOUND):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def closed(self) -> str:
        await self.until(lambda: bool(self.reasons))
        return self.reason
