"""The doubt whether the answer to a prompt is among output that was lost: it is acted upon when nothing clears it."""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from acp_runtime.session.calls import Calls
from acp_runtime.session.errors import AgentError
from acp_runtime.wire.acp import UpdateKind
from acp_runtime.wire.jsonrpc import Response

log = logging.getLogger(__name__)

DOUBT_SECONDS: Final = 30.0
LOST_ANSWER: Final = (
    "a part of what the agent wrote was lost and nothing came behind it: its answer may be lost too, so the outcome is "
    "unknown"
)
OF_A_TURN: Final = frozenset(
    {
        UpdateKind.AGENT_MESSAGE_CHUNK,
        UpdateKind.AGENT_THOUGHT_CHUNK,
        UpdateKind.TOOL_CALL,
        UpdateKind.TOOL_CALL_UPDATE,
        UpdateKind.PLAN,
    }
)
"""What shows behind a gap that the turn went on; others come behind an answer as well."""


class Doubt:
    """About the newest prompt of `calls`. `deaf` tells whether the agent cannot be heard, so that it says nothing.

    When nothing clears it the prompt fails, and `cancel` asks the agent to end the turn, should it go on all the same.
    """

    def __init__(self, calls: Calls, deaf: Callable[[], bool], cancel: Callable[[], None]) -> None:
        self._calls, self._deaf, self._cancel = calls, deaf, cancel
        self._timer: asyncio.TimerHandle | None = None

    def arise(self, offset: int, length: int) -> None:
        """Doubt, because so many bytes of what the agent wrote are lost."""
        log.warning("%d bytes that an agent wrote, from %d on, are lost", length, offset)
        self.clear()
        if (prompt := self._calls.prompt) is not None:
            self._wait(prompt)

    def clear(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def heard(self, kind: str) -> None:
        """Note an update of the session."""
        if self._timer is not None and kind in OF_A_TURN:
            self.clear()

    def _wait(self, prompt: asyncio.Future[Response]) -> None:
        self._timer = asyncio.get_running_loop().call_later(DOUBT_SECONDS, self._due, prompt)

    def _due(self, prompt: asyncio.Future[Response]) -> None:
        self._timer = None
        if prompt.done():
            return
        if self._deaf():
            self._wait(prompt)
            return
        self._cancel()
        prompt.set_exception(AgentError(LOST_ANSWER))
