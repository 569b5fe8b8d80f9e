"""Clients of the protocol, the SDK's own, over sockets to sessions in this process."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import anyio
import mcp_types as types
import pytest
from mcp import Client
from mcp.shared.message import SessionMessage

from acp_runtime.mcp.session import Session
from acp_runtime.mcp.streams import serve
from acp_runtime.mcp.turns import Telling
from tests.integration.manager.conftest import BOUND
from tests.integration.service.conftest import Bench, bench, ground

__all__ = ["bench", "ground"]


@dataclass
class Link:
    """One peer's end of a connection on which a session is served."""

    session: Session
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    serving: asyncio.Task[None]

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def hear(self) -> Any:
        async with asyncio.timeout(BOUND):
            return types.jsonrpc_message_adapter.validate_json(await self.reader.readline(), by_name=False)

    async def leave(self) -> None:
        self.writer.close()
        async with asyncio.timeout(BOUND):
            await self.serving

    # ---- the SDK's transport

    async def __aenter__(self) -> Any:
        heard_in, heard_out = anyio.create_memory_object_stream[SessionMessage | Exception](0)
        said_in, said_out = anyio.create_memory_object_stream[SessionMessage](0)

        async def hear() -> None:
            with suppress(anyio.ClosedResourceError, anyio.BrokenResourceError):
                async with heard_in:
                    while line := await self.reader.readline():
                        message = types.jsonrpc_message_adapter.validate_json(line, by_name=False)
                        await heard_in.send(SessionMessage(message))

        async def say() -> None:
            async with said_out:
                async for each in said_out:
                    await self.say(each.message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n")

        self._work = [asyncio.create_task(hear()), asyncio.create_task(say())]
        return heard_out, said_in

    async def __aexit__(self, *_: object) -> None:
        for each in self._work:
            each.cancel()
        await asyncio.gather(*self._work, return_exceptions=True)


def session_of(bench: Bench) -> Session:
    """Return a new session of the bench's parent."""
    return Session(bench.tools, Telling(bench.runtime, bench.parent))


@asynccontextmanager
async def linked(bench: Bench, **bounds: int) -> AsyncIterator[Link]:
    """A connection to a session of the bench's parent; at the end it has left."""
    ours, theirs = socket.socketpair()
    session = session_of(bench)
    serving = asyncio.create_task(serve(session, *await asyncio.open_unix_connection(sock=ours), **bounds))
    reader, writer = await asyncio.open_unix_connection(sock=theirs)
    link = Link(session, reader, writer, serving)
    try:
        yield link
    finally:
        await link.leave()


@asynccontextmanager
async def client_of(bench: Bench, mode: str = "auto") -> AsyncIterator[Client]:
    """The SDK's client, connected to a session of its own."""
    async with linked(bench) as link, Client(link, mode=mode, cache=None) as client:
        yield client


MODES = ("2026-07-28", "legacy")


Connect = Callable[[], AbstractAsyncContextManager[Client]]


@pytest.fixture(params=MODES)
def connect(bench: Bench, request: pytest.FixtureRequest) -> Connect:
    """What connects a client of one era of the protocol to the bench's parent."""
    return lambda: client_of(bench, request.param)
