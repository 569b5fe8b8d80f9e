"""The same server over streamable HTTP, as an ASGI application: whoever comes past the gate, in a session or without.

Promises: bodies, sessions and times are bounded; a client that leaves ends what it waited for, and what its call was
changing is finished; what its answer told is told again.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import mcp_types as types
from mcp.server.context import CallNext, HandlerResult
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.shared.exceptions import MCPError
from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from acp_runtime.core.errors import Rejected
from acp_runtime.mcp.exchange import KEY, Exchange
from acp_runtime.mcp.gate import Gate, TurnedAway
from acp_runtime.mcp.guests import SESSION, Guest, Guests
from acp_runtime.mcp.message import MAX_MESSAGE, NoMessage, message_of
from acp_runtime.mcp.server import Context, server_of
from acp_runtime.mcp.session import Session
from acp_runtime.service import Runtime
from acp_runtime.tools import TOOLSETS

log = logging.getLogger(__name__)

MAX_BODY: Final = MAX_MESSAGE
BODY_SECONDS: Final = 20.0
MAX_SESSIONS: Final = 100
IDLE_SECONDS: Final = 1800.0
CLOSE_SECONDS: Final = 10.0
_READS: Final = frozenset(tool.name for each in TOOLSETS.values() for tool in each if tool.kind == "read")


class Web:
    """The application of one runtime behind a gate. `taken` is called for each request that comes in.

    Serve it within `opened`.
    """

    def __init__(self, runtime: Runtime, gate: Gate, taken: Callable[[], None]) -> None:
        self._gate = gate
        self._taken = taken
        self._guests = Guests(runtime)
        self._open: set[Exchange] = set()
        self._none_open = asyncio.Event()
        self._closing = False
        server = server_of(self._session, lambda ctx, ident: (_line(ctx), ident))
        server.middleware.append(self._bound)
        # Nothing in our schemas is said in headers.
        server.get_tool_input_schema = lambda _: None
        self._manager = StreamableHTTPSessionManager(
            server, session_idle_timeout=IDLE_SECONDS, max_sessions=MAX_SESSIONS, max_request_body_size=MAX_BODY
        )

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Take requests within the block. At its end waits are cut, other calls are answered, within bounds."""
        async with self._manager.run():
            try:
                yield
            finally:
                await self._close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refusal(scope)
        body = await _body(receive) if refusal is None else refusal
        if scope["method"] == "POST" and isinstance(body, bytes):
            body = _message(body)
        if isinstance(body, TurnedAway):
            log.info("a request is refused with %d: %s", body.status, body.sentence)
            await body.response()(scope, receive, send)
            return
        exchange = Exchange(body, receive, send)
        self._taken()
        if scope["method"] == "POST":  # a standing stream answers nothing
            self._open.add(exchange)
            self._none_open.clear()
        try:
            await self._manager.handle_request({**scope, KEY: exchange}, exchange.receive, exchange.send)
        finally:
            exchange.end()
            self._open.discard(exchange)
            if not self._open:
                self._none_open.set()

    def _refusal(self, scope: Scope) -> TurnedAway | None:
        refusal = self._gate.refusal(scope["path"], scope["headers"])
        if refusal is None and self._closing:
            sentence = "the daemon is being closed; ask again, the next one goes on where it was"
            return TurnedAway(503, sentence, code=types.INTERNAL_ERROR)
        return refusal

    def _session(self, ctx: Context) -> Session:
        request, exchange = _request(ctx)
        try:
            session = self._guests.session(Guest.of(request, ctx.params))
        except Rejected as error:
            raise MCPError(types.INVALID_PARAMS, str(error), {"kind": error.kind}) from error
        if ctx.request_id is not None:
            exchange.tells(session.telling, (_line(ctx), ctx.request_id))
        return session

    async def _bound(self, ctx: Context, call_next: CallNext) -> HandlerResult:
        """Answer a request for as long as somebody is there to hear it."""
        if ctx.request_id is None:
            return await call_next(ctx)
        _, exchange = _request(ctx)
        exchange.reads_only = (ctx.params or {}).get("name") in _READS
        with exchange.cut():
            return await call_next(ctx)
        raise MCPError(types.INTERNAL_ERROR, "the wait was ended, with the daemon or the connection; ask again")

    async def _close(self) -> None:
        self._closing = True
        for each in self._open:
            if each.reads_only:
                each.end()
        if self._open:
            try:
                async with asyncio.timeout(CLOSE_SECONDS):
                    await self._none_open.wait()
            except TimeoutError:
                log.info("%d requests are left without an answer", len(self._open))
        await self._guests.close()


def _line(ctx: Context) -> object:
    """Return within what the ids of requests are different from each other."""
    request, exchange = _request(ctx)
    return request.headers.get(SESSION) or exchange


def _request(ctx: Context) -> tuple[Request, Exchange]:
    request: Any = ctx.request
    return request, request.scope[KEY]


async def _body(receive: Receive) -> bytes | TurnedAway:
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while True:
                message: Message = await receive()
                if message["type"] != "http.request":
                    return TurnedAway(400, "the client left before the whole request was there")
                body += message.get("body", b"")
                if len(body) > MAX_BODY:
                    return TurnedAway(
                        413, f"the request is larger than {MAX_BODY} bytes; give the agent a file instead"
                    )
                if not message.get("more_body", False):
                    return bytes(body)
    except TimeoutError:
        return TurnedAway(408, f"the request was not there within {BODY_SECONDS:g} s; nothing was done")


def _message(body: bytes) -> bytes | TurnedAway:
    """Return the message in a body, as the SDK can read it."""
    try:
        return message_of(body).model_dump_json(by_alias=True, exclude_unset=True).encode()
    except NoMessage as error:
        return TurnedAway(400, str(error), code=error.code)
