"""`subagents mcp`: the MCP server that a client starts for its session; and the client's configuration that says so."""

import argparse
import gc
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from acp_runtime.callers import admitted
from acp_runtime.cli.client_file import carry_out, folder, program, unknown_client
from acp_runtime.cli.codes import Exit
from acp_runtime.cli.talk import Talk
from acp_runtime.core.errors import Rejected
from acp_runtime.hooks.hosts import HOSTS
from acp_runtime.mcp import config_file
from acp_runtime.mcp.clients import CLIENTS
from acp_runtime.mcp.server_entry import ServerEntry
from acp_runtime.places import environment, runtime_dir

if TYPE_CHECKING:
    from acp_runtime.tools import Limits

DEFAULT_SETS: Final = "background"


def mcp(options: argparse.Namespace) -> int:
    """Serve on standard input and output until the client leaves; or write its configuration."""
    if options.what is not None:
        return _configure(options)
    talk = Talk()
    talk.log()
    with _loading():
        workspace, sets, limits = folder(options.workspace), _sets(options.tools), _limits(talk)
        parent = None if options.parent is None else admitted(options.parent)
        from acp_runtime.cli.mcp_process import Terms, run  # noqa: PLC0415 - a wrong command line is told at once

        terms = Terms(options.client, workspace, sets, parent, runtime_dir(environment()), limits)
    run(terms)
    return Exit.DONE


@contextmanager
def _loading() -> Iterator[None]:
    """Look for no garbage inside the block, nor ever among what was made in it.

    A client waits for its server at each start, and a seventh of that was to look through what is loaded, which stays.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _limits(talk: Talk) -> "Limits | None":
    """Return what the configuration allows a parent; a mistake in it is the daemon's to refuse, and told here too."""
    from acp_runtime.config import ConfigError, load  # noqa: PLC0415 - loaded in the block above
    from acp_runtime.tools import Limits  # noqa: PLC0415

    try:
        return Limits.of(load(None, environment()))
    except ConfigError as error:
        talk.tell(f"subagents mcp: {error}")
        return None


def _configure(options: argparse.Namespace) -> int:
    """Put the server into a client's configuration or take it out, and put out the change; a dry run does only that."""
    client = CLIENTS.get(options.client)
    if client is None:
        raise unknown_client(options.client, tuple(CLIENTS))
    path = client.file(environment(), folder(options.workspace) if options.project else None)
    piece = ServerEntry(client)
    if options.what == "uninstall":
        carry_out(config_file.uninstalling(piece, path), options.what, dry_run=options.dry_run)
        return Exit.DONE
    _sets(options.tools)
    chosen = () if options.tools == DEFAULT_SETS else ("--tools", options.tools)
    named = () if options.parent is None else ("--parent", admitted(options.parent))
    change = config_file.installing(piece, path, client.server(program(), (*chosen, *named)))
    if carry_out(change, options.what, dry_run=options.dry_run) and client.name in HOSTS:
        same = shlex.join(("subagents", "hook", "install", "--client", client.name, *named))
        Talk().tell(f"it has hooks, too, which tell its model what is due (docs/hooks.md): {same}")
    return Exit.DONE


def _sets(given: str) -> tuple[str, ...]:
    """Return the names of tool sets in a list with commas. Raises `Rejected` (invalid)."""
    from acp_runtime.tools import TOOLSETS  # noqa: PLC0415

    names = tuple(dict.fromkeys(name.strip() for name in given.split(",")))
    if unknown := [name for name in names if name not in TOOLSETS]:
        raise Rejected("invalid", f"there is no tool set {unknown[0]!r}; there are: {', '.join(TOOLSETS)}")
    return names
