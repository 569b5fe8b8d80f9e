"""Requests that the proxy makes itself, among those of others: their ids are such as nobody else gives."""

import asyncio
import secrets
from collections.abc import Callable
from typing import Any, Final

from acp_runtime.wire import jsontext

MAX_OPEN: Final = 1_024

Message = dict[str, Any]


class OwnRequests:
    """Our requests to one side. What answers them is ours, and nobody else hears of it, late answers too."""

    def __init__(self, say: Callable[[bytes], None]) -> None:
        self._say = say
        self._prefix = f"acp-subagents-{secrets.token_hex(8)}-"
        self._count = 0
        self._open: dict[str, asyncio.Future[Message]] = {}

    def ask(self, method: str, params: Any) -> tuple[str, "asyncio.Future[Message]"]:
        """Send a request; return its id and the future of its answer, the whole message. Raises `RuntimeError`."""
        if len(self._open) >= MAX_OPEN:
            raise RuntimeError(f"{MAX_OPEN} requests of ours wait for an answer: {method} is not sent")
        self._count += 1
        ident = f"{self._prefix}{self._count}"
        self._open[ident] = answer = asyncio.get_running_loop().create_future()
        self._say(jsontext.dump({"jsonrpc": "2.0", "id": ident, "method": method, "params": params})[:-1])
        return ident, answer

    def notify(self, method: str, params: Any) -> None:
        """Send a notification."""
        self._say(jsontext.dump({"jsonrpc": "2.0", "method": method, "params": params})[:-1])

    def forget(self, ident: str) -> None:
        """Wait no longer for an answer. Idempotent."""
        self._open.pop(ident, None)

    def owns(self, message: Message) -> bool:
        """Return whether a message answers one of ours."""
        ident = message.get("id")
        return message.get("method") is None and isinstance(ident, str) and ident.startswith(self._prefix)

    def taken(self, message: Any) -> bool:
        """Return whether a message answers one of ours; who asked is told."""
        if not isinstance(message, dict) or not self.owns(message):
            return False
        answer = self._open.pop(message["id"], None)
        if answer is not None and not answer.done():
            answer.set_result(message)
        return True
