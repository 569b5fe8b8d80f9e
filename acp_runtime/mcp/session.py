"""One client's session: its calls of tools, from the arguments to an answer with what there is to tell.

Promises: a tool that waits ends with the request that asked for it; one that changes something is never cut in the
middle; no session has more than `MAX_CALLS` calls at one time.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from acp_runtime.mcp.turns import Telling
from acp_runtime.tools import Desk, Tool, Toolbox
from acp_runtime.tools.answers import failure

MAX_CALLS: Final = 32
PROGRESS_SECONDS: Final = 5.0
CLOSE_SECONDS: Final = 10.0

Introduce = Callable[[str], Awaitable[None]]
Progress = Callable[[float], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Told:
    """A tool's answer, and the block that goes with it."""

    answer: dict[str, Any]
    block: str

    @property
    def failed(self) -> bool:
        """Whether the tool did not do what was asked."""
        return not self.answer.get("success", self.answer.get("ok", "error" not in self.answer))


class Session:
    """The session of one parent at one door. Use `close` at its end.

    `introduce` hears the id of the host's session where the client tells it, before the call that told it is made.
    """

    def __init__(self, toolbox: Toolbox, telling: Telling, introduce: Introduce | None = None) -> None:
        self._toolbox = toolbox
        self._introduce = introduce
        self.telling = telling
        self._calls = 0
        self._going: set[asyncio.Task[dict[str, Any]]] = set()

    @property
    def desk(self) -> Desk:
        """Whose session it is."""
        return self._toolbox.desk

    @property
    def tools(self) -> tuple[Tool, ...]:
        """The tools that there are for this parent."""
        return self._toolbox.tools

    @property
    def idle(self) -> bool:
        """Whether nothing of it is under way."""
        return not self._calls and not self._going

    async def introduced(self, host_session: str | None) -> None:
        """Hear which session of its host this is; None where the client does not say."""
        if host_session is not None and self._introduce is not None:
            await self._introduce(host_session)

    async def call(
        self, request: Hashable, tool: Tool, arguments: Mapping[str, Any] | None, progress: Progress
    ) -> Told:
        """Return what a call comes to. `progress` is told every few seconds for how long it has been under way."""
        if self._calls + len(self._going) >= MAX_CALLS:  # what goes on behind a call that was called off counts
            sentence = f"{MAX_CALLS} calls of this session are under way; wait for one of them to end."
            return Told(failure(sentence, "busy"), "")
        self._calls += 1
        try:
            answer = await self._finished(tool, arguments, progress)
        finally:
            self._calls -= 1
        return Told(answer, await self.telling.block(request))

    async def close(self) -> None:
        """Wait for what must not be cut, within bounds. Idempotent."""
        if self._going:
            await asyncio.wait(self._going, timeout=CLOSE_SECONDS)
        for each in self._going:
            each.cancel()
        await asyncio.gather(*self._going, return_exceptions=True)

    async def _finished(self, tool: Tool, arguments: Mapping[str, Any] | None, progress: Progress) -> dict[str, Any]:
        work = asyncio.ensure_future(self._toolbox.call(tool.name, arguments))
        passed = 0.0
        try:
            while not (await asyncio.wait((work,), timeout=PROGRESS_SECONDS))[0]:
                passed += PROGRESS_SECONDS
                await progress(passed)
            return work.result()
        finally:
            if tool.kind == "read":
                work.cancel()
                await asyncio.gather(work, return_exceptions=True)
            elif not work.done():
                self._going.add(work)
                work.add_done_callback(self._going.discard)
