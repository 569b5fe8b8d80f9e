"""What is left of ended subagents: logs, exported work, volumes; how large it is, and how it is deleted.

The log goes last: what could not be removed elsewhere is still known by it, and tried again the next time.
"""

import asyncio
import logging
from pathlib import Path

from acp_runtime.core.errors import Rejected
from acp_runtime.manager.launcher import LaunchError
from acp_runtime.manager.supervisor import Supervisor
from acp_runtime.manager.work import delete_work, work_bytes
from acp_runtime.store.disk import room
from acp_runtime.store.store import Store
from acp_runtime.views import Disk, Pruned, SubagentView

log = logging.getLogger(__name__)


class Cellar:
    """What one store and its engine keep of ended subagents; `work` is the folder of exported work."""

    def __init__(self, store: Store, supervisor: Supervisor, work: Path) -> None:
        self._store = store
        self._supervisor = supervisor
        self._work = work

    async def remove(self, view: SubagentView, by: str) -> None:
        """Delete all of one; `by` says who does, in the words of the log.

        Raises `Rejected` (still_open, not_acknowledged, not_removed).
        """
        if not view.status.over or self._supervisor.actor(view.id) is not None:
            raise Rejected("still_open", f"{view.name} has not ended; stop it first")
        if (view.keep or not view.exported) and not await self._discard(view.id):
            sentence = (
                f"what was kept of {view.name} could not be removed for certain; try again when the engine answers"
            )
            raise Rejected("not_removed", sentence)
        await self._supervisor.bookkeeper.settled()  # what it used counts for its tree and its parent for good
        await self._store.remove(view.id, by=by)
        await asyncio.to_thread(delete_work, self._work, view.id)

    async def prune(self, parent: str | None, *, older_than: float, dry_run: bool) -> Pruned:
        """Delete, or with `dry_run` name, what ended long enough ago and has nothing to tell."""
        ended = await self._store.prune(parent, older_than=older_than, dry_run=True)
        if not dry_run:
            await self._supervisor.bookkeeper.settled()
            # What becomes old enough meanwhile has to wait: its volumes would be left without a log that knows them.
            only = {each.id for each in ended if not each.kept or await self._discard(each.id)}
            ended = await self._store.prune(parent, older_than=older_than, only=only)
        size = sum(each.size + work_bytes(self._work, each.id) for each in ended)
        if not dry_run:
            for each in ended:
                await asyncio.to_thread(delete_work, self._work, each.id)
        return Pruned(tuple(each.id for each in ended), size, dry_run)

    async def disk(self, parent: str | None) -> Disk:
        """Return what there is, and how much disk it takes."""
        found = await self._store.figures(parent)
        return Disk(
            subagents=found.subagents,
            open_subagents=found.open_subagents,
            events=found.events,
            nudges_open=found.nudges_open,
            nudges_dead=found.nudges_dead,
            store_bytes=found.size,
            work_bytes=await asyncio.to_thread(work_bytes, self._work),
            disk_free_bytes=await asyncio.to_thread(room, self._work),
        )

    async def _discard(self, subagent: str) -> bool:
        try:
            if await self._supervisor.discard(subagent):
                return True
            why = "the engine did not confirm it"
        except LaunchError as error:
            why = str(error)
        log.warning("what was kept of %s could not be removed: %s", subagent, why)
        return False
