"""`subagents mcp`: the MCP server that a client starts for its session; and the client's configuration that says so."""

import argparse
import os
import sys
from pathlib import Path
from typing import Final

from acp_runtime.callers import admitted
from acp_runtime.cli.codes import Exit
from acp_runtime.cli.stdout import put
from acp_runtime.cli.talk import Talk
from acp_runtime.config import ConfigError, load
from acp_runtime.core.errors import Rejected
from acp_runtime.core.plaintext import one_line
from acp_runtime.mcp import config_file
from acp_runtime.mcp.clients import CLIENTS
from acp_runtime.places import environment, runtime_dir
from acp_runtime.tools import TOOLSETS, Limits

DEFAULT_SETS: Final = "background"


def mcp(options: argparse.Namespace) -> int:
    """Serve on standard input and output until the client leaves; or write its configuration."""
    if options.what is not None:
        return _configure(options)
    from acp_runtime.cli.mcp_process import Terms, run  # noqa: PLC0415 - a wrong command line is told at once

    talk = Talk()
    talk.log()
    terms = Terms(
        client=options.client,
        workspace=_folder(options.workspace),
        sets=_sets(options.tools),
        parent=None if options.parent is None else admitted(options.parent),
        runtime_dir=runtime_dir(environment()),
        limits=_limits(talk),
    )
    run(terms)
    return Exit.DONE


def _limits(talk: Talk) -> Limits | None:
    """Return what the configuration allows a parent; a mistake in it is the daemon's to refuse, and told here too."""
    try:
        return Limits.of(load(None, environment()))
    except ConfigError as error:
        talk.tell(f"subagents mcp: {error}")
        return None


def _configure(options: argparse.Namespace) -> int:
    """Put the server into a client's configuration or take it out, and put out the change; a dry run does only that."""
    client = CLIENTS.get(options.client)
    if client is None:
        known = ", ".join(CLIENTS)
        raise Rejected(
            "invalid", f"--client is {one_line(options.client, 60)}; its configuration is known for: {known}"
        )
    path = client.file(environment(), _folder(options.workspace) if options.project else None)
    if options.what == "install":
        _sets(options.tools)
        chosen = () if options.tools == DEFAULT_SETS else ("--tools", options.tools)
        change = config_file.installing(client, path, client.server(_program(), chosen))
    else:
        change = config_file.uninstalling(client, path)
    for line in change.diff():
        put(line)
    talk = Talk()
    if not change.needed:
        talk.tell(f"nothing to do: {path} is as wanted")
    elif options.dry_run:
        talk.tell(f"{path} is not changed (--dry-run)")
    else:
        config_file.perform(change)
        talk.tell(_done(change, options.what))
    return Exit.DONE


def _done(change: config_file.Change, what: str) -> str:
    if what == "install":
        kept = f"; as it was before it is kept in {change.backup}" if change.backup.exists() else ""
        return f"{change.path} is changed{kept}; start the client anew"
    config_file.forget_backup(change)
    return f"{change.path} is as it was without the server"


def _program() -> tuple[str, ...]:
    """Return this very command, by its whole path: what a client starts has another environment than this shell."""
    called = Path(sys.argv[0]).absolute()
    if called.name == "subagents" and os.access(called, os.X_OK):
        return (str(called),)
    return (sys.executable, "-P", "-m", "acp_runtime.cli.main")


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
