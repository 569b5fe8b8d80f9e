"""The reaper of a runtime: at its start, every so often, and when the operator asks.

The log of the store says which subagents live. What could not be removed is tried again at the next pass.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from acp_runtime.beside import beside
from acp_runtime.callers import Caller, Operator
from acp_runtime.clock import Clock
from acp_runtime.core.errors import Rejected
from acp_runtime.manager.launcher import Action, Judgement, Kind, Launcher, LaunchError, Standing
from acp_runtime.manager.work import delete_work, owners_of_work
from acp_runtime.store.store import Store
from acp_runtime.views import Reaped

log = logging.getLogger(__name__)

_KNOWN = "SELECT id, lifecycle IN ('stopped', 'failed') AS over, attempt, keep, exported FROM subagent "
_FORGOTTEN = "SELECT subagent AS id FROM forgotten "
_AMONG = "IN (SELECT value FROM json_each(?))"


class Reaping:
    """One store's passes over what its launcher left; one at a time."""

    def __init__(self, store: Store, launcher: Launcher, work: Path) -> None:
        self._store = store
        self._launcher = launcher
        self._work = work
        self._turn = asyncio.Lock()

    @classmethod
    @asynccontextmanager
    async def kept(
        cls, store: Store, launcher: Launcher, work: Path, clock: Clock, every: float | None
    ) -> AsyncIterator["Reaping"]:
        """Reap inside the block: at once and then every so many seconds, or for None only when asked."""
        self = cls(store, launcher, work)
        async with beside(reaper=partial(self._for_ever, clock, every)):
            yield self

    async def run(self, *, dry_run: bool = False, volumes_of: frozenset[str] = frozenset()) -> Reaped:
        """Make one pass. Raises `LaunchError` when the engine cannot be used."""
        async with self._turn:
            judgements = await self._launcher.reap_all(self._standings, dry_run=dry_run, volumes_of=volumes_of)
            judgements += await self._of_forgotten(dry_run=dry_run)
        for each in judgements:
            if each.action in (Action.REMOVED, Action.FAILED):
                log.info("the reaper %s the %s %s: %s", each.action, each.kind, each.name, each.why)
        return Reaped(tuple(judgements), dry_run)

    async def _for_ever(self, clock: Clock, every: float | None) -> None:
        while every is not None:
            try:
                await self.run()
            except LaunchError as error:
                log.info("what dead managers left was not looked for: %s", error)
            except Exception:
                log.exception("the reaper failed")
            await clock.until(clock.now() + round(every * 1000))

    async def _of_forgotten(self, *, dry_run: bool) -> list[Judgement]:
        """Remove the work of subagents whose removal was cut short: their log goes before it."""
        names = await asyncio.to_thread(owners_of_work, self._work)
        asked = f"{_FORGOTTEN}WHERE subagent {_AMONG} ORDER BY id"
        rows = await self._store.query(asked, json.dumps(sorted(names)))
        if not dry_run:
            for row in rows:
                await asyncio.to_thread(delete_work, self._work, row["id"])
        action, why = Action.REMOVE if dry_run else Action.REMOVED, "its subagent was removed"
        paths = [str(self._work / row["id"]) for row in rows]
        return [Judgement(Kind.WORK, each, each, action, why) for each in paths]

    async def _standings(self, subagents: frozenset[str]) -> Mapping[str, Standing]:
        asked = (json.dumps(sorted(subagents)),)
        known, forgotten = await self._store.queries(
            (f"{_KNOWN}WHERE id {_AMONG}", asked), (f"{_FORGOTTEN}WHERE subagent {_AMONG}", asked)
        )
        # Nothing of a forgotten one was wanted, or it would not have been: its volumes are discarded first.
        found = {row["id"]: Standing(None) for row in forgotten}
        for row in known:
            found[row["id"]] = Standing(None if row["over"] else row["attempt"], _kept(row))
        return found


class Reapable:
    """What a runtime offers of it."""

    _reaping: Reaping

    async def reap(self, caller: Caller, *, dry_run: bool = False, volumes_of: tuple[str, ...] = ()) -> Reaped:
        """Remove what dead managers left on the engine, or with `dry_run` only say what would go, and why.

        Of other stores only containers go that have ended, or in which nothing holds the agent any more, and whose
        manager is proven dead, and volumes of the stores that `volumes_of` names. Raises `Rejected` (operator_only) and
        `LaunchError`.
        """
        if not isinstance(caller, Operator):
            raise Rejected("operator_only", "what is on the engine is of all parents; ask as the operator")
        return await self._reaping.run(dry_run=dry_run, volumes_of=frozenset(volumes_of))


def _kept(row: Mapping[str, int]) -> str:
    if row["keep"]:
        return "it can be started again"
    return "" if row["exported"] else "its work could not be taken out"
