"""Starting a holder with its agent, over a link to `holder run`."""

import asyncio
from typing import Final

from sandbox.holder.errors import AgentNotStarted, HolderGone, error_from
from sandbox.holder.frames import Frame, Settings, Splitter, State, Type
from sandbox.holder.link import Opener

START_BOUND: Final = 30.0  # seconds


async def start(opener: Opener, settings: Settings) -> State:
    """Start a holder and its agent through a link to `holder run`, which ends then; returns its first state.

    Raises AgentNotStarted, HolderError with the holder's reason (`already_running`: attach to it), HolderGone.
    """
    reply = _Reply()
    link = await opener(reply)
    try:
        async with asyncio.timeout(START_BOUND):
            await link.send(settings.frame())
            frame = await reply.frame
    except TimeoutError as error:
        raise HolderGone("holder_gone", f"The holder did not start within {START_BOUND:g} s.") from error
    finally:
        reply.frame.cancel()
        await link.close()
    if frame.type == Type.STATE:
        return State.parse(frame.payload)
    raise error_from(frame.payload.decode(errors="replace"), frame.offset)


class _Reply:
    """The receiver of `holder run`: one frame."""

    def __init__(self) -> None:
        self.frame: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()
        self._splitter = Splitter()
        self._words = b""

    def on_stdout(self, data: bytes) -> None:
        for frame in self._splitter.feed(data):
            if not self.frame.done():
                self.frame.set_result(frame)

    def on_stderr(self, data: bytes) -> None:
        self._words = (self._words + data)[-500:]

    def on_closed(self, reason: str) -> None:
        if not self.frame.done():
            words = self._words.decode(errors="replace").strip()
            sentence = f"The holder did not start ({words or reason})."
            self.frame.set_exception(self._splitter.corrupt or AgentNotStarted("agent_failed", sentence))
