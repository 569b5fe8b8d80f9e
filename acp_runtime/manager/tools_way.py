"""The way from an agent to its tools: what it is told of them, and the socket at which this side serves them.

Inside, the agent starts the program `tools`, which connects to a loopback port of the relay. The token goes to it in
its environment: the agent is told that over its own stdin, so it stands in no argument and no setting of the container.
"""

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from acp_runtime.manager.launcher import LaunchRequest
from acp_runtime.manager.tools_socket import TOKEN_VARIABLE, ToolsSocket

__all__ = ["SERVER", "TOOLS_PORT", "TOOLS_SOCKET", "served_tools", "server_of", "servers_of"]

TOOLS_PORT: Final = 8792
TOOLS_SOCKET: Final = "tools.sock"
SERVER: Final = "subagents"


def servers_of(request: LaunchRequest, program: str, address: str) -> tuple[Mapping[str, Any], ...]:
    """Return what an agent is told of its tools, as ACP has it; nothing where nobody serves them."""
    tokens = () if request.tools is None else request.tools.tokens
    return tuple(server_of(token, program, address) for token in tokens)


def server_of(token: str, program: str, address: str) -> dict[str, Any]:
    """Return what an agent is told of the tools that are served to who has a token, as ACP has it."""
    # Some agents give the programs that they start their own environment, and others nothing but this.
    variable = {"name": TOKEN_VARIABLE, "value": token}
    return {"name": SERVER, "command": program, "args": [address], "env": [variable]}


@asynccontextmanager
async def served_tools(request: LaunchRequest, folder: Path, *, shared: bool = True) -> AsyncIterator[Path]:
    """Serve an agent's tools at a socket in a folder of its own, inside the block; give the socket's path.

    `shared`: for this process's group too. Raises `Rejected` (socket_refused).
    """
    path = folder / TOOLS_SOCKET
    if request.tools is None:
        yield path
        return
    async with ToolsSocket(path, request.tools, gid=os.getgid() if shared else None):
        yield path
