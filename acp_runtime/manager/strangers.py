"""Counts who was refused at the tools of agents, and tells of it in an agent's log each time that its count doubled."""

import json
import logging
from collections import Counter
from collections.abc import Mapping

from acp_runtime.core.inputs import Heard
from acp_runtime.core.transcript import TOOLS_REFUSED, OtherEntry
from acp_runtime.manager.actor import Actor

__all__ = ["Strangers"]

log = logging.getLogger(__name__)


class Strangers:
    """Of all agents of a manager. `actors` has those that live."""

    def __init__(self, actors: Mapping[str, Actor]) -> None:
        self._actors = actors
        self._counts: Counter[str] = Counter()

    def refused(self, subagent: str, attempt: int, why: str) -> None:
        """Count one."""
        self._counts[subagent] = count = self._counts[subagent] + 1
        if count & (count - 1) == 0 and (actor := self._actors.get(subagent)) is not None:
            log.warning("%s: %s (%d so far)", subagent, why, count)
            actor.tell(Heard(attempt, (OtherEntry(TOOLS_REFUSED, json.dumps({"connections": count})),)))

    def forget(self, subagent: str) -> None:
        """Forget an agent that has ended."""
        del self._counts[subagent]
