"""What sandboxes were refused to reach, brought to the actors of those that wanted it: each rule once at one time."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from acp_runtime.core.events import Event
from acp_runtime.core.inputs import Denied
from acp_runtime.core.wishes import MOST_UNMET, may_ask
from acp_runtime.gateway.records import Denial

if TYPE_CHECKING:
    from acp_runtime.manager.actor import Actor


class Wishing:
    """The wishes of all subagents that are about to be asked for; `actor` gives who lives."""

    def __init__(self, actor: Callable[[str], "Actor | None"]) -> None:
        self._actor = actor
        self._waiting: dict[str, set[str]] = {}

    def denied(self, denial: Denial) -> None:
        """Have a subagent ask for what it was refused to reach.

        An agent may go on to try, and an actor that waits for the store must not be given more and more.
        """
        actor = self._actor(denial.subagent)
        task = actor.state.active if actor is not None else None
        if actor is None or task is None or not may_ask(task.wishes, denial.rule):
            return
        waiting = self._waiting.setdefault(denial.subagent, set())
        if denial.rule not in waiting and len(waiting) < MOST_UNMET:
            waiting.add(denial.rule)
            asking = asyncio.create_task(actor.ask(Denied(denial.attempt, denial.rule)))
            asking.add_done_callback(partial(_settled, waiting, denial.rule))

    def forget(self, subagent: str) -> None:
        """Forget one that has ended."""
        self._waiting.pop(subagent, None)


def _settled(waiting: set[str], rule: str, asking: asyncio.Task[tuple[Event, ...]]) -> None:
    """Let a rule be asked for again. What came between is in the log of the actor."""
    waiting.discard(rule)
    if not asking.cancelled():
        asking.exception()
