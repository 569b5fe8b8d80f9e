"""An HTTP server of the daemon: uvicorn, with bounds, over sockets that are given to it."""

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Generator
from typing import Final

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from acp_runtime.api.unix_socket import peer

log = logging.getLogger(__name__)

ANSWER_SECONDS: Final = 20
KEEP_ALIVE_SECONDS: Final = 5


class Anyone(H11Protocol):
    """Waits for a request of a connection for some seconds only: for the first one, and for a next that has begun."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # a stream, no datagrams
        super().connection_made(transport)
        self.loop.call_later(ANSWER_SECONDS, self._end_unless_asked, None)

    def on_response_complete(self) -> None:
        answered = self.cycle
        super().on_response_complete()
        self.loop.call_later(ANSWER_SECONDS, self._end_unless_asked, answered)

    def _end_unless_asked(self, last: RequestResponseCycle | None) -> None:
        if self.cycle is last and not self.transport.is_closing():
            self.transport.abort()


class OwnUser(Anyone):
    """Talks to processes of this user only."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # a stream, no datagrams
        connection: socket.socket = transport.get_extra_info("socket")
        _, uid = peer(connection)
        if uid != os.geteuid():
            log.warning("a process of user %d was turned away", uid)
            transport.abort()
            return
        super().connection_made(transport)


class WebServer(uvicorn.Server):
    """Serves an application to at most so many connections; leaves the signals of the process alone."""

    def __init__(self, app: ASGIApp, protocol: type[Anyone], most: int) -> None:
        self._protocol = protocol
        super().__init__(
            uvicorn.Config(
                app,
                http=protocol,
                ws="none",
                lifespan="off",
                loop="none",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=ANSWER_SECONDS,
                limit_concurrency=most,
            )
        )

    @property
    def guests(self) -> int:
        """How many connections there are."""
        return len(self.server_state.connections)

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield

    async def listen(self, made: socket.socket) -> None:
        """Take requests over one more socket, until the end."""
        state, app_state = self.server_state, self.lifespan.state

        def protocol() -> Anyone:
            return self._protocol(config=self.config, server_state=state, app_state=app_state)

        self.servers.append(await asyncio.get_running_loop().create_server(protocol, sock=made))
