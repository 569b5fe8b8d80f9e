"""Messages of an agent that name a session which is not its own: dropped by who receives them, and counted here.

They are told to the log of the daemon once, and to the agent's own transcript each time that their count has doubled:
a flood of them is a few entries.
"""

import asyncio
import logging

from acp_runtime.session.transcript import Coalescer

log = logging.getLogger(__name__)


class Strays:
    """The count of one session. `dirty` is set when there is something new in `updates`."""

    def __init__(self, updates: Coalescer, dirty: asyncio.Event) -> None:
        self._updates = updates
        self._dirty = dirty
        self.count = 0

    def drop(self) -> None:
        """Count one."""
        self.count += 1
        if self.count == 1:
            log.warning("an agent sent a message for another session than its own; such are dropped and counted")
        if self.count & (self.count - 1) == 0:
            self._updates.stray(self.count)
            self._dirty.set()
