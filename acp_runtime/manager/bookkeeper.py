"""Writes down what calls of models used: reads them from the ledger of the gateway, and books them in the background.

Promises that each call is booked once, also over the deaths of managers: how far was read is kept in the transaction of
the calls; that what the gateway wrote is booked before `settled` returns, where the store can be written; that what
waits takes no memory; and that an agent that floods its model, or invents names of models, fills no disk: calls of one
sort that are read together are summed, and names beyond `MOST_MODELS` of a subagent are left out.
"""

import asyncio
import json
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from acp_runtime.beside import beside
from acp_runtime.core.budget import Used
from acp_runtime.core.errors import StoreError, StoreOwned
from acp_runtime.core.metering import Call
from acp_runtime.gateway import ledger
from acp_runtime.gateway.place import folder_beside
from acp_runtime.gateway.records import Denial, Expiry, call_of, denial_of, expiry_of
from acp_runtime.store.books import ABOVE, BYGONE, MODELS, PLACE, USED
from acp_runtime.store.store import Store

log = logging.getLogger(__name__)

LOOK_SECONDS: Final = 0.5
AGAIN_SECONDS: Final = 1.0
MOST_MODELS: Final = 50


class Bookkeeper:
    """Of the store at `path`. `hear` is told each call once it is booked, `denied` what was refused for a rule.

    `expired` is told what was refused for want of a login.
    """

    def __init__(self, store: Store, path: Path) -> None:
        self.hear: Callable[[Call], None] = lambda _: None
        self.denied: Callable[[Denial], None] = lambda _: None
        self.expired: Callable[[Expiry], None] = lambda _: None
        self._store = store
        self._folder = folder_beside(path)
        self._writing = asyncio.Lock()
        self._told = ""
        self._place: ledger.Place | None = None
        self._used: dict[str, Used] = {}
        self._below: defaultdict[str, Used] = defaultdict(Used)
        self._above: defaultdict[str, tuple[str, ...]] = defaultdict(tuple)
        self._owners: dict[str, str] = {}
        self._models: defaultdict[str, set[str]] = defaultdict(set)

    @asynccontextmanager
    async def open(self) -> AsyncIterator["Bookkeeper"]:
        """Book inside the block, and what is left at its end. Raises `StoreError`."""
        for row in await self._store.query(USED):
            self._used[row["subagent"]] = Used(row["tokens"], row["cost"], row["unpriced"])
        for row in await self._store.query(BYGONE):
            self._below[row["above"]] = Used(row["tokens"], row["cost"], row["unpriced"])
        await self._look_up(*self._used)
        await self.rename()
        for subagent, used in self._used.items():
            for name in self._above[subagent]:
                self._below[name] = self._below[name].plus(used)
        for row in await self._store.query(MODELS):
            self._models[row["subagent"]].add(row["model"])
        try:
            async with beside(bookkeeper=self._run):
                yield self
        finally:
            await self.settled()

    def used(self, subagent: str) -> Used:
        """Return what counts against a subagent's budget: what is booked."""
        return self._used.get(subagent, Used())

    def used_below(self, parent: str) -> Used:
        """Return what all below a parent have used together: what is booked."""
        return self._below.get(parent, Used())

    def owner(self, parent: str) -> str:
        """Return the parent that a name belongs to: the name itself where it is no alias."""
        return self._owners.get(parent, parent)

    async def rename(self) -> None:
        """Join what was used below parents that have become one: another name was given to one of them."""
        self._owners = {row["alias"]: row["parent"] for row in await self._store.query("SELECT * FROM alias")}
        for name in [each for each in self._below if each in self._owners]:
            self._below[self.owner(name)] = self.used_below(self.owner(name)).plus(self._below.pop(name))
        for subagent, above in self._above.items():
            self._above[subagent] = tuple(map(self.owner, above))

    async def _look_up(self, *subagents: str) -> None:
        """Learn who is above these."""
        for row in await self._store.query(ABOVE, json.dumps(subagents)):
            self._above[row["subagent"]] = (*self._above[row["subagent"]], row["above"])

    async def settled(self) -> None:
        """Book what was written so far. Raises nothing: what cannot be booked now is tried again later."""
        try:
            await self._booked()
        except (StoreError, OSError) as error:
            log.warning("calls of models could not be booked: %s", error)

    async def newest(self, wanted: Callable[[ledger.Record], bool], most: int) -> list[ledger.Record]:
        """Return the newest records that are wanted, oldest first and at most so many. Raises OSError."""
        return await asyncio.to_thread(ledger.newest, self._folder, wanted, most)

    async def _run(self) -> None:
        while True:
            try:
                await self._booked()
                self._told = ""
            except StoreOwned:
                return
            except (StoreError, OSError) as error:
                if self._told != str(error):
                    self._told = str(error)
                    log.warning("calls of models could not be booked yet: %s", error)
                await asyncio.sleep(AGAIN_SECONDS)
            await asyncio.sleep(LOOK_SECONDS)

    async def _booked(self) -> None:
        """Book, to the end also when nobody waits for it any more: what is in the store must be known to be there."""
        booking = asyncio.create_task(self._write())
        booking.add_done_callback(lambda done: done.cancelled() or done.exception())  # told to who waits, if anybody
        await asyncio.shield(booking)

    async def _write(self) -> None:
        async with self._writing:
            if self._place is None:
                found = await self._store.query(PLACE)
                self._place = ledger.Place.parse(found[0]["value"]) if found else ledger.Place()
            while True:
                records, behind = await asyncio.to_thread(ledger.read, self._folder, self._place)
                if behind == self._place:
                    return
                calls = [call for call in map(call_of, records) if call is not None]
                await self._look_up(*{call.subagent for call in calls} - self._above.keys())
                await self._store.book(summed(map(self._named, calls)), str(behind))
                self._place = behind
                for call in calls:
                    for name in self._above.get(call.subagent, ()):
                        self._below[name] = call.on_top_of(self.used_below(name))
                    self._used[call.subagent] = call.on_top_of(self.used(call.subagent))
                    self.hear(call)
                for denial in filter(None, map(denial_of, records)):
                    self.denied(denial)
                for expiry in filter(None, map(expiry_of, records)):
                    self.expired(expiry)

    def _named(self, call: Call) -> Call:
        names = self._models[call.subagent]
        if call.model not in names and len(names) >= MOST_MODELS:
            return replace(call, model="")
        names.add(call.model)
        return call


def summed(calls: Iterable[Call]) -> list[Call]:
    """Return calls with those of one sort as one, in the order of the first of each."""
    sums: dict[object, Call] = {}
    for call in calls:
        before = sums.get(call.sort)
        sums[call.sort] = call if before is None else before.with_another(call)
    return list(sums.values())
