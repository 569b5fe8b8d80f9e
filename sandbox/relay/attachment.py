"""One attachment to a relay: many streams over one link, from the hello to the loss of the link.

Promises: what the relay sends is taken without ever waiting, so that one stream cannot hold up another; at most
`MOST` streams with a window each are kept; frames that no relay sends end the attachment; with it end its streams.
"""

import asyncio
import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from sandbox.errors import ChannelStalled, SandboxError
from sandbox.holder.frames import Frame, Splitter, encode
from sandbox.holder.link import Link, Opener
from sandbox.relay import frames
from sandbox.relay.frames import RelayError, Type, Welcome, corrupt
from sandbox.relay.stream import Stream

ATTACH_BOUND: Final = 15.0  # seconds, as below; a relay that has just been started listens soon
PING_AFTER: Final = 20.0
ANSWER_BOUND: Final = 30.0
MOST: Final = 512  # streams: twice a relay's, which opens the next when one is over on its side


class Attachment:
    """The receiver of one link. Owner: whoever made it; `close` ends it. `lost` is done when it is of no use."""

    def __init__(self, targets: Mapping[int, Path]) -> None:
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.failure: RelayError | None = None
        self._targets = targets
        self._welcome: asyncio.Future[Welcome] = asyncio.get_running_loop().create_future()
        self._splitter = Splitter()
        self._link: Link | None = None
        self._streams: dict[int, Stream] = {}
        self._running: dict[int, asyncio.Task[None]] = {}
        self._watching: asyncio.Task[None] | None = None
        self._answered = asyncio.Event()
        self._words = b""

    async def open(self, opener: Opener, token: str, epoch: int) -> Welcome:
        """Say hello over a new link. Raises RelayError by the relay's own name for it, and what the opener raises.

        When it raises the link is closed.
        """
        self._link = await opener(self)
        try:
            async with asyncio.timeout(ATTACH_BOUND):
                with contextlib.suppress(SandboxError, OSError):  # a link that has ended tells why itself
                    await self._link.send(frames.hello(token, epoch))
                either: list[asyncio.Future[Any]] = [self._welcome, self.lost]
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError as error:
            await self.close()
            raise RelayError("relay_gone", f"The relay did not answer within {ATTACH_BOUND:g} s.") from error
        except BaseException:
            await self.close()
            raise
        if not self._welcome.done():
            await self.close()
            raise self.failure or RelayError("relay_gone", f"The relay is not there ({self.lost.result()}).")
        self._watching = asyncio.get_running_loop().create_task(self._watch())
        return self._welcome.result()

    async def close(self) -> None:
        """End the link and every stream. Idempotent, bounded, never raises."""
        self._lose("closed by this side")
        tasks = [*self._running.values(), *([self._watching] if self._watching is not None else [])]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        if self._link is not None:
            await self._link.close()

    # ---- called by the link

    def on_stdout(self, data: bytes) -> None:
        if self.lost.done():
            return
        try:
            for frame in self._splitter.feed(data):
                self._hear(frame)
            if self._splitter.corrupt is not None:
                raise corrupt("something that is no frame")
        except RelayError as error:
            self.failure = error
            self._lose(str(error))

    def on_stderr(self, data: bytes) -> None:
        """Keep what `relay attach` complains about: it says why the link ends."""
        self._words = (self._words + data)[-500:]

    def on_closed(self, reason: str) -> None:
        words = self._words.decode(errors="replace").strip()
        self._lose(f"{reason}: {words}" if words else reason)

    # ---- inside

    def _hear(self, frame: Frame) -> None:
        kind, _, number, payload = frame
        stream = self._streams.get(number)
        if kind == Type.WELCOME:
            self._answered.set()
            if not self._welcome.done():
                self._welcome.set_result(Welcome.parse(payload))
        elif kind == Type.ERROR:
            raise RelayError.told(payload.decode(errors="replace"), number)
        elif kind == Type.OPEN:
            self._open(number, frames.port_of(payload))
        elif stream is None:
            return  # it ended on this side while that was on its way
        elif kind == Type.DATA:
            stream.on_data(payload)
        elif kind == Type.CREDIT:
            stream.on_credit(frames.credit_of(payload))
        elif kind == Type.END:
            stream.on_end()
        elif kind == Type.RESET:
            self._running[number].cancel()
        # Later versions may tell more.

    def _open(self, number: int, port: int) -> None:
        if number in self._streams or len(self._streams) >= MOST or not self._welcome.done():
            raise corrupt(f"an open of stream {number}, which cannot be opened")
        stream = self._streams[number] = Stream(number, self._targets.get(port), self._send)
        task = self._running[number] = asyncio.get_running_loop().create_task(stream.run())
        task.add_done_callback(lambda _: self._forget(number))

    def _forget(self, number: int) -> None:
        del self._streams[number], self._running[number]

    async def _watch(self) -> None:
        """Notice a link over which nothing comes although nobody has ended it."""
        for count in range(1, 1 << 62):
            await asyncio.wait([self.lost], timeout=PING_AFTER)
            if self.lost.done():
                return
            self._answered.clear()
            try:
                async with asyncio.timeout(ANSWER_BOUND):
                    await self._send(encode(Type.PING, 0, count))
                    await self._answered.wait()
            except TimeoutError:
                self._lose(f"the relay has not answered for {ANSWER_BOUND:g} s")
                return

    async def _send(self, data: bytes) -> None:
        """Send a frame; waits while the relay does not read. On a link that has ended it waits for the end of all."""
        while self._link is not None and not self.lost.done():
            try:
                await self._link.send(data)
            except ChannelStalled:
                continue  # nothing of it was sent; whether anybody is there is for `_watch` to find out
            except (SandboxError, OSError) as error:
                self._lose(str(error).rstrip("."))
            else:
                return
        await asyncio.get_running_loop().create_future()

    def _lose(self, reason: str) -> None:
        if not self.lost.done():
            self.lost.set_result(reason)
