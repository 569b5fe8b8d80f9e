"""The receiver of one link of a held channel: it splits what comes into frames and says once why the link ended."""

import asyncio
from collections.abc import Callable
from typing import Final

from sandbox.holder.errors import HolderError
from sandbox.holder.frames import Frame, Splitter

WORDS: Final = 500  # bytes


class Ear:
    """Receiver of a link.

    `hear` gets each frame in order; a HolderError that it raises, or frames that are corrupt, are the `failure` of this
    link, after which nothing is heard. `on_end` gets the reason, once and last. Each gets this ear first, so that its
    owner knows an earlier link from the present one.
    """

    def __init__(self, hear: Callable[["Ear", Frame], None], on_end: Callable[["Ear", str], None]) -> None:
        self.ended: str | None = None
        self.failure: HolderError | None = None
        self.over = asyncio.Event()
        self._hear, self._on_end = hear, on_end
        self._splitter = Splitter()
        self._words = b""

    def on_stdout(self, data: bytes) -> None:
        if self.failure is not None:
            return
        try:
            for frame in self._splitter.feed(data):
                self._hear(self, frame)
        except HolderError as error:
            self.failure = error
        self.failure = self.failure or self._splitter.corrupt
        if self.failure is not None:
            self.on_closed(str(self.failure))

    def on_stderr(self, data: bytes) -> None:
        """Keep what `holder attach` complains about: it says why the link ends."""
        self._words = (self._words + data)[-WORDS:]

    def on_closed(self, reason: str) -> None:
        if self.ended is not None:
            return
        words = self._words.decode(errors="replace").strip()
        self.ended = f"{reason}: {words}" if words else reason
        self.over.set()
        self._on_end(self, self.ended)
