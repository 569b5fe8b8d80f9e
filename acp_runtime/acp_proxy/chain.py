"""The proxy as a link of a chain: a conductor starts it, and is its editor and the way to its agent at once.

What the conductor says in plain form comes from the editor's side; what it wraps into `proxy/successor` comes from the
agent's side, and so goes what we say to either. Each request is passed on under the id it came with: the conductor gave
all of them, so no two are the same, and an answer passes as the very bytes. A cancellation names such an id, so it is
never wrapped.
"""

import logging
from collections.abc import Callable
from typing import Any, Final

from acp_runtime.acp_proxy.conversation import Conversation
from acp_runtime.acp_proxy.ordered import Passed
from acp_runtime.wire import acp, jsontext
from acp_runtime.wire.acp import AgentMethod
from acp_runtime.wire.jsonspans import find, spliced
from acp_runtime.wire.ndjson import Oversized

log = logging.getLogger(__name__)

SUCCESSOR: Final = "proxy/successor"
INITIALIZE: Final = "proxy/initialize"
# Conductors of crates up to 2.0 name the same so.
OLD_SUCCESSOR: Final = "_proxy/successor"
OLD_INITIALIZE: Final = "_proxy/initialize"
_ALONE: Final = (
    "this proxy was started without an agent's command, as a link of a chain: its first call is proxy/initialize"
)


class Chain:
    """One link. `conversation` is between the two sides; `say` writes to the conductor."""

    def __init__(
        self, say: Callable[[bytes], None], conversation: Callable[[Callable[[bytes], None]], Conversation]
    ) -> None:
        self._successor = SUCCESSOR
        self._hello: bytes | None = None
        self.conversation = conversation(lambda line: say(self._wrapped(line)))

    def is_from_agent(self, line: bytes | Oversized) -> bool:
        """Return whether a line comes from the agent's side."""
        if isinstance(line, Oversized):
            seen = jsontext.peek(line.prefix, line.tail)
            return "method" not in seen.names and self.conversation.expects({"id": seen.id})
        message = _parsed(line)
        if message.get("method") is None:
            return self.conversation.expects(message)
        return message["method"] in (SUCCESSOR, OLD_SUCCESSOR)

    def from_agent(self, line: bytes | Oversized) -> list[bytes]:
        """Return what the conductor gets for a line from the agent's side."""
        if isinstance(line, Oversized):
            return self.conversation.from_agent(line)
        message = _parsed(line)
        if message.get("method") is not None:
            return self.conversation.from_agent(_unwrapped(line))
        if self._hello is not None and _parsed(self._hello).get("id") == message.get("id"):
            hello, self._hello = self._hello, None
            if self._successor == SUCCESSOR and _is_unknown(message.get("error")):
                self._successor = OLD_SUCCESSOR
                return [self._wrapped(hello)]
        return self.conversation.from_agent(line)

    def from_editor(self, line: bytes | Oversized) -> Passed:
        """Return what the conductor gets for a line from the editor's side."""
        message = {} if isinstance(line, Oversized) else _parsed(line)
        method = message.get("method")
        if isinstance(line, bytes) and not message:
            log.warning("a line of the conductor that is no message was not passed on")
            return []
        if isinstance(line, bytes) and method in (INITIALIZE, OLD_INITIALIZE):
            self._successor = SUCCESSOR if method == INITIALIZE else OLD_SUCCESSOR
            span = find(line, "method")
            line = self._hello = line if span is None else spliced(line, [(span, b'"initialize"')])
        elif method == AgentMethod.INITIALIZE:
            error = {"code": acp.ErrorCode.INVALID_REQUEST, "message": _ALONE}
            return [jsontext.dump({"jsonrpc": "2.0", "id": message.get("id"), "error": error})[:-1]]
        passed = self.conversation.from_editor(line)
        if isinstance(passed, list):
            return [self._wrapped(each) for each in passed]
        return self._later(passed)

    async def _later(self, passed: Any) -> list[bytes]:
        return [self._wrapped(each) for each in await passed]

    def _wrapped(self, line: bytes) -> bytes:
        """Return a message to the agent's side as the conductor takes it; answers and cancellations are not wrapped."""
        method = _parsed(line).get("method")
        if method is None or method == acp.CANCEL_REQUEST:
            return line
        parts = [b'{"jsonrpc":"2.0"', *_member(line, "id"), b',"method":' + jsontext.dump(self._successor)[:-1]]
        inner = b",".join(each[1:] for each in (*_member(line, "method"), *_member(line, "params")))
        return b"".join((*parts, b',"params":{', inner, b"}}"))


def _is_unknown(error: Any) -> bool:
    return isinstance(error, dict) and error.get("code") == acp.ErrorCode.METHOD_NOT_FOUND


def _unwrapped(line: bytes) -> bytes:
    """Return the message in an envelope of the conductor, under the envelope's id."""
    inner = (*_member(line, "id"), *_member(line, "method", "params"), *_member(line, "params", "params"))
    return b"".join((b'{"jsonrpc":"2.0"', *inner, b"}"))


def _member(line: bytes, name: str, *within: str) -> list[bytes]:
    """Return a member as it stands in the text, with a comma before it; nothing where there is none."""
    span = find(line, *within, name)
    return [] if span is None else [f',"{name}":'.encode() + line[slice(*span)]]


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        found = jsontext.parse(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
