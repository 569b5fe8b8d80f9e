"""The daemon as an agent in a sandbox may use it: nothing that it spawns or answers goes beyond what it has itself."""

import asyncio
from pathlib import Path
from typing import Final

from acp_runtime.api.exchange import Answer, Way
from acp_runtime.api.unix_client import lost
from acp_runtime.callers import Caller
from acp_runtime.client import RemoteRuntime
from acp_runtime.config import Config
from acp_runtime.core.errors import Rejected
from acp_runtime.core.model import Subagent
from acp_runtime.core.plaintext import one_line
from acp_runtime.service import SpawnRequest
from acp_runtime.service.order import confined
from acp_runtime.views import SubagentView

__all__ = ["ConfinedRuntime", "NarrowWay"]

MOST: Final = 32


class NarrowWay(Way):
    """The way of one sandbox to the daemon, started when it is away: at most `MOST` requests at once of all."""

    def __init__(self, path: Path | None = None) -> None:
        super().__init__(path, start=True)
        self._room = asyncio.Semaphore(MOST)

    async def ask(self, verb: str, target: str, body: bytes | None, seconds: float) -> Answer:
        """See `Way.ask`; what is beyond the bound waits before, which is part of the `seconds`."""
        try:
            async with asyncio.timeout(seconds), self._room:
                return await super().ask(verb, target, body, seconds)
        except TimeoutError as error:
            raise lost(error) from error


class ConfinedRuntime(RemoteRuntime):
    """The verbs that tools call, for the parent `leader`, of which the daemon knows the name alone.

    Raises `Rejected` beside what the daemon does: what `confined` raises, and `needs_operator` for an answer that
    permits something, which is the person's at the editor.
    """

    def __init__(self, way: Way, config: Config, leader: Subagent) -> None:
        super().__init__(way)
        self._config = config
        self._leader = leader

    async def spawn(self, caller: Caller, request: SpawnRequest) -> SubagentView:
        """See `Runtime.spawn`."""
        return await super().spawn(caller, confined(self._config, caller, request, self._leader))

    async def vet(self, caller: Caller, request: SpawnRequest, *, count: int = 1) -> None:
        """See `Runtime.vet`."""
        await super().vet(caller, confined(self._config, caller, request, self._leader), count=count)

    async def answer(
        self, caller: Caller, subagent: str, request: str, option: str = "", *, text: str = ""
    ) -> SubagentView:
        """See `Runtime.answer`."""
        view = await self.status(caller, subagent)
        asked = next((each for each in view.requests if each.id == request), None)
        if asked is None:  # what is asked from now on was not looked at
            raise Rejected("unknown_request", f"{view.id} asks nothing of the id {one_line(request, 40)!r} now")
        if asked.kind.permits:
            sentence = f"{request} of {view.id} asks for a permission: the person at the editor is asked, and answers"
            raise Rejected("needs_operator", sentence)
        return await super().answer(caller, subagent, request, option, text=text)
