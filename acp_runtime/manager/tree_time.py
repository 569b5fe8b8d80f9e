"""How long trees of subagents have been there: keeps tasks from one whose time is over, and has that told once."""

import asyncio
from typing import Final

from acp_runtime.clock import Clock
from acp_runtime.core.admission import check_wall
from acp_runtime.core.errors import StoreError, StoreOwned
from acp_runtime.core.inputs import TimeOver
from acp_runtime.core.lineage import leader_of
from acp_runtime.core.timers import milliseconds
from acp_runtime.manager.actor import Actor
from acp_runtime.manager.policy import Policy
from acp_runtime.store.store import Store

__all__ = ["TreeTime"]

LOOK_SECONDS: Final = 1.0


class TreeTime:
    """Of all trees of a store. What is under way in one whose time is over goes on, to its own deadlines."""

    def __init__(self, store: Store, clock: Clock, policy: Policy) -> None:
        self._store = store
        self._clock = clock
        self._policy = policy
        self._due: dict[str, tuple[float, int | None]] = {}  # of each top: its bound, and when to look; None once told

    async def check(self, subagent: str) -> None:
        """Raise `Rejected` (budget_reached) where the tree of a subagent gets no further task."""
        share = self._policy.config.tree_budget
        if share.extent.wall is not None:
            for taken in await self._store.taken(subagent, (share,)):
                check_wall(share, taken)

    async def look(self, actors: tuple[Actor, ...]) -> None:
        """Have the subagent at the top of each tree whose time has come know it, once."""
        share = self._policy.config.tree_budget
        most = share.extent.wall
        tops = {each.state.id: each for each in actors if leader_of(each.state.parent) is None}
        self._due = {top: due for top, due in self._due.items() if top in tops and due[0] == most}
        if most is None:
            return
        for top, actor in tops.items():
            now = self._clock.now()
            _, at = self._due.get(top, (most, now))
            if at is None or now < at:
                continue
            for taken in await self._store.taken(top, (share,)):
                left = most - taken.seconds
                self._due[top] = (most, now + milliseconds(left) if left > 0 else None)
                if left <= 0:
                    actor.tell(TimeOver(most, taken.seconds))

    async def watch(self, actors: "dict[str, Actor]") -> None:
        """Look once a second, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self.look(tuple(actors.values()))
            except StoreOwned:
                return
            except StoreError:
                continue  # the store is full or busy: a second later
