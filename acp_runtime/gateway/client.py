"""A connection to a gateway: what a manager, or somebody who only looks, says to it.

Promises: every wait has a bound; what the gateway refuses, and that it is not there, is a GatewayError; requests may be
made at once and are answered each for itself.
"""

import asyncio
import os
from pathlib import Path
from typing import Any, Final

from acp_runtime.gateway.errors import GatewayError
from acp_runtime.gateway.lines import LONGEST, Json, line_of, message_of, read_line

__all__ = ["GatewayClient"]

CONNECT_SECONDS: Final = 5.0
HELLO_SECONDS: Final = 10.0
ANSWER_SECONDS: Final = 60.0  # an account may have to attach to a relay first


class GatewayClient:
    """One connection. Owner: whoever called `connect`; `close` ends it. `lost` is set once it is of no use."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.lost = asyncio.Event()
        self.hello: Json = {}
        self._writer = writer
        self._count = 0
        self._waiting: dict[int, asyncio.Future[Json]] = {}
        self._reading = asyncio.get_running_loop().create_task(self._read(reader))

    @classmethod
    async def connect(
        cls,
        socket: Path,
        store: str,
        *,
        epoch: int | None = None,
        ttl: float | None = None,
        patience: float = HELLO_SECONDS,
    ) -> "GatewayClient":
        """Connect and say hello: with an epoch as a manager, whose agents live so many seconds without one.

        The answer may take `patience` seconds.

        Raises GatewayError (`gateway_unreachable`, `gateway_silent`, `epoch_refused`, `store_refused`).
        """
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                reader, writer = await opened(socket)
        except (OSError, TimeoutError) as error:
            why = getattr(error, "strerror", None) or "no answer in time"
            raise GatewayError("gateway_unreachable", f"Nobody answers at {socket}: {why}.") from error
        self = cls(reader, writer)
        try:
            more = {} if epoch is None else {"epoch": epoch, "ttl": round(ttl or 0)}
            self.hello = await self.ask("hello", patience, store=store, **more)
        except BaseException:
            await self.close()
            raise
        return self

    async def ask(self, verb: str, bound: float = ANSWER_SECONDS, **fields: object) -> Any:
        """Ask and return what was answered. Raises GatewayError: as the gateway says, or as `connect` does."""
        self._count += 1
        number = self._count
        line = line_of({"id": number, "verb": verb, **fields})
        if len(line) > LONGEST:  # the gateway would end the connection, which others are waiting at
            sentence = (
                f"What is to be said with `{verb}` has {len(line)} bytes, and the gateway reads {LONGEST} at most."
            )
            raise GatewayError("bad_line", f"{sentence} Give it fewer prices or rules.")
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        try:
            if self.lost.is_set():
                raise _gone("its connection has ended")
            async with asyncio.timeout(bound):
                self._writer.write(line)
                await self._writer.drain()
                found = await answer
        except TimeoutError as error:
            why = f"The gateway has not answered `{verb}` within {bound:g} s."
            raise GatewayError("gateway_silent", why) from error
        except OSError as error:
            self.lost.set()  # before whoever reads hears of it: the caller asks the next gateway at once
            raise _gone(error.strerror or "its connection broke") from error
        finally:
            del self._waiting[number]
        if "done" not in found:
            raise GatewayError(str(found.get("kind")), str(found.get("sentence")))
        return found["done"]

    async def close(self) -> None:
        """End the connection. Idempotent."""
        self._reading.cancel()
        await asyncio.wait([self._reading])
        self._writer.transport.abort()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            while (line := await read_line(reader)) is not None:
                found = message_of(line)
                number = found.get("id")
                # What the gateway says of no request is said of the connection.
                for each in [key for key in self._waiting if number in (key, None)]:
                    if not self._waiting[each].done():
                        self._waiting[each].set_result(found)
        except GatewayError:
            pass
        finally:
            self.lost.set()
            for waiting in self._waiting.values():
                if not waiting.done():
                    waiting.set_result({"kind": "gateway_unreachable", "sentence": "The gateway went away."})


async def opened(socket: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to a socket, however long its path is. Raises OSError; the caller sets the bound."""
    folder = os.open(socket.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # An address has room for 107 bytes only.
        return await asyncio.open_unix_connection(f"/proc/self/fd/{folder}/{socket.name}", limit=LONGEST)
    finally:
        os.close(folder)


def _gone(why: str) -> GatewayError:
    return GatewayError("gateway_unreachable", f"The gateway cannot be asked: {why}.")
