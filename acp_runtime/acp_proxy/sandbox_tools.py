"""The tools of an editor's agent in a sandbox, served by the proxy to who has the token of one of its sessions.

Who a session is follows from its token, never from what the agent says: the ids that it gives its sessions are in no
name of a parent as they are, so that none of them is one that another agent has.
"""

import asyncio
import logging
import secrets
from collections import defaultdict
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from acp_runtime.acp_proxy.confined import ConfinedRuntime, NarrowWay
from acp_runtime.config import Config
from acp_runtime.core.model import Subagent
from acp_runtime.manager.tools_socket import Serve, ToolsDoor
from acp_runtime.manager.tools_way import TOOLS_PORT, server_of
from acp_runtime.mcp.session import Session
from acp_runtime.mcp.turns import Telling
from acp_runtime.tools import Desk, Limits, Toolbox
from sandbox.programs import TOOLS as TOOLS_PROGRAM

__all__ = ["SandboxTools"]

log = logging.getLogger(__name__)

MAX_SESSIONS: Final = 1_000
# An editor leaves sessions open. An idle one takes 85 KiB here, and one of the 256 connections that the relay carries,
# those to the model among them.
SERVED: Final = 32
TOKEN_BYTES: Final = 32


class SandboxTools:
    """Of one sandbox. `program` and `address` are how an agent reaches the door from where it is."""

    def __init__(
        self, config: Config, *, program: str = TOOLS_PROGRAM, address: str = f"127.0.0.1:{TOOLS_PORT}"
    ) -> None:
        self._config = config
        self._program = program
        self._address = address
        self._way = NarrowWay()
        self._sandbox = secrets.token_hex(8)
        self._given: dict[str, str] = {}
        self._tokens: dict[str, Serve] = {}
        self._served: defaultdict[str, set[asyncio.Task[Any] | None]] = defaultdict(set)
        self._leader: Subagent | None = None
        self._told = False

    def door(self, leader: Subagent) -> ToolsDoor:
        """Return the door to the tools of an agent, which may give those that it leads what it has itself."""
        self._leader = leader
        return ToolsDoor(self._tokens, self._refused, SERVED)

    def session(self, session: str) -> str:
        """Return a session's id as it stands in the name of the parent that it is: no other sandbox has that."""
        return f"{self._sandbox}.{session}"

    def server(self, parent: str, workspace: str) -> dict[str, Any]:  # noqa: ARG002 - the sandbox has one folder
        """Return the MCP server that gives a parent our tools, as `session/new` takes one."""
        if parent not in self._given:
            while len(self._given) >= MAX_SESSIONS:
                self.forget(next(iter(self._given)))
            self._given[parent] = token = secrets.token_hex(TOKEN_BYTES)
            self._tokens[token] = partial(self._serve, parent)
        return server_of(self._given[parent], self._program, self._address)

    def forget(self, parent: str) -> None:
        """Take a parent's token back, and end what is served for it. Idempotent."""
        self._tokens.pop(self._given.pop(parent, ""), None)
        for each in self._served.pop(parent, ()):
            if each is not None:
                each.cancel()

    async def _serve(
        self, parent: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, first: bytes
    ) -> None:
        from acp_runtime.mcp.inside import serve_sandbox  # noqa: PLC0415 - its SDK would keep the editor waiting

        leader = self._leader  # nobody has a way here before there is a door
        if leader is None or parent not in self._given:
            return
        runtime = ConfinedRuntime(self._way, self._config, leader)
        desk = Desk(runtime, parent, Path(leader.order.workspace), limits=_limits(self._config, leader))
        served, task = self._served[parent], asyncio.current_task()
        served.add(task)
        try:
            await serve_sandbox(Session(Toolbox(desk), Telling(runtime, parent)), reader, writer, first)
        finally:
            served.discard(task)

    def _refused(self, why: str) -> None:
        if not self._told:  # an agent may go on
            self._told = True
            log.warning("%s", why)


def _limits(config: Config, leader: Subagent) -> Limits:
    """Return what bounds an agent, its own kind first: that is the default."""
    limits = Limits.of(config)
    return replace(limits, one_shot=0, agents=tuple(dict.fromkeys((leader.order.agent, *limits.agents))))
