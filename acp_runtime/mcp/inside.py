"""The tools of a subagent, served over the connection that its sandbox made: two for a leaf, more for who leads.

A session that went on behind a manager that ended begins here with the request with which it began there; the answer to
that its client has already.
"""

import asyncio
from collections.abc import Hashable
from pathlib import Path
from typing import Final, cast

from acp_runtime.callers import Leader
from acp_runtime.manager.leading import DOOR
from acp_runtime.mcp.session import Session
from acp_runtime.mcp.streams import serve
from acp_runtime.mcp.turns import Telling
from acp_runtime.service import Runtime
from acp_runtime.service.inside import Inside
from acp_runtime.tools import Desk, Toolbox
from acp_runtime.tools.inside import INSIDE

__all__ = ["serve_inside", "serve_sandbox"]

# A sandbox may have several sessions, and what its agent sends is kept here. A task of a million ASCII characters fits.
MAX_LINE: Final = 1024 * 1024
_INITIALIZED: Final = b'{"jsonrpc":"2.0","method":"notifications/initialized"}\n'


async def serve_inside(
    runtime: Runtime, inside: Inside, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, first: bytes
) -> None:
    """Serve a session of a subagent until it leaves. `first`: with what it began, empty for a new one."""
    state = inside.state
    if state is None:
        return
    leads = state.order.lineage.leads
    leader = Leader(state.id)
    desk = Desk(runtime, leader, Path(state.order.workspace), inside=inside)
    toolbox = Toolbox(desk, ("background",) if leads else (), more=INSIDE)
    # Its prompts tell it too: what is lost on one of the ways is told again on whichever comes first.
    telling = Telling(runtime, leader, DOOR) if leads else _Silence(runtime, leader)
    with inside.telling(telling.answered):
        await serve_sandbox(Session(toolbox, telling), reader, writer, first)


async def serve_sandbox(
    session: Session, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, first: bytes
) -> None:
    """Serve a session over a connection from a sandbox until it leaves. `first`: with what it began, empty if new."""
    if first:
        reader = cast("asyncio.StreamReader", _Reader(reader, first + _INITIALIZED))
        writer = cast("asyncio.StreamWriter", _Writer(writer))
    await serve(session, reader, writer, max_line=MAX_LINE)


class _Silence(Telling):
    """Tells nothing: a leaf has nobody of whom there is anything to tell."""

    async def block(self, request: Hashable) -> str:  # noqa: ARG002 - the signature of who tells
        return ""


class _Reader:
    """Gives what was said before, and then what comes."""

    def __init__(self, reader: asyncio.StreamReader, before: bytes) -> None:
        self._reader = reader
        self._before = before

    async def read(self, most: int) -> bytes:
        if self._before:
            given, self._before = self._before[:most], self._before[most:]
            return given
        return await self._reader.read(most)


class _Writer:
    """Writes all but the first message."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._answered = False

    def write(self, data: bytes) -> None:
        if self._answered:
            self._writer.write(data)
        self._answered = True

    def __getattr__(self, name: str) -> object:
        return getattr(self._writer, name)
