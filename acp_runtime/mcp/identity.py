"""Who a parent is: the client, the root of its workspace, and the host's session; one name made of the three.

Most hosts tell an MCP server no session id. Such a process is a session of its own, until a hook of the same host
process says which session that is (`registry.py`), or its user names a parent for it to be.
"""

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from acp_runtime.callers import MAX_PARENT_CHARS
from acp_runtime.core.errors import Rejected
from acp_runtime.core.plaintext import one_line

ANY_CLIENT: Final = "mcp"
MAX_WORD: Final = 200
# What begins with it is a subagent that leads others: no outer door may be one.
_INNER: Final = "subagent"
_CLIENT: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,39}")


def parent_name(client: str, workspace: Path, session: str) -> str:
    """Return the name of a parent. The same three give the same name, in an MCP process, a hook, or any other door.

    Raises `Rejected` (invalid) for a client or a session that can have no part in a name.
    """
    if _CLIENT.fullmatch(client) is None or client == _INNER:
        shown = one_line(client, 60)
        raise Rejected("invalid", f"{shown!r} is no name for a client; use a short word of a-z, 0-9, dots and dashes")
    word = one_line(session, MAX_WORD + 1)
    if not word or word != session or len(word) > MAX_WORD:
        shown = one_line(session, 60)
        raise Rejected("invalid", f"{shown!r} is no id of a session; it is one word of at most {MAX_WORD} characters")
    root = str(root_of(workspace))
    if len(root) > MAX_PARENT_CHARS - MAX_WORD - 50:
        root = f"/…/{hashlib.sha256(root.encode('utf-8', 'surrogateescape')).hexdigest()[:24]}"
    return f"{client}:{session} {one_line(root, MAX_PARENT_CHARS)}"


def session_told(meta: object) -> str | None:
    """Return the id of the host's session where a request carries it: Codex puts it beside each call of a tool."""
    told = meta.get("x-codex-turn-metadata") if isinstance(meta, Mapping) else None
    found = told.get("session_id") if isinstance(told, Mapping) else None
    return found if isinstance(found, str) else None


def own_session() -> str:
    """Return the id of a session of which nothing is known but that it begins now."""
    return f"mcp-{os.urandom(8).hex()}"


def root_of(folder: Path) -> Path:
    """Return the root of the workspace that a folder belongs to: of its repository, else the folder itself.

    Never raises: what no folder can be called, or nobody may look at, is in no repository.
    """
    try:
        folder = Path(os.path.realpath(folder))
    except ValueError:
        return folder
    roots = (each for each in (folder, *folder.parents) if os.path.exists(each / ".git"))  # noqa: PTH110 - that raises
    return next(roots, folder)
