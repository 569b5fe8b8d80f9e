"""The tools of a subagent, served over the connection that its sandbox made: two for a leaf, more for who leads.

A session that went on behind a manager that ended begins here with the request with which it began there; the answer to
that its client has already.
"""

import asyncio
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any, Final, cast

from acp_runtime.callers import Leader
from acp_runtime.manager.leading import DOOR
from acp_runtime.mcp.session import Progress, Session, Told
from acp_runtime.mcp.streams import serve
from acp_runtime.mcp.turns import Telling
from acp_runtime.service import Runtime
from acp_runtime.service.inside import Inside
from acp_runtime.service.turning import acknowledging
from acp_runtime.tools import Desk, Limits, Tool, Toolbox
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
    limits = Limits.below(runtime.config, state) if leads else None
    desk = Desk(runtime, leader, Path(state.order.workspace), inside=inside, limits=limits)
    toolbox = Toolbox(desk, ("background",) if leads else (), more=INSIDE)
    telling = _Telling(runtime, leader, inside, leads=leads)
    with inside.telling(telling.answered):
        await serve_sandbox(_Session(toolbox, telling), reader, writer, first)


async def serve_sandbox(
    session: Session, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, first: bytes
) -> None:
    """Serve a session over a connection from a sandbox until it leaves. `first`: with what it began, empty if new."""
    if first:
        reader = cast("asyncio.StreamReader", _Reader(reader, first + _INITIALIZED))
        writer = cast("asyncio.StreamWriter", _Writer(writer))
    await serve(session, reader, writer, max_line=MAX_LINE)


class _Telling(Telling):
    """What one session of a subagent is told: of those that it `leads`, and what it was answered to its questions.

    Its prompts tell it too: what is lost on one of the ways is told again on whichever comes first.
    """

    def __init__(self, runtime: Runtime, leader: Leader, inside: Inside, *, leads: bool) -> None:
        super().__init__(runtime, leader, DOOR)
        self._inside = inside
        self._leads = leads
        self._carried: dict[Hashable, str] = {}
        self._out: set[str] = set()

    def carries(self, request: Hashable, question: str) -> None:
        """Note that the answer to a request is the answer to a question."""
        self._carried[request] = question

    async def block(self, request: Hashable) -> str:
        return await super().block(request) if self._leads else ""

    def sent(self, request: Hashable) -> None:
        super().sent(request)
        if (question := self._carried.pop(request, None)) is not None:
            self._out.add(question)

    def unsent(self, request: Hashable) -> None:
        super().unsent(request)
        self._carried.pop(request, None)

    async def answered(self, *, read: bool) -> None:
        if not read:
            self._carried.clear()
            self._out.clear()
        await super().answered(read=read)

    async def acknowledge(self) -> None:
        await super().acknowledge()
        for question in tuple(self._out):
            with acknowledging("an answer to an agent's question"):
                await self._inside.read(question)
                self._out.discard(question)


class _Session(Session):
    """Of a subagent: what it is answered to its questions is told until it has read it."""

    def __init__(self, toolbox: Toolbox, telling: _Telling) -> None:
        super().__init__(toolbox, telling)
        self._told = telling

    async def call(
        self, request: Hashable, tool: Tool, arguments: Mapping[str, Any] | None, progress: Progress
    ) -> Told:
        told = await super().call(request, tool, arguments, progress)
        if tool.name == "ask_parent" and told.answer.get("status") == "answered":
            self._told.carries(request, told.answer["request_id"])
        return told


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
