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

    async def run(self, *, seconds: float, since: int | None) -> Waited:
        """Return when the mode's condition holds, a question is open, or `seconds` have passed.

        `any_change`: something other than talk happened after the cursor `since` (by default: after the call), or
        nothing can happen any more. `all` and `first`: every one, or at least one, has no open task. Raises `Rejected`
        (unknown_subagent, invalid).
        """
        seconds = duration("seconds", seconds)
        cursor = await self._reading.seq() if since is None else checked("since", since)
        tick = self._store.tick
        waited = await self._look(cursor)
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while waited.reason is WaitReason.TIMEOUT:
                    await self._store.changed(tick)
                    tick = self._store.tick
                    # What an agent says changes nothing that a wait is for, and comes many times a second.
                    if await self._changed(waited.views, waited.seq):
                        waited = await self._look(cursor)
        return waited

    async def _look(self, cursor: int) -> Waited:
        """Return how things stand; the reason TIMEOUT stands for: nothing to return for yet."""
        seq = await self._reading.seq()
        views = tuple([await self._reading.status(self._caller, each) for each in self._subagents])
        return Waited(views, await self._reason(views, cursor), seq)

    async def _reason(self, views: tuple[SubagentView, ...], cursor: int) -> WaitReason:
        if any(view.requests for view in views):
            return WaitReason.QUESTION
        settled = [view.settled for view in views]
        if all(settled) or (self._mode == "first" and any(settled)):
            return WaitReason.ENDED
        if self._mode == "any_change" and await self._changed(views, cursor):
            return WaitReason.CHANGE
        return WaitReason.TIMEOUT

    async def _changed(self, views: tuple[SubagentView, ...], cursor: int) -> bool:
        marks = ", ".join("?" for _ in views)
        found = await self._store.query(
            f"SELECT 1 FROM event WHERE stream IN ({marks}) AND seq > ? AND kind <> 'transcript_added' LIMIT 1",  # noqa: S608
            *(view.id for view in views),
            cursor,
        )
        return bool(found)
