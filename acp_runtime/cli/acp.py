"""The verb `acp`: stand between an editor and its agent."""

import argparse
import asyncio
import logging
import os
import signal
import sys
from functools import partial
from typing import Final

from acp_runtime.acp_proxy.agent import Say
from acp_runtime.acp_proxy.conversation import Conversation
from acp_runtime.acp_proxy.identity import HostTools
from acp_runtime.acp_proxy.link import Link
from acp_runtime.acp_proxy.process import AgentProcess
from acp_runtime.acp_proxy.proxy import Proxy
from acp_runtime.cli.codes import Exit
from acp_runtime.cli.signals import Signals
from acp_runtime.cli.talk import Talk
from acp_runtime.core.errors import Rejected
from acp_runtime.core.plaintext import printable
from acp_runtime.places import environment

# The options of an agent in a sandbox, with what they are where nobody gives them.
_SANDBOX: Final = {
    "workspace": ".", "image": None, "model": None, "model_url": None, "model_key": None, "config": None,
}  # fmt: skip


def acp(options: argparse.Namespace) -> int:
    """Serve an editor on standard input and output, with the agent that is started for it, until one of them ends.

    Without a command a conductor is served, which has the agent; with `--agent` the agent runs in a sandbox.
    """
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Plain("subagents acp: %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    if options.agent is not None:
        return _serve_sandboxed(options, command)
    if given := [name for name in _SANDBOX if getattr(options, name) != _SANDBOX[name]]:
        raise Rejected("invalid", f"--{given[0].replace('_', '-')} is for an agent in a sandbox: name it with --agent")
    return asyncio.run(_serve(_between(command, wake=options.wake)))


def _between(command: list[str], *, wake: bool) -> Proxy | Link:
    if not command:
        return Link(environment(), wake=wake)

    def conversation(say_editor: Say, say_agent: Say) -> Conversation:
        return Conversation(HostTools(environment()), say_editor=say_editor, say_agent=say_agent, wake=wake)

    return Proxy(partial(AgentProcess.start, command), conversation)


def _serve_sandboxed(options: argparse.Namespace, command: list[str]) -> int:
    if command:
        raise Rejected(
            "invalid", "--agent and a command exclude each other: an agent in a sandbox is started by its kind"
        )
    from acp_runtime.cli.acp_sandbox import sandboxed  # noqa: PLC0415 - the engine's client is slow to load
    from acp_runtime.cli.options import UsageError  # noqa: PLC0415
    from acp_runtime.config import ConfigError  # noqa: PLC0415
    from acp_runtime.core.errors import StoreError  # noqa: PLC0415
    from acp_runtime.manager.launcher import LaunchError  # noqa: PLC0415

    try:
        return asyncio.run(_serve(sandboxed(options)))
    except (UsageError, ConfigError) as error:
        Talk().tell(f"subagents acp: {error}")
        return Exit.USAGE
    except (LaunchError, StoreError, OSError) as error:
        Talk().tell(f"subagents acp: {error}")
        return Exit.FAILED


class _Plain(logging.Formatter):
    """Nothing in a record controls a terminal; traces of bugs of ours keep their lines."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


async def _serve(proxy: Proxy | Link) -> int:
    signals = Signals(proxy.terminate)
    # Copies, so that the streams of this process stay what they are until its end.
    given = os.fdopen(os.dup(sys.stdin.fileno()), "rb", buffering=0)
    said = os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0)
    with signals.handled():
        code = await proxy.run(given, said)
    if signals.code is not None:
        return signals.code
    if code not in (0, -signal.SIGTERM, -signal.SIGKILL):
        Talk().tell(f"subagents acp: the agent ended with exit code {code}")
        return Exit.FAILED
    return Exit.DONE
