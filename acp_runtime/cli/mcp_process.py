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
    parent = terms.parent or parent_name(terms.client, terms.workspace, own_session())
    streams = tuple(_piped(descriptor) for descriptor in (0, 1))
    # Whatever else writes to standard output is heard, and is no message.
    os.dup2(2, 1)
    with ExitStack() as stack:
        if terms.parent is None:
            _register(terms, parent, stack)
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


def _register(terms: Terms, parent: str, stack: ExitStack) -> None:
    """Say that this process is there, for hooks of the same host. A session without hooks is none the worse."""
    host = host_of(terms.client)
    if host is None:
        return
    note = Note(parent, terms.client, str(root_of(terms.workspace)), host.pid, host.started)
    try:
        stack.enter_context(Registry(terms.runtime_dir).registered(note))
    except OSError as error:
        log.warning("hooks of this host will not find its MCP server: %s", error)


async def _serve(terms: Terms, parent: str, given: int, put: int) -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=CHUNK)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(given, "rb", 0))
    transport, protocol = await loop.connect_write_pipe(
        lambda: asyncio.StreamReaderProtocol(asyncio.StreamReader()), os.fdopen(put, "wb", 0)
    )
    writer = asyncio.StreamWriter(transport, protocol, None, loop)
    runtime = RemoteRuntime(Way(None, start=True))
    session = Session(
        Toolbox(Desk(runtime, parent, terms.workspace, limits=terms.limits), terms.sets), Telling(runtime, parent)
    )
    serving = asyncio.create_task(serve(session, reader, writer))
    for number in _ENDS:
        loop.add_signal_handler(number, serving.cancel)
    with suppress(asyncio.CancelledError):
        await serving
