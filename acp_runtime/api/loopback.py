"""The daemon's port of 127.0.0.1, where the configuration asks for one: MCP for who has the token.

Promises: nothing but MCP is served there; a port or a token file that cannot be had is said in the log and tried again,
and the daemon goes on without; at the end calls are answered, within bounds.
"""

import asyncio
import contextlib
import logging
import socket
from typing import Final

from acp_runtime.api.server import Front
from acp_runtime.api.web_server import ANSWER_SECONDS, Anyone, WebServer
from acp_runtime.clock import Clock
from acp_runtime.config import Config
from acp_runtime.core.errors import Rejected
from acp_runtime.mcp.token_file import NAME, token_at
from acp_runtime.service import Runtime

log = logging.getLogger(__name__)

ADDRESS: Final = "127.0.0.1"
AGAIN_SECONDS: Final = 5
MAX_CONNECTIONS: Final = 200
HELLO: Final = "mcp"


class Loopback:
    """The port of one daemon. Its address, and the name of the file with the token, stand in the daemon's hello."""

    def __init__(self, runtime: Runtime, config: Config, front: Front) -> None:
        self._runtime = runtime
        self._file = config.state_dir / NAME
        self._front = front
        self._server: WebServer | None = None

    @property
    def guests(self) -> int:
        """How many connections there are."""
        return 0 if self._server is None else self._server.guests

    async def serve(self, port: int, clock: Clock) -> None:
        """Serve until it is cancelled; then what was taken is answered first."""
        # Daemons without a port do not wait for the SDK.
        from acp_runtime.mcp.gate import Gate  # noqa: PLC0415
        from acp_runtime.mcp.web import Web  # noqa: PLC0415

        listener, token = await self._listening(port, clock)
        with contextlib.closing(listener):
            gate = Gate(listener.getsockname()[1], token)
            web = Web(self._runtime, gate, self._count)
            self._server = server = WebServer(web, Anyone, MAX_CONNECTIONS)
            async with contextlib.AsyncExitStack() as stack:
                serving = asyncio.create_task(server.serve([listener]))
                stack.push_async_callback(self._end, server, serving)
                await stack.enter_async_context(web.opened())
                self._front.hello[HELLO] = {"url": gate.url, "token_file": str(self._file)}
                log.info("serves MCP at %s; the token is in %s", gate.url, self._file)
                await asyncio.wait((serving,))

    def _count(self) -> None:
        self._front.calls += 1

    async def _listening(self, port: int, clock: Clock) -> tuple[socket.socket, str]:
        """Return socket and token once both can be had."""
        told = ""
        while True:
            try:
                token = token_at(self._file)
                return _listener(port), token
            except (OSError, Rejected) as error:
                why = f"the port {port} of {ADDRESS}: {error.strerror}" if isinstance(error, OSError) else str(error)
                if told != why:
                    told = why
                    log.warning("MCP is not served over HTTP: %s", why)
            await clock.until(clock.now() + AGAIN_SECONDS * 1000)

    async def _end(self, server: WebServer, serving: asyncio.Task[None]) -> None:
        self._front.hello.pop(HELLO, None)
        server.should_exit = True
        await asyncio.wait((serving,), timeout=2 * ANSWER_SECONDS)


def _listener(port: int) -> socket.socket:
    # Where the protocol is named, asyncio has each connection send at once, and no answer wait for the client's word.
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK, socket.IPPROTO_TCP)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((ADDRESS, port))
        made.listen(128)
    except OSError:
        made.close()
        raise
    return made
