"""Wake-ups of an idle parent: said when there is something new to tell it, and not again while nothing is added."""

from collections.abc import AsyncGenerator

from acp_runtime.clock import Clock
from acp_runtime.manager.leading import woken
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
        await woken(store, clock, tick, found.again)
