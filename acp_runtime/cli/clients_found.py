"""What the doctor says of clients whose configuration starts us, by an MCP server, by hooks, or by both."""

import shlex
import shutil
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from acp_runtime.cli.finding import Finding, Mark
from acp_runtime.core.errors import Rejected
from acp_runtime.core.plaintext import one_line
from acp_runtime.hooks.bound import LATE
from acp_runtime.hooks.settings import SETTINGS, HookEntries
from acp_runtime.mcp import config_file
from acp_runtime.mcp.clients import CLIENTS, Client, Environ
from acp_runtime.mcp.server_entry import ServerEntry, words_of

Words = list[str]


def about_clients(environ: Environ, folder: Path) -> Iterator[Finding]:
    """Look at what is installed for the user, and for the project in a folder; nothing is said of other clients."""
    for client in CLIENTS.values():
        try:
            servers, hooks = list(_servers(client, environ, folder)), list(_hooks(client.name, environ, folder))
        except Rejected as error:
            yield Finding(Mark.WARN, client.name, str(error))
            continue
        if servers or hooks:
            wrong = _wrong(client.name, servers, hooks, environ)
            whole = "starts the MCP server" + (", and has its hooks" if hooks else "")
            yield Finding(Mark.WARN if wrong else Mark.GOOD, client.name, wrong or whole)


def about_late_hooks(folder: Path) -> Iterator[Finding]:
    """Tell of hooks that ran out of their time, as the runtime folder has them: their hosts heard nothing."""
    try:
        found = (folder / LATE).stat()
    except OSError:
        return
    last = datetime.fromtimestamp(found.st_mtime, UTC).isoformat(" ", "seconds").removesuffix("+00:00")
    said = f"at least {found.st_size} ran out of their time, the last one at {last}Z: machine or daemon were too busy"
    remedy = f"`subagents hook install --within MS` gives them more; then remove {folder / LATE}"
    yield Finding(Mark.WARN, "hooks", f"{said}. What they had to tell is told later; {remedy}")


def _servers(client: Client, environ: Environ, folder: Path) -> Iterator[Words]:
    """Return the commands of our servers; one that is had by URL has none."""
    for path in {client.file(environ, None), client.file(environ, folder)}:
        entry = config_file.found(ServerEntry(client), path)
        if entry is not None:
            yield words_of(entry)


def _hooks(name: str, environ: Environ, folder: Path) -> Iterator[Words]:
    settings = SETTINGS.get(name)
    if settings is None:
        return
    for path in {settings.file(environ, None), settings.file(environ, folder)}:
        found: dict[str, list[Any]] = config_file.found(HookEntries(), path) or {}
        yield from (shlex.split(each["command"]) for handlers in found.values() for each in handlers)


def _wrong(name: str, servers: Sequence[Words], hooks: Sequence[Words], environ: Environ) -> str:
    """Return what is wrong and what to do about it, empty where all is right."""
    for what, commands in (("mcp", servers), ("hook", hooks)):
        for program in (words[0] for words in commands if words):
            if shutil.which(program, path=environ.get("PATH")) is None:
                shown = one_line(program, 200)
                return f"starts {shown}, which is no program; run `subagents {what} install --client {name}`"
    if not servers:
        return f"has our hooks and no MCP server; run `subagents mcp install --client {name}`"
    parents = {_parent(words) for words in (*servers, *hooks) if words}
    if len(parents) > 1:
        shown = " and ".join(sorted(repr(one_line(each, 60)) if each else "a session's own" for each in parents))
        return f"names different parents: {shown}; install the MCP server and the hooks with the same --parent"
    return ""


def _parent(words: Words) -> str:
    return words[words.index("--parent") + 1] if "--parent" in words[:-1] else ""
