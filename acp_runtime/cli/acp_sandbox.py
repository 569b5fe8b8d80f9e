"""`subagents acp --agent`: behind the proxy is an agent in a sandbox, and what is between keeps it there."""

import argparse
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from acp_runtime.acp_proxy.agent import Agent, Say
from acp_runtime.acp_proxy.bridge import LONGEST_LINE
from acp_runtime.acp_proxy.conversation import Conversation
from acp_runtime.acp_proxy.enclosed import Enclosed
from acp_runtime.acp_proxy.enclosure import Enclosure
from acp_runtime.acp_proxy.proxy import Proxy
from acp_runtime.acp_proxy.sandbox_tools import SandboxTools
from acp_runtime.acp_proxy.sandboxed import SandboxedAgent, Site
from acp_runtime.cli.dead_runs import take_up_dead_runs
from acp_runtime.cli.options import check_model, check_names
from acp_runtime.cli.run import ORPHAN_SECONDS, PARENT
from acp_runtime.cli.talk import Talk
from acp_runtime.config import Config, load
from acp_runtime.core.request import Questions
from acp_runtime.manager.docker_launcher import DockerLauncher
from acp_runtime.places import environment
from acp_runtime.service.order import SpawnRequest
from sandbox.spec import WORKSPACE

__all__ = ["sandboxed"]

PURPOSE: Final = "the agent of an editor"


def sandboxed(options: argparse.Namespace) -> Proxy:
    """Return the proxy for an agent in a sandbox. Raises `UsageError`, `ConfigError` and `Rejected`."""
    check_names(options)
    config = load(Path(options.config) if options.config is not None else None, environment())
    check_model(options, config)
    kind = config.catalogue.kind(options.agent)
    request = SpawnRequest(
        agent=options.agent,
        workspace=Path(options.workspace),
        task=PURPOSE,
        image=options.image,
        model=options.model,
        model_url=options.model_url,
        model_key=options.model_key,
        questions=Questions.REFUSE,  # its editor answers it
        limits=replace(config.limits, restarts=0),
    )
    tools = SandboxTools(config)

    def conversation(say_editor: Say, say_agent: Say) -> Conversation:
        return Conversation(tools, say_editor=say_editor, say_agent=say_agent, wake=options.wake)

    enclosure = partial(
        Enclosure, workspace=options.workspace, inside=WORKSPACE, meta=kind.session_meta, longest=LONGEST_LINE
    )
    return Proxy(
        lambda: _started(config, request, tools), partial(Enclosed, conversation=conversation, enclosure=enclosure)
    )


async def _started(config: Config, request: SpawnRequest, tools: SandboxTools) -> Agent:
    # Nobody comes back for one whose proxy was killed but to save what it had done.
    config = replace(config, orphan_ttl=min(config.orphan_ttl, ORPHAN_SECONDS))
    say = Talk().say
    await take_up_dead_runs(config, lambda: DockerLauncher(config, environment()), parent=PARENT, say=say)
    parent = config.state_dir / "runs"
    parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder = Path(tempfile.mkdtemp(prefix="run-", dir=parent))
    launcher = DockerLauncher(config, environment())
    return await SandboxedAgent.start(request, Site(config, tools, launcher, folder, PARENT, say))
