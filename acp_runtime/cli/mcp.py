"""`subagents mcp`: the MCP server that a client starts for its session."""

import argparse
from pathlib import Path

from acp_runtime.callers import admitted
from acp_runtime.cli.codes import Exit
from acp_runtime.cli.talk import Talk
from acp_runtime.core.errors import Rejected
from acp_runtime.places import environment, runtime_dir
from acp_runtime.tools import TOOLSETS


def mcp(options: argparse.Namespace) -> int:
    """Serve on standard input and output until the client leaves."""
    from acp_runtime.cli.mcp_process import Terms, run  # noqa: PLC0415 - a wrong command line is told at once

    Talk().log()
    terms = Terms(
        client=options.client,
        workspace=_folder(options.workspace),
        sets=_sets(options.tools),
        parent=None if options.parent is None else admitted(options.parent),
        runtime_dir=runtime_dir(environment()),
    )
    run(terms)
    return Exit.DONE


def _folder(given: str) -> Path:
    folder = Path(given).resolve()
    if not folder.is_dir():
        raise Rejected("invalid", f"the workspace {folder} is no folder")
    return folder


def _sets(given: str) -> tuple[str, ...]:
    """Return the names of tool sets in a list with commas. Raises `Rejected` (invalid)."""
    names = tuple(dict.fromkeys(name.strip() for name in given.split(",")))
    if unknown := [name for name in names if name not in TOOLSETS]:
        raise Rejected("invalid", f"there is no tool set {unknown[0]!r}; there are: {', '.join(TOOLSETS)}")
    return names
