"""The one door to time.

Deadlines live on the monotonic clock (milliseconds since boot, suspended time not counted), so neither a jump of the
wall clock nor a sleeping laptop moves one. A reading means something only together with the id of its boot. The wall
clock is for people.
"""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol


class Clock(Protocol):
    """Where the runtime reads time and waits for a moment."""

    boot: str

    def now(self) -> int:
        """Return monotonic milliseconds; comparable only within one `boot`."""
        ...

    def wall(self) -> datetime:
        """Return the time of day in UTC."""
        ...

    async def until(self, moment: int) -> None:
        """Return when `now() >= moment`."""
        ...


class SystemClock:
    """The machine's clocks."""

    def __init__(self) -> None:
        self.boot = _boot_id()

    def now(self) -> int:
        return time.monotonic_ns() // 1_000_000

    def wall(self) -> datetime:
        return datetime.now(UTC)

    async def until(self, moment: int) -> None:
        while (left := moment - self.now()) > 0:  # noqa: ASYNC110 - a sleep may end early; there is no event to wait on
            await asyncio.sleep(left / 1000)


class ManualClock:
    """A clock that stands until it is told to go on; for tests of deadlines."""

    def __init__(self, now: int = 0, wall: datetime | None = None) -> None:
        self.boot = "manual"
        self._now = now
        self._wall = wall or datetime(2026, 1, 1, tzinfo=UTC)
        self._waiting: set[tuple[int, asyncio.Future[None]]] = set()

    def now(self) -> int:
        return self._now

    def wall(self) -> datetime:
        return self._wall

    async def until(self, moment: int) -> None:
        if moment <= self._now:
            return
        future = asyncio.get_running_loop().create_future()
        entry = (moment, future)
        self._waiting.add(entry)
        try:
            await future
        finally:
            self._waiting.discard(entry)

    def jump(self, milliseconds: int) -> None:
        """Move the wall clock alone: somebody has set it, or the machine has slept."""
        self._wall += timedelta(milliseconds=milliseconds)

    def advance(self, milliseconds: int) -> None:
        """Let time pass on both clocks; everything that waits for a moment up to the new one is released."""
        self._now += milliseconds
        self._wall += timedelta(milliseconds=milliseconds)
        for moment, future in tuple(self._waiting):
            if moment <= self._now and not future.done():
                future.set_result(None)


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return "unknown"
