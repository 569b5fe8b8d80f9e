"""The verb `acp`: stand between an editor and its agent."""

import argparse
import asyncio
import logging
import os
import signal
import sys

from acp_runtime.acp_proxy.link import Link
from acp_runtime.acp_proxy.proxy import Proxy
from acp_runtime.cli.codes import Exit
from acp_runtime.cli.signals import Signals
from acp_runtime.cli.talk import Talk
from acp_runtime.core.plaintext import printable
from acp_runtime.places import environment


def acp(options: argparse.Namespace) -> int:
    """Serve an editor on standard input and output, with the agent that is started for it, until one of them ends.

    Without a command a conductor is served, which has the agent.
    """
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Plain("subagents acp: %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    return asyncio.run(_serve(command, wake=options.wake))


class _Plain(logging.Formatter):
    """Nothing in a record controls a terminal; traces of bugs of ours keep their lines."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


async def _serve(command: list[str], *, wake: bool) -> int:
    proxy = Proxy(command, environment(), wake=wake) if command else Link(environment(), wake=wake)
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
