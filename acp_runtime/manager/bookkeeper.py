"""Writes down what calls of models used: takes each as it ends, and books them together in the background.

Promises that who tells a call never waits; that what was told is booked before `settled` returns, or is told in the log
of the manager as lost; that no more than `MOST_WAITING` wait while the store cannot be written; and that an agent that
floods its model, or invents names of models, fills no disk: calls of one sort are summed for `PAUSE_SECONDS`, and names
beyond `MOST_MODELS` of a subagent are left out.
"""

import asyncio
import logging
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final

from acp_runtime.core.budget import Used
from acp_runtime.core.errors import StoreError, StoreOwned
from acp_runtime.core.metering import Call
from acp_runtime.store.books import MODELS, USED
from acp_runtime.store.store import Store

log = logging.getLogger(__name__)

MOST_WAITING: Final = 10_000
AT_ONCE: Final = 1_000
AGAIN_SECONDS: Final = 1.0
PAUSE_SECONDS: Final = 0.2
MOST_MODELS: Final = 50


class Bookkeeper:
    """Of one store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: deque[Call] = deque()
        self._arrived = asyncio.Event()
        self._writing = asyncio.Lock()
        self._lost = 0
        self._used: dict[str, Used] = {}
        self._models: defaultdict[str, set[str]] = defaultdict(set)

    @asynccontextmanager
    async def open(self) -> AsyncIterator["Bookkeeper"]:
        """Book inside the block, and what is left at its end. Raises `StoreError`."""
        for row in await self._store.query(USED):
            self._used[row["subagent"]] = Used(row["tokens"], row["cost"], row["unpriced"])
        for row in await self._store.query(MODELS):
            self._models[row["subagent"]].add(row["model"])
        task = asyncio.create_task(self._run(), name="bookkeeper")
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await self.settled()

    def used(self, subagent: str) -> Used:
        """Return what counts against a subagent's budget, with what is not booked yet."""
        return self._used.get(subagent, Used())

    def take(self, call: Call) -> None:
        """Have a call booked. Returns at once."""
        self._used[call.subagent] = call.on_top_of(self.used(call.subagent))
        if len(self._waiting) >= MOST_WAITING:
            self._lost += 1
            if self._lost == 1:
                log.error("calls of models cannot be booked and %d wait already; more are lost", MOST_WAITING)
            return
        names = self._models[call.subagent]
        if call.model not in names and len(names) >= MOST_MODELS:
            call = replace(call, model="")
        names.add(call.model)
        self._waiting.append(call)
        self._arrived.set()

    async def settled(self) -> None:
        """Book what was taken so far. Raises nothing: what cannot be booked now is tried again later."""
        try:
            await self._write()
        except StoreError as error:
            log.warning("calls of models could not be booked: %s", error)

    async def _run(self) -> None:
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            try:
                await self._write()
                await asyncio.sleep(PAUSE_SECONDS)
            except StoreOwned:
                return
            except StoreError as error:
                log.warning("calls of models could not be booked yet: %s", error)
                await asyncio.sleep(AGAIN_SECONDS)
                self._arrived.set()

    async def _write(self) -> None:
        async with self._writing:
            while self._waiting:
                some = [self._waiting[number] for number in range(min(AT_ONCE, len(self._waiting)))]
                await self._store.book(summed(some))
                for _ in some:
                    self._waiting.popleft()
            if self._lost:
                log.error("%d calls of models were lost while they could not be booked", self._lost)
                self._lost = 0


def summed(calls: Iterable[Call]) -> list[Call]:
    """Return calls with those of one sort as one, in the order of the first of each."""
    sums: dict[object, Call] = {}
    for call in calls:
        before = sums.get(call.sort)
        sums[call.sort] = call if before is None else before.with_another(call)
    return list(sums.values())
