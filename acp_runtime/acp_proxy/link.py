"""A link of a chain at work, on the one connection to its conductor. It ends with that."""

import asyncio
from collections.abc import Mapping
from typing import IO, Final

from acp_runtime.acp_proxy.chain import Chain
from acp_runtime.acp_proxy.conversation import Conversation
from acp_runtime.acp_proxy.identity import HostTools
from acp_runtime.acp_proxy.ordered import Ordered
from acp_runtime.acp_proxy.streams import LINE_CAP, Incoming, Outgoing, check_stream
from acp_runtime.wire.ndjson import Oversized

LAST_WORDS_SECONDS: Final = 5.0
MOST_HELD: Final = LINE_CAP
_CROWDED: Final = "the conductor does not read"
_FULL: Final = "much waits behind a message that is held"


class Link:
    """Serves a conductor; the chain's agent is behind it."""

    def __init__(self, environ: Mapping[str, str], *, wake: bool = False) -> None:
        self._ending = asyncio.Event()
        self._urgent = False
        self._given = Incoming(self._said, self._ending.set)
        self._out = Outgoing(self._crowded, self._ending.set)

        tools = HostTools(environ)

        def say(line: bytes) -> None:
            self._out.write([line])

        self._chain = Chain(say, lambda to_agent: Conversation(tools, say_editor=say, say_agent=to_agent, wake=wake))
        self._lines = Ordered(self._chain.from_editor, self._out.write, self._held)

    def terminate(self) -> None:
        """End at once, as a signal asks."""
        self._urgent = True
        self._ending.set()

    async def run(self, given: IO[bytes], said: IO[bytes]) -> int:
        """Serve the conductor that writes to `given` and reads `said`. Raises `Rejected` (invalid) for files."""
        for stream in (given, said):
            check_stream(stream)
        await self._out.connect(said)
        await self._given.connect(given)
        await self._ending.wait()
        self._given.close()
        await self._lines.empty(0.0 if self._urgent else LAST_WORDS_SECONDS)
        await self._chain.conversation.close()
        await self._out.close()
        return 0

    def _said(self, lines: list[bytes | Oversized]) -> None:
        for line in lines:
            if self._chain.is_from_agent(line):
                self._out.write(self._chain.from_agent(line))
            else:
                self._lines.put([line])
        # What comes from the agent is else not kept waiting: a prompt may wait for just that, but for so long only.
        if self._lines.waiting > MOST_HELD:
            self._given.hold(_FULL)

    def _held(self, held: bool) -> None:
        if not held:
            self._given.release(_FULL)

    def _crowded(self, crowded: bool) -> None:
        (self._given.hold if crowded else self._given.release)(_CROWDED)
