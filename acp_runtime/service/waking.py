"""Wake-ups of an idle parent: said when there is something new to tell it, and not again while nothing is added."""

import asyncio
from collections.abc import AsyncGenerator

from acp_runtime.clock import Clock
from acp_runtime.store.store import Store
from acp_runtime.views import Wakeup


async def wakeups(store: Store, clock: Clock, parent: str) -> AsyncGenerator[Wakeup]:
    """Yield a wake-up each time that nudges of a parent are added to those said before; goes on until it is closed."""
    told: frozenset[str] = frozenset()
    while True:
        tick = store.tick
        found = await store.wakeable(parent)
        if not told.issuperset(found.nudges):
            yield Wakeup(found.nudges)
        told = frozenset(found.nudges)
        await _woken(store, clock, tick, found.again)


async def _woken(store: Store, clock: Clock, tick: int, again: int | None) -> None:
    """Return when something was committed, or when a claim runs out at the moment `again`."""
    changed = asyncio.ensure_future(store.changed(tick))
    both = {changed} if again is None else {changed, asyncio.ensure_future(clock.until(again))}
    try:
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in both:
            each.cancel()
