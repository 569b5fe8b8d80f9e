"""The verbs that tools and other doors call, whoever owns the store: `Runtime` here, the daemon's client elsewhere.

The contract of each verb stands at `Runtime`.
"""

from collections.abc import Sequence
from typing import Literal, Protocol

from acp_runtime.callers import Caller
from acp_runtime.manager.launcher import Work
from acp_runtime.service.order import SpawnRequest
from acp_runtime.views import Page, Sent, SubagentView, Transcript, Waited

SendMode = Literal["queue", "steer"]
WaitMode = Literal["any_change", "all", "first"]


class Facade(Protocol):
    """What the tools need of a runtime."""

    async def spawn(self, caller: Caller, request: SpawnRequest) -> SubagentView: ...

    async def vet(self, caller: Caller, request: SpawnRequest, *, count: int = 1) -> None: ...

    async def send(self, caller: Caller, subagent: str, text: str, *, mode: SendMode = "queue") -> Sent: ...

    async def cancel(self, caller: Caller, subagent: str, cause: str = "") -> SubagentView: ...

    async def stop(
        self, caller: Caller, subagent: str, *, reason: str = "", finished: bool = False
    ) -> SubagentView: ...

    async def answer(
        self, caller: Caller, subagent: str, request: str, option: str = "", *, text: str = ""
    ) -> SubagentView: ...

    async def status(self, caller: Caller, subagent: str) -> SubagentView: ...

    async def list_subagents(self, caller: Caller, *, ended: bool = False) -> list[SubagentView]: ...

    async def tree(self, caller: Caller, subagent: str | None = None, *, ended: bool = False) -> list[SubagentView]: ...

    async def wait(
        self,
        caller: Caller,
        subagents: Sequence[str],
        *,
        mode: WaitMode = "all",
        seconds: float,
        since: int | None = None,
    ) -> Waited: ...

    async def poll(self, caller: Caller, subagent: str, *, since: int | None = None, limit: int = 500) -> Page: ...

    async def transcript(self, caller: Caller, subagent: str, *, task: str | None = None) -> Transcript: ...

    async def work(self, caller: Caller, subagent: str) -> Work | None: ...
