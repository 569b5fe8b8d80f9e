"""Waiting for subagents without polling: woken by commits, bounded by the caller, and missing nothing in between."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from acp_runtime.callers import Caller
from acp_runtime.core.errors import Rejected
from acp_runtime.service.bounds import cursor as checked
from acp_runtime.service.bounds import duration
from acp_runtime.service.facade import WaitMode
from acp_runtime.service.reading import Reading
from acp_runtime.store.store import Store
from acp_runtime.views import SubagentView, Waited, WaitReason

MAX_WAITED: Final = 100
ENDING_SECONDS: Final = 60.0  # an end has deadlines of its own; this is for a store that cannot write it down
_ENDING: Final = "SELECT 1 FROM subagent WHERE id = ? AND lifecycle = 'stopping'"
_ENDED: Final = "SELECT 1 FROM event WHERE kind IN ('task_ended', 'subagent_stopped', 'subagent_failed') AND stream"
_OPENED: Final = (
    "SELECT 1 FROM (SELECT subagent, opened_seq AS seq FROM request WHERE closed_seq IS NULL) WHERE subagent"
)


class Waiting:
    """One wait of one caller. Making one raises `Rejected` (invalid) for no or too many subagents."""

    def __init__(
        self, store: Store, reading: Reading, caller: Caller, subagents: Sequence[str], mode: WaitMode
    ) -> None:
        if not subagents or len(subagents) > MAX_WAITED:
            raise Rejected("invalid", f"name 1 to {MAX_WAITED} subagents to wait for, not {len(subagents)}")
        self._store = store
        self._reading = reading
        self._caller = caller
        self._subagents = subagents
        self._mode = mode
        self._goes_on = False

    async def run(self, *, seconds: float, since: int | None) -> Waited:
        """Return when the mode's condition holds, a question is open, or `seconds` have passed.

        `any_change`: something other than talk happened after the cursor `since` (by default: after the call), or
        nothing can happen any more. `all` and `first`: every one, or at least one, has no open task. With `since`, what
        an earlier wait returned for counts no more: `first` needs an end, and a question an opening, after it. So does
        a question that holds nobody up, in any wait.
        Raises `Rejected` (unknown_subagent, invalid).
        """
        seconds = duration("seconds", seconds)
        self._goes_on = since is not None
        cursor = await self._reading.seq() if since is None else checked("since", since)
        tick = self._store.tick
        waited = await self._look(cursor)
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while waited.reason is WaitReason.TIMEOUT:
                    await self._store.changed(tick)
                    tick = self._store.tick
                    # What an agent says changes nothing that a wait is for, and comes many times a second.
                    # For one that leads others it is theirs, and what it was told of them, that counts as well.
                    if any(view.awaits for view in waited.views) or await self._changed(waited.views, waited.seq):
                        waited = await self._look(cursor)
        return waited

    async def _look(self, cursor: int) -> Waited:
        """Return how things stand; the reason TIMEOUT stands for: nothing to return for yet."""
        seq = await self._reading.seq()
        views = tuple([await self._reading.status(self._caller, each) for each in self._subagents])
        return Waited(views, await self._reason(views, cursor), seq)

    async def _reason(self, views: tuple[SubagentView, ...], cursor: int) -> WaitReason:
        asking = [view for view in views if view.requests]
        held = not self._goes_on and any(view.held for view in asking)
        if held or (asking and await self._happened(_OPENED, asking, cursor)):
            return WaitReason.QUESTION
        settled = [view for view in views if view.settled]
        if len(settled) == len(views):
            return WaitReason.ENDED
        if self._mode == "first" and settled and (not self._goes_on or await self._happened(_ENDED, settled, cursor)):
            return WaitReason.ENDED
        if self._mode == "any_change" and await self._changed(views, cursor):
            return WaitReason.CHANGE
        return WaitReason.TIMEOUT

    async def _changed(self, views: Sequence[SubagentView], cursor: int) -> bool:
        return await self._happened("SELECT 1 FROM event WHERE kind <> 'transcript_added' AND stream", views, cursor)

    async def _happened(self, facts: str, views: Sequence[SubagentView], cursor: int) -> bool:
        """Return whether one of these facts about one of these subagents stands after the cursor."""
        marks = ", ".join("?" for _ in views)
        ids = (view.id for view in views)
        return bool(await self._store.query(f"{facts} IN ({marks}) AND seq > ? LIMIT 1", *ids, cursor))


async def until_ended(store: Store, subagent: str) -> None:
    """Return once a subagent that is ending has ended, at once for any other; after `ENDING_SECONDS` in any case."""
    with suppress(TimeoutError):
        async with asyncio.timeout(ENDING_SECONDS):
            while True:
                tick = store.tick
                if not await store.query(_ENDING, subagent):
                    return
                await store.changed(tick)
