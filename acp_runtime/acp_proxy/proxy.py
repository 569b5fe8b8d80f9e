"""The proxy at work: its two sides connected, neither of them read faster than the other one takes it.

It ends with whichever side ends first. When the editor has closed its side, the agent's input is closed and it may
leave by itself, and what it still says is passed on; when the agent has ended, what it said is passed on first. Of the
agent's process group nothing stays. Killed, the proxy loses nothing: subagents are the daemon's.
"""

import asyncio
import signal
from typing import IO, Final

from acp_runtime.acp_proxy.agent import Agent, Make, Start
from acp_runtime.acp_proxy.ordered import Ordered
from acp_runtime.acp_proxy.streams import LINE_CAP, Incoming, Outgoing, check_stream
from acp_runtime.wire.ndjson import Oversized

LAST_WORDS_SECONDS: Final = 5.0
_CROWDED: Final = "the other side does not read"
_HELD: Final = "a message waits for what is put into it"
_DEAF: Final = "it does not read what it is answered"


class Proxy:
    """One editor on two pipes and one agent that is started for it."""

    def __init__(self, start: Start, between: Make, *, unread: int = LINE_CAP) -> None:
        """`start` starts the agent; `between` is made with what writes a line to the editor, and one to the agent.

        An agent that has not read `unread` bytes is not heard: the editor's are fewer, so it goes on to ask.
        """
        self._unread = unread
        self._start = start
        self._ending = asyncio.Event()
        self._urgent = False
        self._silent = asyncio.Event()
        self._from_editor = Incoming(self._editor_said, self._ending.set)
        self._from_agent = Incoming(self._agent_said, self._agent_silent)
        self._to_editor = Outgoing(self._editor_crowded, self._ending.set)
        # An agent that has closed its input may still speak; its end is told by its output and its exit.
        self._to_agent = Outgoing(self._agent_crowded)
        self._conversation = between(
            lambda line: self._to_editor.write([line]), lambda line: self._to_agent.write([line])
        )
        self._lines = Ordered(self._conversation.from_editor, self._to_agent.write, self._editor_held)

    def terminate(self) -> None:
        """End at once, as a signal asks."""
        self._urgent = True
        self._ending.set()

    async def run(self, given: IO[bytes], said: IO[bytes]) -> int:
        """Serve the editor that writes to `given` and reads `said`; return the agent's exit code, as `Popen` has it.

        Raises what `start` raises, and `Rejected` (invalid) when a stream cannot be served.
        """
        for stream in (given, said):
            check_stream(stream)
        agent = await self._started()
        if agent is None:
            await self._conversation.close()
            return -signal.SIGTERM
        exited = asyncio.create_task(agent.ended(), name="acp-agent")
        exited.add_done_callback(lambda _: self._ending.set())
        try:
            await self._to_editor.connect(said)
            await self._to_agent.connect(agent.input)
            await self._from_agent.connect(agent.output)
            await self._from_editor.connect(given)
            await self._ending.wait()
            self._from_editor.close()
            await self._lines.empty(0.0 if self._urgent else LAST_WORDS_SECONDS)
            await self._to_agent.close()
        finally:
            code = await agent.end(urgent=self._urgent)
            exited.cancel()
            await self._conversation.close()
        await self._see_out()
        return code

    async def _started(self) -> Agent | None:
        """Start the agent; None when an end at once is asked for meanwhile, and then nothing of it is left."""
        starting = asyncio.ensure_future(self._start())
        ending = asyncio.create_task(self._ending.wait())
        await asyncio.wait((starting, ending), return_when=asyncio.FIRST_COMPLETED)
        ending.cancel()
        if starting.done():
            return starting.result()
        starting.cancel()
        await asyncio.wait((starting,))
        if not starting.cancelled():
            await starting.result().end(urgent=True)
        return None

    async def _see_out(self) -> None:
        """Pass on what the agent has said before its end, as far as the editor takes it."""
        try:
            async with asyncio.timeout(LAST_WORDS_SECONDS):
                await self._silent.wait()
        except TimeoutError:
            self._from_agent.close()
        await self._to_editor.close()

    # ---- what comes

    def _editor_said(self, lines: list[bytes | Oversized]) -> None:
        self._lines.put(lines)

    def _editor_held(self, held: bool) -> None:
        (self._from_editor.hold if held else self._from_editor.release)(_HELD)

    def _agent_said(self, lines: list[bytes | Oversized]) -> None:
        self._to_editor.write([passed for line in lines for passed in self._conversation.from_agent(line)])
        if self._to_agent.waiting > self._unread:
            self._from_agent.hold(_DEAF)

    def _agent_silent(self) -> None:
        self._silent.set()
        self._ending.set()

    def _editor_crowded(self, crowded: bool) -> None:
        (self._from_agent.hold if crowded else self._from_agent.release)(_CROWDED)

    def _agent_crowded(self, crowded: bool) -> None:
        (self._from_editor.hold if crowded else self._from_editor.release)(_CROWDED)
        if not crowded:
            self._from_agent.release(_DEAF)
