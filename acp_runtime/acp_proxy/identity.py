"""Who a session of an editor is as a parent, and how its agent is told where our tools are."""

import hashlib
import secrets
import sys
from collections.abc import Mapping
from typing import Any, Final

from acp_runtime.callers import MAX_PARENT_CHARS
from acp_runtime.core.plaintext import one_line

SERVER_NAME: Final = "subagents"
UNNAMED_CLIENT: Final = "client"
MAX_CLIENT: Final = 60
# -P: what stands in the folder of a session is never imported.
_ARGV: Final = ("-P", "-m", "acp_runtime.cli.main", "mcp", "--parent")
# What says where the daemon is. Nothing else of our environment is put into a message: it may hold keys.
_PASSED: Final = (
    "HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR", "SUBAGENTS_CONFIG", "DOCKER_HOST",
)  # fmt: skip


def parent_name(client: str, workspace: str, session: str) -> str:
    """Return the parent that a session is: client, workspace and the session's id."""
    name = f"acp:{one_line(client, MAX_CLIENT) or UNNAMED_CLIENT}:{workspace}:{session}"
    if len(name) <= MAX_PARENT_CHARS:
        return name
    return f"acp:{one_line(client, MAX_CLIENT)}:{hashlib.sha256(name.encode(errors='replace')).hexdigest()}"


def new_name(client: str, workspace: str) -> str:
    """Return a name for a session whose id only its agent's answer tells; it becomes an alias of `parent_name`."""
    return parent_name(client, workspace, f"new-{secrets.token_hex(8)}")


def tools_server(parent: str, environ: Mapping[str, str]) -> dict[str, Any]:
    """Return the MCP server that gives a parent our tools, as `session/new` takes one."""
    env = [{"name": name, "value": environ[name]} for name in _PASSED if name in environ]
    return {"name": SERVER_NAME, "command": sys.executable, "args": [*_ARGV, parent], "env": env}
