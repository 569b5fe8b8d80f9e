"""Where managers speak to the gateway: a socket for processes of this user alone.

Promises: a line that is broken or too long is answered by name, ends its connection and touches no other; before its
hello a connection has `HELLO_SECONDS`; each has at most `AT_ONCE` requests under way, and all together are `MOST`. No
answer and no log holds what a request held.
"""

import asyncio
import logging
import os
import socket
import struct
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from acp_runtime import __version__
from acp_runtime.carrying.unix_listener import UnixListener
from acp_runtime.core.errors import Rejected
from acp_runtime.gateway.account_reading import read_account
from acp_runtime.gateway.errors import GatewayError
from acp_runtime.gateway.gateway import Gateway
from acp_runtime.gateway.lines import LONGEST, Json, line_of, message_of, read_line
from sandbox.errors import SandboxError

__all__ = ["Control"]

log = logging.getLogger(__name__)

HELLO_SECONDS: Final = 10.0
ANSWER_SECONDS: Final = 10.0
WATCH_SECONDS: Final = 1.0
MOST, AT_ONCE = 32, 64
LONGEST_GRACE: Final = 600.0
_CREDENTIALS: Final = struct.Struct("3i")


class Control:
    """The server of one gateway's managers. Use `async with`."""

    def __init__(self, path: Path, store: str, gateway: Gateway) -> None:
        self._path = path
        self._store = store
        self._gateway = gateway
        self._connections: set[asyncio.Task[None]] = set()
        self._listeners: list[tuple[UnixListener, asyncio.AbstractServer]] = []

    async def __aenter__(self) -> Self:
        """Listen. Raises Rejected (`socket_refused`)."""
        await self._listen()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for listener, server in self._listeners:
            server.close()
            listener.close()
        for each in self._connections:
            each.cancel()
        if self._connections:
            await asyncio.wait(self._connections)

    async def watch(self) -> None:
        """Listen anew whenever somebody has removed the socket: nobody could find the gateway otherwise."""
        told = ""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            if self._listeners[-1][0].found:
                continue
            try:
                await self._listen()
            except Rejected as error:
                if told != str(error):
                    told = str(error)
                    log.warning("the socket was removed: %s", error)

    def withdraw(self) -> None:
        """Have nobody new find the socket."""
        for listener, _ in self._listeners:
            listener.withdraw()

    async def _listen(self) -> None:
        # Who holds the lock of the store is the only one that may listen here.
        listener = UnixListener(self._path, None, take=True)
        server = await asyncio.start_unix_server(self._accept, sock=listener.socket, limit=LONGEST)
        self._listeners.append((listener, server))

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raw = writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        if _CREDENTIALS.unpack(raw)[1] != os.geteuid() or len(self._connections) >= MOST:
            writer.transport.abort()
            return
        task = asyncio.get_running_loop().create_task(_Connection(self._store, self._gateway, reader, writer).serve())
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)


class _Connection:
    """One connection: a manager's once it has said its epoch, else that of somebody who only looks."""

    def __init__(
        self, store: str, gateway: Gateway, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._store = store
        self._gateway = gateway
        self._reader = reader
        self._writer = writer
        self._epoch: int | None = None
        self._requests: set[asyncio.Task[None]] = set()

    async def serve(self) -> None:
        try:
            async with asyncio.timeout(HELLO_SECONDS):
                greeted = await self._greet()
            while greeted and (line := await read_line(self._reader)) is not None:
                self._take(message_of(line))
        except TimeoutError:
            pass
        except GatewayError as error:
            await self._say(_refused(None, error))
        except Exception as error:  # noqa: BLE001 - it ends with its connection; what it was asked may hold a key
            log.error("a connection failed with %s", type(error).__name__)  # noqa: TRY400
        finally:
            await self._end()

    def _take(self, message: Json) -> None:
        if len(self._requests) >= AT_ONCE:
            raise GatewayError("bad_line", f"More than {AT_ONCE} requests are under way; nothing more is read.")
        task = asyncio.create_task(self._answer(message))
        self._requests.add(task)
        task.add_done_callback(self._requests.discard)

    async def _end(self) -> None:
        self._gateway.leave(self)
        if self._requests:
            await asyncio.wait(self._requests)  # each is bounded; what was begun is not left half done
        self._writer.close()

    async def _greet(self) -> bool:
        line = await read_line(self._reader)
        if line is None:
            return False
        message = message_of(line)
        if message.get("verb") != "hello":
            raise GatewayError("bad_line", "The first line is no hello; nothing more is read of this connection.")
        if message.get("store") != self._store:
            raise GatewayError("store_refused", f"This is the gateway of store {self._store}, not of that one.")
        epoch = message.get("epoch")
        if epoch is not None:
            self._gateway.join(self, _number(message, "epoch"), float(_number(message, "ttl")))
            self._epoch = _number(message, "epoch")
        await self._say({"id": message.get("id"), "done": self._hello()})
        return True

    def _hello(self) -> Json:
        gateway = self._gateway
        return {
            "version": __version__,
            "pid": os.getpid(),
            "store": self._store,
            "epoch": gateway.epoch,
            "alone": gateway.alone_seconds,
            "ttl": gateway.alone_bound,
            "accounts": len(gateway.accounts()),
        }

    async def _answer(self, message: Json) -> None:
        number = message.get("id")
        try:
            answer: Json = {"id": number, "done": await self._done(message)}
        except GatewayError as error:
            answer = _refused(number, error)
        except (Rejected, SandboxError) as error:
            answer = _refused(number, GatewayError(error.kind, str(error)))
        except Exception as error:  # noqa: BLE001 - what it was asked may hold a key
            log.error("a request failed with %s", type(error).__name__)  # noqa: TRY400
            answer = _refused(number, GatewayError("internal_error", f"The gateway failed: {type(error).__name__}."))
        await self._say(answer)

    async def _done(self, message: Json) -> Any:
        verb = message.get("verb")
        if verb == "list":
            return self._gateway.accounts()
        if verb == "about":
            return self._gateway.about()
        if self._epoch is None or verb not in ("open", "close", "end"):
            raise GatewayError("bad_line", "The gateway does not know this verb, or it is for managers alone.")
        if verb == "open":
            await self._gateway.open(read_account(message), self._epoch)
        elif verb == "close":
            await self._gateway.close(str(message.get("subagent")), _number(message, "attempt"), self._epoch)
        else:
            self._gateway.check(self._epoch)
            self._gateway.end(min(float(_number(message, "grace")), LONGEST_GRACE))
        return None

    async def _say(self, answer: Json) -> None:
        self._writer.write(line_of(answer))
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._writer.drain()
        except (OSError, TimeoutError):
            self._writer.transport.abort()


def _number(message: Json, name: str) -> int:
    found = message.get(name)
    if type(found) is not int or not 0 <= found < 1 << 53:
        raise GatewayError("bad_line", f"The number {name} is missing or malformed.")
    return found


def _refused(number: object, error: GatewayError) -> Json:
    return {"id": number, "kind": error.kind, "sentence": str(error)}
