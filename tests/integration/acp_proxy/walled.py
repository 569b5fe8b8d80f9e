"""`subagents acp --agent` but for the container: walled.py FOLDER AGENT...

The agent is a process of this machine, to which its folder has the name that it has for its editor. What stands between
both sides, and what serves the tools at a socket in FOLDER, is the proxy's own.
"""

import asyncio
import os
import platform
import sys
from functools import partial, reduce
from pathlib import Path

from acp_runtime.acp_proxy import ledger
from acp_runtime.acp_proxy.agent import Say
from acp_runtime.acp_proxy.conversation import Conversation
from acp_runtime.acp_proxy.enclosed import Enclosed
from acp_runtime.acp_proxy.enclosure import Enclosure
from acp_runtime.acp_proxy.process import AgentProcess
from acp_runtime.acp_proxy.proxy import Proxy
from acp_runtime.acp_proxy.sandbox_tools import SandboxTools
from acp_runtime.config import load
from acp_runtime.core.decide import decide
from acp_runtime.core.evolve import evolve
from acp_runtime.manager.tools_socket import ToolsSocket
from acp_runtime.service.order import SpawnRequest, spawn_input
from sandbox.programs import program


async def serve(folder: Path, agent: list[str]) -> int:
    config, here = load(None, os.environ), str(Path.cwd())
    given = spawn_input(config, ident="bg-walled", caller="run", request=SpawnRequest("scripted", Path(here), "x"))
    events, _ = decide(None, given, 0)
    leader = reduce(evolve, events[1:], evolve(None, events[0]))
    machine = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
    tools = SandboxTools(config, program=str(program("tools", machine)), address=str(folder / "tools.sock"))

    def conversation(say_editor: Say, say_agent: Say) -> Conversation:
        return Conversation(tools, say_editor=say_editor, say_agent=say_agent)

    enclosure = partial(Enclosure, workspace=here, inside=here, meta={}, longest=1_000_000)
    proxy = Proxy(partial(AgentProcess.start, agent), partial(Enclosed, conversation=conversation, enclosure=enclosure))
    async with ToolsSocket(folder / "tools.sock", tools.door(leader), gid=None):
        return await proxy.run(os.fdopen(os.dup(0), "rb", buffering=0), os.fdopen(os.dup(1), "wb", buffering=0))


vars(ledger)["OFFER_SECONDS"] = 20.0  # as in patient_command.py
sys.exit(asyncio.run(serve(Path(sys.argv[1]), sys.argv[2:])))
