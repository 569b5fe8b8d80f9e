"""Where an agent's tools are served: a unix socket that the program `tools` in its sandbox reaches.

Promises: nobody is served without a token of this agent's attempt, compared in constant time, and each refusal is
told to who may count it; at most as many sessions at once as its door says; with the socket end its sessions. The
first line of a connection, and what is answered, are described in docs/framing.md.
"""

import asyncio
import hmac
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from acp_runtime.carrying.unix_listener import UnixListener

__all__ = ["TOKEN_VARIABLE", "Serve", "ToolsDoor", "ToolsSocket"]

log = logging.getLogger(__name__)

TOKEN_VARIABLE: Final = "SUBAGENTS_TOOLS_TOKEN"  # noqa: S105 - the name of a variable
HELLO: Final = "subagents-tools 1"
HELLO_SECONDS: Final = 5.0
MOST_WAITING: Final = 8
LONGEST_LINE: Final = 1_048_576

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter, bytes], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class ToolsDoor:
    """How the tools of one sandbox are served: to who has one of the `tokens`, by what stands there for it.

    `refused` hears of all others; at most `most` sessions are served at once. What serves is given the request with
    which the session began before, where it goes on behind a manager that ended.
    """

    tokens: Mapping[str, Serve] = field(repr=False)
    refused: Callable[[str], None]
    most: int = 8

    def serving(self, given: str) -> Serve | None:
        """Return what serves who has this token. Each is compared, so that the time taken tells nothing."""
        compared = [(hmac.compare_digest(given.encode(), token.encode()), token) for token in self.tokens]
        return next((self.tokens[token] for same, token in compared if same), None)


class ToolsSocket:
    """The listener. Owner: who made it; use as an async context manager."""

    def __init__(self, path: Path, door: ToolsDoor, *, gid: int | None) -> None:
        self._path = path
        self._door = door
        self._gid = gid
        self._listener: UnixListener | None = None
        self._server: asyncio.Server | None = None
        self._sessions: set[asyncio.Task[None]] = set()
        self._serving = 0

    async def __aenter__(self) -> Self:
        """Listen, for the group or this user alone. Raises `Rejected` (socket_refused)."""
        self._listener = UnixListener(self._path, self._gid, take=True)
        try:
            self._server = await asyncio.start_unix_server(self._take, sock=self._listener.socket, limit=LONGEST_LINE)
        except BaseException:
            self._listener.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
        for each in tuple(self._sessions):
            each.cancel()
        await asyncio.gather(*self._sessions, return_exceptions=True)
        if self._listener is not None:
            self._listener.close()

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or len(self._sessions) >= self._door.most + MOST_WAITING:
            writer.transport.abort()
            return
        self._sessions.add(task)
        try:
            await self._admit(reader, writer)
        except (OSError, ValueError, EOFError, TimeoutError) as error:
            log.info("a session of an agent's tools ends: %s", str(error) or type(error).__name__)
        except asyncio.CancelledError:
            pass  # the socket is being closed
        finally:
            self._sessions.discard(task)
            writer.close()

    async def _admit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(HELLO_SECONDS):
            words = (await reader.readline()).decode("ascii", "replace").strip().split(" ")
            again = words[3:] == ["again"]
            first = await reader.readline() if again else b""
        given = words[2] if len(words) == 3 + again else ""
        serve = self._door.serving(given) if " ".join(words[:2]) == HELLO else None
        if serve is None:
            self._door.refused("a connection to its tools had no token of this agent")
            await self._say(writer, "no token_refused: this is no token of this agent, or it has expired.")
            return
        if self._serving >= self._door.most:
            why = f"{self._door.most} sessions of this agent have its tools, and no more may at once"
            await self._say(writer, f"no busy: {why}; end one of them, or the agent, and begin this one again.")
            return
        await self._say(writer, "ok")
        self._serving += 1
        try:
            await serve(reader, writer, first)
        finally:
            self._serving -= 1

    async def _say(self, writer: asyncio.StreamWriter, word: str) -> None:
        writer.write(f"{word}\n".encode())
        await writer.drain()
