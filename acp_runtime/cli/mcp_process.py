"""The MCP server of one client's process: the protocol on standard input and output, the tools by the daemon.

Promises: nothing but the protocol gets to standard output; the daemon is asked, and started, by the first call that
needs it, and each call finds the daemon that is there then; the end of standard input is the end.
"""

import asyncio
import logging
import os
import signal
import stat
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from acp_runtime.api.errors import DaemonError
from acp_runtime.api.exchange import Way
from acp_runtime.client import RemoteRuntime
from acp_runtime.core.errors import Rejected
from acp_runtime.mcp.host import host_of
from acp_runtime.mcp.identity import own_session, parent_name, root_of
from acp_runtime.mcp.registry import Note, Registry
from acp_runtime.mcp.session import Session
from acp_runtime.mcp.streams import CHUNK, serve
from acp_runtime.mcp.turns import Telling
from acp_runtime.tools import Desk, Limits, Toolbox

log = logging.getLogger(__name__)

_ENDS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class Terms:
    """What a client's process is started with. `parent` adopts a parent by its name; None is a session of its own."""

    client: str
    workspace: Path
    sets: tuple[str, ...]
    parent: str | None
    runtime_dir: Path
    limits: Limits | None


def run(terms: Terms) -> None:
    """Serve until standard input ends. Raises `Rejected` (invalid) where the process was not started by a client."""
    own = parent_name(terms.client, terms.workspace, own_session())
    streams = tuple(_piped(descriptor) for descriptor in (0, 1))
    # Whatever else writes to standard output is heard, and is no message.
    os.dup2(2, 1)
    with ExitStack() as stack:
        parent = terms.parent or _session(terms, own, stack)
        asyncio.run(_serve(terms, parent, streams[0], streams[1]))


def _piped(descriptor: int) -> int:
    """Return another number of a standard stream that can be waited on. Raises `Rejected` (invalid)."""
    kept = os.dup(descriptor)
    mode = os.fstat(kept).st_mode
    if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or os.isatty(kept)):
        what = "input" if descriptor == 0 else "output"
        raise Rejected(
            "invalid", f"standard {what} is no pipe: MCP clients start this command; `subagents mcp install` tells them"
        )
    return kept


def _session(terms: Terms, own: str, stack: ExitStack) -> str:
    """Return the parent that this process is: its host's session where a hook was here, else `own`.

    It says that it is there, for hooks of the same host. A session without hooks is none the worse.
    """
    host = host_of(terms.client)
    if host is None:
        return own
    registry, workspace = Registry(terms.runtime_dir), str(root_of(terms.workspace))
    waiting = registry.awaited(terms.client, workspace, host)
    note = Note(waiting or own, terms.client, workspace, host.pid, host.started)
    try:
        stack.enter_context(registry.registered(note, waiting))
    except OSError as error:
        log.warning("hooks of this host will not find its MCP server: %s", error)
    return note.parent


class _Introduction:
    """Makes this process's parent another name of the host session's, once the host says which session that is."""

    def __init__(self, runtime: RemoteRuntime, terms: Terms, parent: str) -> None:
        self._runtime = runtime
        self._terms = terms
        self._parent = parent
        self._session: str | None = None

    async def told(self, session: str) -> None:
        """Hear the id that came with a call. The first one counts: what was spawned is given to no other session."""
        if self._session is not None:
            if session != self._session:
                log.warning("one MCP server is used by two sessions of its host; it goes on for the first")
            return
        try:
            owner = parent_name(self._terms.client, self._terms.workspace, session)
            await self._runtime.alias(owner, self._parent)
        except DaemonError as error:
            log.warning("the session of the host is not known to the daemon yet: %s", error)
            return
        except Rejected as error:
            log.warning("the session of the host is left aside: %s", error)
        self._session = session


async def _serve(terms: Terms, parent: str, given: int, put: int) -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=CHUNK)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(given, "rb", 0))
    transport, protocol = await loop.connect_write_pipe(
        lambda: asyncio.StreamReaderProtocol(asyncio.StreamReader()), os.fdopen(put, "wb", 0)
    )
    writer = asyncio.StreamWriter(transport, protocol, None, loop)
    runtime = RemoteRuntime(Way(None, start=True))
    desk = Desk(runtime, parent, terms.workspace, limits=terms.limits)
    introduce = None if terms.parent else _Introduction(runtime, terms, parent).told
    session = Session(Toolbox(desk, terms.sets), Telling(runtime, parent), introduce)
    serving = asyncio.create_task(serve(session, reader, writer))
    for number in _ENDS:
        loop.add_signal_handler(number, serving.cancel)
    with suppress(asyncio.CancelledError):
        await serving
