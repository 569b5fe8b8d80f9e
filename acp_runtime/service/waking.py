"""Wake-ups of an idle parent: said when there is something new to tell it, or left of what one turn could tell."""

from collections.abc import AsyncGenerator

from acp_runtime.clock import Clock
from acp_runtime.core.turns import wakes_for
from acp_runtime.manager.leading import woken
from acp_runtime.store.store import Store
from acp_runtime.views import Wakeup


async def wakeups(store: Store, clock: Clock, parent: str) -> AsyncGenerator[Wakeup]:
    """Yield a wake-up each time that a parent is to be woken (`wakes_for`); goes on until it is closed."""
    told: frozenset[str] = frozenset()
    while True:
        tick = store.tick
        found = await store.wakeable(parent)
        if wakes_for(found.nudges, told):
            yield Wakeup(found.nudges)
        told = frozenset(found.nudges)
        await woken(store, clock, tick, found.again)
