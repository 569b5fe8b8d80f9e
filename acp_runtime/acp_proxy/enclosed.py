"""A conversation with an agent in a sandbox: all that goes to or comes from the agent passes the enclosure.

In a row: the editor, the conversation, the enclosure, the agent. So the conversation reads of the agent what every
parser reads alike, and what it says to the agent itself is named as the sandbox has it. What the editor is shown of
subagents, and is asked for them, no word of the agent changes.
"""

import json
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Final

from acp_runtime.acp_proxy.agent import Say
from acp_runtime.acp_proxy.conversation import Conversation
from acp_runtime.acp_proxy.enclosure import Enclosure
from acp_runtime.acp_proxy.ordered import Passed
from acp_runtime.wire.ndjson import Oversized

__all__ = ["Enclosed"]

log = logging.getLogger(__name__)

_NAMES: Final = frozenset({"sessionid", "toolcallid"})


class Enclosed:
    """One editor and one agent. Each half is made with what writes a line to the editor, and one to the agent."""

    def __init__(
        self,
        say_editor: Say,
        say_agent: Say,
        *,
        conversation: Callable[[Say, Say], Conversation],
        enclosure: Callable[[Say, Say], Enclosure],
    ) -> None:
        self._say_editor = say_editor
        self._say_agent = say_agent
        self._conversation = conversation(say_editor, self._to_agent)
        self._enclosure = enclosure(self._refused, say_agent)
        self._told = False

    async def close(self) -> None:
        """Do nothing more by ourselves. Idempotent."""
        await self._conversation.close()

    def from_editor(self, line: bytes | Oversized) -> Passed:
        """Return what goes to the agent for one line of the editor, or a coroutine that returns it and never raises."""
        passed = self._conversation.from_editor(self._enclosure.without_servers(line))
        return self._enclosed(passed) if isinstance(passed, list) else self._later(passed)

    def from_agent(self, line: bytes | Oversized) -> list[bytes]:
        """Return what goes to the editor for one line of the agent."""
        plain = [each for each in self._enclosure.from_agent(line) if not self._is_forged(each)]
        return [told for each in plain for told in self._conversation.from_agent(each)]

    def _is_forged(self, line: bytes) -> bool:
        """Return whether a message names what we show of a subagent, by whichever of two names a parser goes."""
        if not self._conversation.leads or not any(map(self._conversation.shows, _named(line))):
            return False
        if not self._told:  # an agent may go on
            self._told = True
            log.warning("the agent spoke in the name of a subagent: that is not passed on")
        return True

    def _enclosed(self, lines: list[bytes]) -> list[bytes]:
        return [each for line in lines for each in self._enclosure.from_editor(line)]

    async def _later(self, passed: Coroutine[Any, Any, list[bytes]]) -> list[bytes]:
        return self._enclosed(await passed)

    def _to_agent(self, line: bytes) -> None:
        for each in self._enclosure.from_editor(line):
            self._say_agent(each)

    def _refused(self, line: bytes) -> None:
        """Answer for the agent: the conversation remembers what waits for an answer."""
        for each in self._conversation.from_agent(line):
            self._say_editor(each)


def _named(line: bytes) -> list[str]:
    found: list[str] = []

    def note(pairs: list[tuple[str, Any]]) -> None:
        found.extend(value for name, value in pairs if name.casefold() in _NAMES and isinstance(value, str))

    json.loads(line, object_pairs_hook=note)
    return found
