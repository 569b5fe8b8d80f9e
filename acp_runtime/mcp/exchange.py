"""One HTTP request, until its answer is out or nobody is there to hear it.

HTTP says of no answer that it was read. What is known: that it was handed to the connection while the client was there.
"""

import asyncio
import json
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import anyio
from starlette.types import Message, Receive, Send

from acp_runtime.mcp.turns import Telling

KEY: Final = "subagents.exchange"


class Exchange:
    """A request and its answer, between the server and the connection."""

    def __init__(self, body: bytes, receive: Receive, send: Send) -> None:
        self._body: bytes | None = body
        self._receive = receive
        self._send = send
        self._over = False
        self._scopes: set[anyio.CancelScope] = set()
        self._told: tuple[Telling, Hashable] | None = None
        self.reads_only = False

    def tells(self, telling: Telling, key: Hashable) -> None:
        """Note whose answer it carries."""
        self._told = (telling, key)

    @contextmanager
    def cut(self) -> Iterator[None]:
        """Bound the work for the answer: `end` cuts it. What was cut goes on behind the block."""
        with anyio.CancelScope() as scope:
            self._scopes.add(scope)
            if self._over:
                scope.cancel()
            try:
                yield
            finally:
                self._scopes.discard(scope)

    def end(self) -> None:
        """Nobody hears the answer, or nobody is to wait for it: its work ends, and what it told is told again."""
        self._over = True
        for each in self._scopes:
            each.cancel()
        if self._told is not None:
            self._told[0].unsent(self._told[1])

    async def receive(self) -> Message:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self.end()
        return message

    async def send(self, message: Message) -> None:
        answers = message["type"] == "http.response.body" and _answers(message.get("body", b""))
        if answers and await self._left():
            self.end()
        await self._send(message)
        # No other request is read before: who asks on, having this answer, acknowledges it.
        if answers and self._told is not None:
            self._told[0].sent(self._told[1])

    async def _left(self) -> bool:
        """Return whether the client has closed the connection, as far as that is known now."""
        try:
            async with asyncio.timeout(0):
                return bool((await self._receive())["type"] == "http.disconnect")
        except TimeoutError:
            return False


def _answers(data: bytes) -> bool:
    """Return whether a piece of a body is the answer, and not what is told before it: progress, or a sign of life."""
    for line in data.splitlines():
        text = line.removeprefix(b"data:").strip()
        if text.startswith(b"{"):
            message: Any = json.loads(text)
            return "method" not in message
    return False
