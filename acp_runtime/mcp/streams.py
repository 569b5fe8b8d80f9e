"""A session over a pair of byte streams: one JSON-RPC message a line, as the protocol's stdio has it.

Promises: memory is bounded whatever the peer sends or does not read, what is no message is answered as the protocol
says, and when the peer leaves nothing of the session goes on but what must not be cut.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias, TypeVar

import anyio
import mcp_types as types
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.server.lowlevel import Server
from mcp.shared.message import ServerMessageMetadata, SessionMessage

from acp_runtime.mcp.message import MAX_MESSAGE, NoMessage, message_of
from acp_runtime.mcp.server import server_of
from acp_runtime.mcp.session import Session
from acp_runtime.wire.ndjson import LineSplitter, Oversized

log = logging.getLogger(__name__)

MAX_OPEN: Final = 64
T = TypeVar("T")
CHUNK: Final = 65_536
WRITE_SECONDS: Final = 60.0


async def serve(
    session: Session, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, max_line: int = MAX_MESSAGE
) -> None:
    """Serve a session until its peer leaves or reads no more; then the session and the writer are closed.

    A message of more than `max_line` bytes is refused; in place of an answer that is longer an error says so.
    """
    try:
        await _Link(session, reader, writer, max_line).run()
    finally:
        await session.close()
        await _close(writer)


async def _close(writer: asyncio.StreamWriter) -> None:
    """Let out what was said last, to a peer that still reads."""
    writer.close()
    try:
        async with asyncio.timeout(WRITE_SECONDS):
            await writer.wait_closed()
    except (OSError, TimeoutError):
        writer.transport.abort()


_Pair: TypeAlias = tuple[MemoryObjectSendStream[T], MemoryObjectReceiveStream[T]]


class _Link:
    """What goes to and fro between the bytes and the SDK's streams."""

    def __init__(
        self, session: Session, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, max_line: int
    ) -> None:
        self._session = session
        self._max_line = max_line
        self._reader = reader
        self._writer = writer
        self._room = asyncio.Semaphore(MAX_OPEN)

    async def run(self) -> None:
        heard_in, heard_out = anyio.create_memory_object_stream[SessionMessage | Exception](0)
        said_in, said_out = anyio.create_memory_object_stream[SessionMessage](0)
        server: Server[Any] = server_of(lambda _: self._session)
        with heard_in, heard_out, said_in, said_out:
            await self._serve(server, (heard_in, heard_out), (said_in, said_out))

    async def _serve(
        self, server: Server[Any], heard: _Pair[SessionMessage | Exception], said: _Pair[SessionMessage]
    ) -> None:
        (heard_in, heard_out), (said_in, said_out) = heard, said
        async with asyncio.TaskGroup() as group:
            hearing = group.create_task(self._ended(self._hear(heard_in)))
            saying = group.create_task(self._ended(self._say(said_out)))
            serving = group.create_task(server.run(heard_out, said_in, server.create_initialization_options()))
            await asyncio.wait((saying, serving), return_when=asyncio.FIRST_COMPLETED)
            for each in (hearing, serving, saying) if saying.done() else (hearing,):
                each.cancel()

    async def _ended(self, work: Awaitable[None]) -> None:
        """Whatever a peer does to its end of the streams is the end of the session, and no failure of ours."""
        try:
            await work
        except (OSError, TimeoutError, anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            log.info("the session of a client ends: %s", str(error) or type(error).__name__)

    async def _hear(self, heard: MemoryObjectSendStream[SessionMessage | Exception]) -> None:
        lines = LineSplitter(self._max_line)
        async with heard:
            while data := await self._reader.read(CHUNK):
                for line in lines.feed(data):
                    await self._take(line, heard.send)

    async def _take(self, line: bytes | Oversized, send: Callable[[SessionMessage], Awaitable[None]]) -> None:
        try:
            message = message_of(line, self._max_line)
        except NoMessage as refused:
            error = types.ErrorData(code=refused.code, message=str(refused))
            await self._write(types.JSONRPCError(jsonrpc="2.0", id=refused.ident, error=error))
            return
        metadata = None
        if isinstance(message, types.JSONRPCRequest):
            await self._room.acquire()
            metadata = ServerMessageMetadata(on_request_unanswered=self._unanswered)
        await send(SessionMessage(message, metadata))

    async def _unanswered(self) -> None:
        self._room.release()

    async def _say(self, said: MemoryObjectReceiveStream[SessionMessage]) -> None:
        async with said:
            async for each in said:
                whole = await self._write(each.message)
                if isinstance(each.message, types.JSONRPCResponse | types.JSONRPCError):
                    self._room.release()
                    if each.message.id is not None:
                        telling = self._session.telling
                        (telling.sent if whole else telling.unsent)(each.message.id)

    async def _write(self, message: types.JSONRPCMessage) -> bool:
        """Write a message, or that it is too long. Return whether it was written as it is."""
        line, whole = _line_of(message), True
        if len(line) > self._max_line and isinstance(message, types.JSONRPCResponse):
            whole = False
            sentence = (
                f"the answer has {len(line)} bytes, and at most {self._max_line} are carried: ask for less at once"
            )
            error = types.ErrorData(code=types.INTERNAL_ERROR, message=sentence)
            line = _line_of(types.JSONRPCError(jsonrpc="2.0", id=message.id, error=error))
        self._writer.write(line)
        async with asyncio.timeout(WRITE_SECONDS):
            await self._writer.drain()
        return whole


def _line_of(message: types.JSONRPCMessage) -> bytes:
    return message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n"
