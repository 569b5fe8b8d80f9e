"""Serves the tools of subagents: to the agents in their sandboxes, over the connections that they make.

What speaks their protocol is above this layer and takes a moment to load, so that is done when the first agent comes.
"""

import asyncio
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from acp_runtime.manager.supervisor import Supervisor
from acp_runtime.service.inside import Inside
from acp_runtime.store.store import Store

if TYPE_CHECKING:
    from acp_runtime.service.runtime import Runtime

__all__ = ["Serving"]


class Serving:
    """Of one runtime; agents that come before `begin` wait for it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._checking: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._begun: asyncio.Future[tuple[Runtime, Supervisor]] = asyncio.get_running_loop().create_future()

    def begin(self, runtime: "Runtime", supervisor: Supervisor) -> None:
        """Serve from now on."""
        self._begun.set_result((runtime, supervisor))

    async def serve(
        self, subagent: str, attempt: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, first: bytes
    ) -> None:
        """Serve one connection of an attempt until it ends. `first` as `ToolsDoor` has it."""
        from acp_runtime.mcp.inside import serve_inside  # noqa: PLC0415 - above this layer, see the module

        runtime, supervisor = await asyncio.shield(self._begun)
        checking = self._checking.setdefault(subagent, asyncio.Lock())
        inside = Inside(self._store, supervisor, subagent, attempt, checking)
        await serve_inside(runtime, inside, reader, writer, first)
