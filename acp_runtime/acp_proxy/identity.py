"""Who a session of an editor is as a parent, and how its agent is told where our tools are."""

import hashlib
import re
import secrets
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from acp_runtime.core.errors import Rejected
from acp_runtime.mcp.clients import PASSED
from acp_runtime.mcp.identity import parent_name

SERVER_NAME: Final = "subagents"
UNNAMED_CLIENT: Final = "acp"
# -P: what stands in the folder of a session is never imported.
_ARGV: Final = ("-P", "-m", "acp_runtime.cli.main", "mcp")
# What says where the daemon is. Nothing else of our environment is put into a message: it may hold keys.
_PASSED: Final = ("HOME", *PASSED)


def parent_of(client: str, workspace: str, session: str) -> str:
    """Return the parent that a session of an editor is, whatever the editor and its agent call themselves."""
    word = re.sub(r"[^a-z0-9._-]+", "-", client.lower()).strip("-._")[:40] or UNNAMED_CLIENT
    try:
        return parent_name(word, Path(workspace), session)
    except Rejected:
        known = hashlib.sha256(f"{client}\0{session}".encode(errors="replace")).hexdigest()[:40]
        return parent_name(UNNAMED_CLIENT, Path(workspace), known)


def new_name(client: str, workspace: str) -> str:
    """Return a name for a session whose id only its agent's answer tells; it becomes an alias of `parent_of`."""
    return parent_of(client, workspace, f"new-{secrets.token_hex(8)}")


class Tools(Protocol):
    """How the sessions of an agent come to our tools, each as a parent of its own."""

    def session(self, session: str) -> str:
        """Return a session's id as it stands in the name of the parent that it is."""
        ...

    def server(self, parent: str, workspace: str) -> dict[str, Any]:
        """Return the MCP server that gives a parent our tools, as `session/new` takes one."""
        ...

    def forget(self, parent: str) -> None:
        """Hear that the editor has ended the session that a parent is. Idempotent."""
        ...


@dataclass(frozen=True, slots=True)
class HostTools:
    """Of an agent on this machine, which starts `subagents mcp`; `environ` says where the daemon is."""

    environ: Mapping[str, str]

    def session(self, session: str) -> str:
        """See `Tools`: a session that is loaded another day is the same parent."""
        return session

    def server(self, parent: str, workspace: str) -> dict[str, Any]:
        """See `Tools`."""
        env = [{"name": name, "value": self.environ[name]} for name in _PASSED if name in self.environ]
        args = [*_ARGV, "--workspace", workspace, "--parent", parent]
        return {"name": SERVER_NAME, "command": sys.executable, "args": args, "env": env}

    def forget(self, parent: str) -> None:
        """See `Tools`: who may start our program may be any parent, so nothing is taken back."""
