"""Our requests to an agent: each waits for its one answer, or for the end of the channel."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

from acp_runtime.session.errors import SessionClosedError, agent_error
from acp_runtime.session.observer import Laid
from acp_runtime.session.outgoing import First
from acp_runtime.wire.acp import AgentMethod
from acp_runtime.wire.jsonrpc import Peer, Response


class Calls:
    """Those that are waiting. `post` queues a line for the agent, as `Outgoing.put` does.

    `prompt` is the answer to the newest prompt, there or to come: a failure that is put there is what its caller gets.
    """

    def __init__(self, peer: Peer, post: Callable[[bytes, First | None], None]) -> None:
        self._peer = peer
        self._post = post
        self._waiting: dict[int, asyncio.Future[Response]] = {}
        self._inherited: tuple[int, str, asyncio.Future[Response]] | None = None
        self.prompt: asyncio.Future[Response] | None = None
        self._closed: str | None = None

    async def call(self, method: str, params: dict[str, Any], laid: Laid | None = None) -> Any:
        """Send a request and return the result. Raises `AgentError` for an error and `SessionClosedError`."""
        if self._closed is not None:
            raise SessionClosedError(self._closed)
        ident, line = self._peer.request(method, params)
        answer = self._waiting[ident] = asyncio.get_running_loop().create_future()
        if method == AgentMethod.SESSION_PROMPT:
            self.prompt = answer
        self._post(line, None if laid is None else partial(laid, ident))
        return await self._result(ident, method, answer)

    @property
    def inherits(self) -> bool:
        """Whether there is a request of an earlier manager to `claim` or to `disown`."""
        return self._inherited is not None

    def inherit(self, ident: int, method: str) -> None:
        """Expect the answer to a prompt that an earlier manager sent."""
        self._peer.expect(ident, method)
        answer = self._waiting[ident] = asyncio.get_running_loop().create_future()
        answer.add_done_callback(lambda done: done.cancelled() or done.exception())  # it may be that nobody claims it
        self.prompt = answer
        self._inherited = ident, method, answer

    async def claim(self) -> Any:
        """Return the result of the inherited request, once. Raises as `call` does."""
        if self._inherited is None:
            raise LookupError("no request was inherited, or it was claimed")
        inherited, self._inherited = self._inherited, None
        return await self._result(*inherited)

    def disown(self) -> None:
        """Expect that answer no more: the agent never got the request."""
        if self._inherited is not None:
            (ident, _, answer), self._inherited = self._inherited, None
            self._waiting.pop(ident, None)
            answer.cancel()
            self._peer.forget(ident)

    def answered(self, response: Response) -> None:
        future = self._waiting.pop(response.id, None)
        if future is not None and not future.done():
            future.set_result(response)

    def close(self, reason: str) -> None:
        """Fail what waits, and all that is called from now on."""
        self._closed = reason
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(SessionClosedError(reason))
        self._waiting.clear()

    async def _result(self, ident: int, method: str, answer: asyncio.Future[Response]) -> Any:
        try:
            response = await answer
        finally:
            self._waiting.pop(ident, None)
            self._peer.forget(ident)
        if response.error is not None:
            raise agent_error(method, response.error)
        return response.result
