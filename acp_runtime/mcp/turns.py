"""What a parent is told with the answers to its requests: the roster and its due nudges, until it has seen them.

The protocol has no turns. So each answer tells, and the call that follows an answer which was sent acknowledges it: who
asks on has read. A block that equals the newest acknowledged one is left out. Nothing here fails a request.
"""

import logging
import secrets
from collections.abc import Hashable
from typing import Final, Protocol

from acp_runtime.callers import Caller
from acp_runtime.core.errors import Rejected, SubagentsError
from acp_runtime.core.turns import Form, Origin
from acp_runtime.store.outbox import TurnContext

log = logging.getLogger(__name__)

DOOR: Final = "mcp"


class Turning(Protocol):
    """What is needed of a runtime; the contract stands at `Runtime`."""

    async def begin_turn(
        self, caller: Caller, door: str, turn_id: str, *, origin: Origin = Origin.USER, form: Form = Form.BLOCK
    ) -> TurnContext: ...

    async def commit_turn(self, token: str, *, only: tuple[str, ...] | None = None) -> None: ...


class Telling:
    """What one session of a parent is told, at a door of its own or at the one that the parent has anyway."""

    def __init__(self, runtime: Turning, parent: str, door: str = DOOR) -> None:
        self._runtime = runtime
        self._parent = parent
        self._door = door
        self._session = secrets.token_hex(8)
        self._made = 0
        self._made_for: dict[Hashable, TurnContext] = {}
        self._sent: list[TurnContext] = []
        self._seen = ""

    async def block(self, request: Hashable) -> str:
        """Return what the answer to a request tells beside its own; empty when there is nothing new to say."""
        self._made += 1
        turn = f"{self._session}.{self._made}"
        try:
            made = await self._runtime.begin_turn(self._parent, self._door, turn, origin=Origin.ANSWER)
        except SubagentsError as error:
            log.warning("%s is told nothing with this answer: %s", self._parent, error)
            return ""
        self._made_for[request] = made
        return "" if made.text == self._seen else made.text

    def sent(self, request: Hashable) -> None:
        """Note that the answer to a request is out: the next request acknowledges what it told."""
        if (made := self._made_for.pop(request, None)) is not None:
            self._sent.append(made)

    def unsent(self, request: Hashable) -> None:
        """Note that nobody gets the answer to a request: what it told is told again."""
        self._made_for.pop(request, None)

    async def answered(self, *, read: bool) -> None:
        """Acknowledge what earlier answers told, since a prompt was answered; where it was cancelled, tell that again.

        Who is cancelled leaves calls alone, and may have read nothing since its last one.
        """
        if not read:
            self._sent.clear()
            self._made_for.clear()
        await self.acknowledge()

    async def acknowledge(self) -> None:
        """Acknowledge what earlier answers told, for a new request. What cannot be stored now is with the next one."""
        while self._sent:
            seen = self._sent[0]
            try:
                if seen.nudges:
                    await self._runtime.commit_turn(seen.token)
            except Rejected as error:
                log.warning("what %s was told cannot be acknowledged: %s", self._parent, error)
            except SubagentsError as error:
                log.warning("what %s was told is not acknowledged yet: %s", self._parent, error)
                return
            # Two requests may acknowledge at once.
            if self._sent and self._sent[0] is seen:
                del self._sent[0]
            self._seen = seen.text
