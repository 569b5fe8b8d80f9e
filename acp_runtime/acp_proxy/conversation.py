"""What is passed on between editor and agent, and the few messages that are not passed on as they came.

Every message goes on as the very bytes, also one that is no JSON, but for these: the answer to `initialize` says that
we are there; `session/new`, `load`, `resume` and `fork` get our MCP server; a user message that the agent tells again
loses our block; and what answers a request of ours goes no further. Where a message is changed, pieces are put into
its text (`wire.jsonspans`), so that nothing else of it changes. With an agent that does not speak version 1 of the
protocol nothing is changed at all.
"""

import logging
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from acp_runtime import __version__
from acp_runtime.acp_proxy.identity import SERVER_NAME, UNNAMED_CLIENT, new_name, parent_name, tools_server
from acp_runtime.acp_proxy.replay import Replay
from acp_runtime.wire import acp, jsonspans, jsontext
from acp_runtime.wire.acp import AgentMethod, ClientMethod, UpdateKind
from acp_runtime.wire.jsonspans import find, spliced, with_item, with_member
from acp_runtime.wire.ndjson import Oversized

log = logging.getLogger(__name__)

META: Final = "acp-subagents"
MAX_PENDING: Final = 1_024
MAX_SESSIONS: Final = 1_000
SESSION_FORK: Final = "session/fork"
_OPENINGS: Final = (AgentMethod.SESSION_NEW, AgentMethod.SESSION_LOAD, AgentMethod.SESSION_RESUME, SESSION_FORK)
_ENDINGS: Final = (AgentMethod.SESSION_CLOSE, AgentMethod.SESSION_DELETE)
# What most updates begin with: their method is known without parsing them.
_UPDATE: Final = (
    b'{"jsonrpc":"2.0","method":"session/update",',
    b'{"jsonrpc": "2.0", "method": "session/update", ',
)
_USER_CHUNK: Final = UpdateKind.USER_MESSAGE_CHUNK.encode()

Key = tuple[type, Any]


@dataclass(slots=True)
class Session:
    """One session of the editor, which is a parent. `name` is what the tools know it by."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class _Opening:
    """A session that is being opened. `session` is its id where the editor named it."""

    method: str
    cwd: str
    name: str
    session: str | None


class Conversation:
    """One editor and one agent. No I/O: lines without their ends come in, and lines to pass on come out."""

    def __init__(self, environ: Mapping[str, str], answer_editor: Callable[[bytes], None]) -> None:
        self._environ = environ
        self._answer_editor = answer_editor
        self._own = f"{META}-{secrets.token_hex(8)}-"
        self._client = UNNAMED_CLIENT
        self._pending: dict[Key, tuple[str, Any]] = {}
        self._sessions: dict[str, Session] = {}
        self._replay = Replay()
        self._active = False

    # ---- what the editor says

    def from_editor(self, line: bytes | Oversized) -> list[bytes]:
        """Return what goes to the agent for one line of the editor."""
        if isinstance(line, Oversized):
            return self._too_long(line, self._answer_editor)
        message = _parsed(line)
        method = message.get("method") if isinstance(message, dict) else None
        if not isinstance(message, dict) or not isinstance(method, str):
            return [] if self._is_ours(message) else [line]
        params = message.get("params")
        if isinstance(params, dict) and (key := _key(message)) is not None and len(self._pending) < MAX_PENDING:
            if method == AgentMethod.INITIALIZE:
                self._pending[key] = (method, params)
            elif method in _OPENINGS and self._active:
                return [self._opening(key, method, params, line)]
            elif method in _ENDINGS and self._active:
                self._sessions.pop(str(params.get("sessionId")), None)
        return [line]

    def _opening(self, key: Key, method: str, params: dict[str, Any], line: bytes) -> bytes:
        """Put our MCP server among those of a session. What the agent will refuse, and a server of our name, stay."""
        cwd, session, servers = params.get("cwd"), params.get("sessionId"), params.get("mcpServers")
        named = method in (AgentMethod.SESSION_LOAD, AgentMethod.SESSION_RESUME)
        if not isinstance(cwd, str) or not isinstance(servers, list | None) or (named and not isinstance(session, str)):
            return line
        if any(isinstance(each, dict) and each.get("name") == SERVER_NAME for each in servers or ()):
            log.warning("the editor has an MCP server %r of its own: ours is not added to %s", SERVER_NAME, method)
            return line
        name = parent_name(self._client, cwd, str(session)) if named else new_name(self._client, cwd)
        self._pending[key] = (method, _Opening(method, cwd, name, session if named else None))
        return _put(line, "mcpServers", tools_server(name, self._environ))

    # ---- what the agent says

    def from_agent(self, line: bytes | Oversized) -> list[bytes]:
        """Return what goes to the editor for one line of the agent."""
        if isinstance(line, Oversized):
            return [*self._replay.flush(), *self._too_long_answer(line)]
        if line.startswith(_UPDATE) and not self._replay.holding and _USER_CHUNK not in line:
            return [line]
        message = _parsed(line)
        if isinstance(message, dict) and message.get("method") == ClientMethod.SESSION_UPDATE:
            return self._update(message.get("params"), line)
        return [*self._replay.flush(), *self._passed(message, line)]

    def _passed(self, message: Any, line: bytes) -> list[bytes]:
        if not isinstance(message, dict) or message.get("method") is not None:
            return [line]
        if self._is_ours(message):
            return []
        key = _key(message)
        waiting = self._pending.pop(key, None) if key is not None else None
        return [line if waiting is None else self._answered(*waiting, message, line)]

    def _answered(self, method: str, asked: Any, message: dict[str, Any], line: bytes) -> bytes:
        result = message.get("result")
        if message.get("error") is not None or not isinstance(result, dict):
            return line
        if method == AgentMethod.INITIALIZE:
            return self._initialized(asked, result, line)
        session = asked.session or result.get("sessionId")
        if isinstance(session, str):
            self._sessions[session] = Session(session, asked.name)
            if len(self._sessions) > MAX_SESSIONS:
                self._sessions.pop(next(iter(self._sessions)))
        return line

    def _initialized(self, params: dict[str, Any], result: dict[str, Any], line: bytes) -> bytes:
        hello = acp.read_initialize(result)
        meta = result.get("_meta")
        if isinstance(meta, dict) and META in meta:
            log.warning("the agent has a proxy of ours already: everything is passed on as it is")
        elif hello.protocol_version != acp.PROTOCOL_VERSION:
            log.warning("the agent speaks version %s of ACP: everything is passed on as it is", hello.protocol_version)
        else:
            self._active = True
            info = params.get("clientInfo")
            self._client = str(info.get("name")) if isinstance(info, dict) and info.get("name") else UNNAMED_CLIENT
            return _with_meta(line, {META: {"version": __version__}})
        return line

    def _update(self, params: Any, line: bytes) -> list[bytes]:
        session, kind, update = acp.read_update(params)
        content = update.get("content")
        text = content.get("text") if isinstance(content, dict) else None
        if self._active and kind == UpdateKind.USER_MESSAGE_CHUNK and isinstance(text, str):
            return self._replay.chunk(session, line, text)
        return [*self._replay.flush(session), line]

    # ---- lines that are too long

    def _too_long(self, line: Oversized, answer: Callable[[bytes], None]) -> list[bytes]:
        seen = jsontext.peek(line.prefix)
        log.warning("a line of %d bytes of the editor was not passed on", line.length)
        if "method" in seen.names and _is_id(seen.id):
            error = {"code": acp.ErrorCode.INVALID_REQUEST, "message": _refusal(line)}
            answer(jsontext.dump({"jsonrpc": "2.0", "id": seen.id, "error": error})[:-1])
        return []

    def _too_long_answer(self, line: Oversized) -> list[bytes]:
        """Tell the editor that the answer it waits for was too long; other messages are lost, and that is logged."""
        seen = jsontext.peek(line.prefix)
        log.warning("a line of %d bytes of the agent was not passed on", line.length)
        if "method" in seen.names or not _is_id(seen.id) or self._is_ours({"id": seen.id}):
            return []
        self._pending.pop((type(seen.id), seen.id), None)
        error = {"code": acp.ErrorCode.INTERNAL_ERROR, "message": _refusal(line)}
        return [jsontext.dump({"jsonrpc": "2.0", "id": seen.id, "error": error})[:-1]]

    def _is_ours(self, message: Any) -> bool:
        """Return whether a message without a method answers a request of ours."""
        ident = message.get("id") if isinstance(message, dict) and message.get("method") is None else None
        return isinstance(ident, str) and ident.startswith(self._own)


def _parsed(line: bytes) -> Any:
    """Return what a line says, None for what we do not read: the other side may."""
    try:
        return jsontext.parse(line)
    except ValueError:
        return None


def _key(message: dict[str, Any]) -> Key | None:
    """Return the id of a request or an answer as a key, so that 1 and "1" are two; None for none that can be one."""
    ident = message.get("id")
    return (type(ident), ident) if isinstance(ident, str | int | float) else None


def _is_id(value: Any) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool)


def _refusal(line: Oversized) -> str:
    return f"the line was {line.length} bytes long, over the cap of the proxy; send less at once"


def _put(line: bytes, name: str, item: Any) -> bytes:
    """Add an item to a list of the params, which is made where there is none."""
    array = find(line, "params", name)
    if array is not None and line[array[0] : array[0] + 1] == b"[":
        return with_item(line, array, item)
    if array is not None:
        return jsonspans.written(line, array, [item])
    params = find(line, "params")
    return line if params is None else with_member(line, params, name, [item])


def _with_meta(line: bytes, meta: dict[str, Any]) -> bytes:
    """Add to `_meta` of a result, which is made where there is none."""
    result, found = find(line, "result"), find(line, "result", "_meta")
    if result is None:
        return line
    if found is None:
        return with_member(line, result, "_meta", meta)
    if line[found[0] : found[0] + 1] == b"{":
        for name, value in meta.items():
            return with_member(line, found, name, value)
    return spliced(line, [(found, jsontext.dump(meta)[:-1])])
