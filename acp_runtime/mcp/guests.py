"""Whose session an HTTP request belongs to: what it says of its parent, its workspace and the tools that it wants.

In headers `X-Subagents-NAME`, percent-encoded where they are not ASCII, or in the query of the URL; the header counts.
"""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

from starlette.requests import Request

from acp_runtime.callers import admitted
from acp_runtime.core.errors import Rejected
from acp_runtime.core.plaintext import one_line
from acp_runtime.mcp.identity import ANY_CLIENT, parent_name, session_told
from acp_runtime.mcp.session import Session
from acp_runtime.mcp.turns import Telling
from acp_runtime.service import Runtime
from acp_runtime.tools import TOOLSETS, Desk, Limits, Toolbox

SESSION: Final = "mcp-session-id"
MAX_KEPT: Final = 256


@dataclass(frozen=True, slots=True)
class Guest:
    """A parent, the folder that its subagents work on, and the names of its tool sets."""

    parent: str
    workspace: Path
    sets: tuple[str, ...]

    @classmethod
    def of(cls, request: Request, params: Mapping[str, Any] | None) -> "Guest":
        """Return who asks. Raises `Rejected` (invalid)."""
        workspace = _workspace(_given(request, "workspace"))
        names = tuple(dict.fromkeys(each.strip() for each in (_given(request, "tools") or "background").split(",")))
        if unknown := [name for name in names if name not in TOOLSETS]:
            shown = one_line(unknown[0], 60)
            raise Rejected("invalid", f"there is no tool set {shown!r}; there are: {', '.join(TOOLSETS)}")
        if (parent := _given(request, "parent")) is not None:
            return cls(admitted(parent), workspace, names)
        word = session_told((params or {}).get("_meta")) or _word_of(request.headers.get(SESSION))
        return cls(parent_name(_given(request, "client") or ANY_CLIENT, workspace, word), workspace, names)


class Guests:
    """The sessions of who has asked lately. One that is pushed out loses nothing: what it was told is told again."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._kept: OrderedDict[Guest, Session] = OrderedDict()

    def session(self, guest: Guest) -> Session:
        """Return the session of a guest."""
        found = self._kept.get(guest)
        if found is None:
            limits = Limits.of(self._runtime.config)
            desk = Desk(self._runtime, guest.parent, guest.workspace, limits=limits)
            found = self._kept[guest] = Session(Toolbox(desk, guest.sets), Telling(self._runtime, guest.parent))
        self._kept.move_to_end(guest)
        if len(self._kept) > MAX_KEPT:
            idle = next((each for each, session in self._kept.items() if session.idle and each != guest), None)
            if idle is not None:
                del self._kept[idle]
        return found

    async def close(self) -> None:
        """Wait for what must not be cut, within bounds."""
        await asyncio.gather(*(each.close() for each in self._kept.values()))


def _given(request: Request, name: str) -> str | None:
    header = request.headers.get(f"x-subagents-{name}")
    return request.query_params.get(name) if header is None else unquote(header)


def _workspace(given: str | None) -> Path:
    if not given:
        raise Rejected("invalid", "name the folder to work on, in the header X-Subagents-Workspace or as ?workspace=")
    path = Path(given)
    try:
        found = path.is_absolute() and path.is_dir()
    except (OSError, ValueError):
        found = False
    if not found:
        shown = one_line(given, 200)
        raise Rejected("invalid", f"the workspace {shown} is no folder of this machine; give its whole path")
    return path


def _word_of(session: str | None) -> str:
    """Return the part in its parent's name of a session that the server gave an id; the id itself is told nobody."""
    if session is None:
        name = "name a parent, in the header X-Subagents-Parent or as ?parent="
        raise Rejected("invalid", f"this version of the protocol has no sessions: {name}")
    return f"http-{hashlib.sha256(session.encode('utf-8', 'surrogateescape')).hexdigest()[:16]}"
