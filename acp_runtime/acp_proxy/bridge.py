"""Two pipes on this side, and an agent's channel on the other: as if the agent were a process of this machine.

Neither is read faster than the other takes it. A link that breaks is attached again from where it broke.
"""

import asyncio
import logging
import os
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Final

from acp_runtime.acp_proxy.streams import Incoming, Outgoing
from acp_runtime.core.plaintext import printable
from acp_runtime.manager.docker_agent import DockerAgent
from acp_runtime.session.backoff import Backoff
from acp_runtime.session.channel import NOTHING_TAKEN
from acp_runtime.wire.ndjson import Oversized
from sandbox.errors import SandboxError
from sandbox.holder.frames import LONGEST_INPUT

__all__ = ["LONGEST_LINE", "Bridge"]

log = logging.getLogger(__name__)

LONGEST_LINE: Final = LONGEST_INPUT - 1
ACKNOWLEDGE_BYTES: Final = 65_536
LAST_WORDS_SECONDS: Final = 20.0
_SENDING: Final = "what came is being sent"


class Bridge:
    """The receiver of a channel. `input` and `output` are for who speaks with the agent to connect and to close.

    `over` is set when the agent has said its last; `say` is told what it writes to its standard error, as the agent's.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        given, end = os.pipe()
        start, said = os.pipe()
        self.input, self.output = os.fdopen(end, "wb", buffering=0), os.fdopen(start, "rb", buffering=0)
        self.over = asyncio.Event()
        self._say = say
        self._pipes = os.fdopen(given, "rb", buffering=0), os.fdopen(said, "wb", buffering=0)
        self._given = Incoming(self._take, self._last, cap=LONGEST_LINE)
        self._said = Outgoing(self._crowd)
        self._agent: DockerAgent | None = None
        self._crowded = False
        self._lines: deque[bytes] = deque()
        self._finished = False
        self._acknowledged = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._sending, self._regaining = asyncio.Lock(), asyncio.Lock()

    async def listen(self) -> None:
        """Be ready for what the agent says. Called before it starts."""
        await self._said.connect(self._pipes[1])

    async def attach(self, agent: DockerAgent) -> None:
        """Carry both ways from now on."""
        self._agent = agent
        self._crowd(self._crowded)
        self._do(self._regain())  # should it have been lost at once
        await self._given.connect(self._pipes[0])

    async def close(self) -> None:
        """Carry nothing more. Idempotent."""
        self._given.close()
        tasks = list(self._tasks)
        for each in tasks:
            each.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._said.close()
        for pipe in self._pipes:  # those that were never connected
            pipe.close()

    # ---- from the agent

    def on_stdout(self, data: bytes) -> None:
        """Take what the agent says; it is held for us no longer than until we have it."""
        self._said.pass_on(data)
        if self._agent is not None and self._agent.channel.received - self._acknowledged >= ACKNOWLEDGE_BYTES:
            self._acknowledged = self._agent.channel.received
            self._do(self._acknowledge())

    def on_stderr(self, data: bytes) -> None:
        for line in printable(data.decode("utf-8", "replace")).splitlines():
            self._say(f"agent: {line}")

    def on_gap(self, stream: int, offset: int, length: int) -> None:
        log.warning("%d bytes that the agent wrote (stream %d, at %d) are lost", length, stream, offset)

    def on_lost(self, reason: str) -> None:
        log.warning("the agent is out of reach: %s", reason)
        self._do(self._regain())

    def on_closed(self, reason: str) -> None:  # noqa: ARG002 - the protocol's signature
        self.over.set()
        self._do(self._said.close())

    async def _acknowledge(self) -> None:
        if (agent := self._agent) is not None:
            await agent.channel.acknowledge(agent.channel.received, agent.channel.received_stderr)

    async def _regain(self) -> None:
        """Try until the agent is there again, or has ended and was heard out."""
        agent, backoff = self._agent, Backoff()
        async with self._regaining:
            while agent is not None and not agent.channel.attached and not await agent.recover():
                if await agent.fate() is not None:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(LAST_WORDS_SECONDS):
                            await agent.drain()
                    self.on_closed("it has ended")
                    return
                await backoff.pause()

    # ---- to the agent

    def _take(self, lines: list[bytes | Oversized]) -> None:
        self._lines.extend(line for line in lines if isinstance(line, bytes))
        self._given.hold(_SENDING)
        self._do(self._send())

    def _last(self) -> None:
        self._finished = True
        self._do(self._send())

    async def _send(self) -> None:
        """Send what waits; then take more, or let the agent read the end of its input."""
        agent = self._agent
        async with self._sending:
            while agent is not None and self._lines:
                try:
                    await self._sent(agent, self._lines.popleft() + b"\n")
                except (SandboxError, OSError) as error:
                    log.warning("a line did not reach the agent: %s", error)
            self._given.release(_SENDING)
            if self._finished and agent is not None:
                await agent.channel.close_input()

    async def _sent(self, agent: DockerAgent, line: bytes) -> None:
        backoff = Backoff()
        while True:
            try:
                return await agent.channel.send(line)
            except SandboxError as error:
                if error.kind not in NOTHING_TAKEN:
                    raise
            await backoff.pause()

    def _crowd(self, crowded: bool) -> None:
        self._crowded = crowded
        if self._agent is not None:
            (self._agent.channel.pause if crowded else self._agent.channel.resume)()

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
