"""The verb `top`: the terminal view over the daemon."""

import argparse
import sys

from acp_runtime.cli.codes import Exit
from acp_runtime.core.errors import Rejected


def top(_options: argparse.Namespace) -> int:
    """Show the tree of subagents until the person leaves. Raises `Rejected` (invalid) where there is no terminal."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise Rejected("invalid", "top draws on a terminal, and this is none; `subagents ps` and `show` print")
    from acp_runtime.client import RemoteRuntime  # noqa: PLC0415 - only this verb draws
    from acp_runtime.tui.app import TopApp  # noqa: PLC0415

    app = TopApp(RemoteRuntime.connect)
    app.run()
    return Exit.DONE if app.return_code in (0, None) else Exit.FAILED
