"""The words of the Agent Client Protocol v1: its names, what we say in it, and what we understand of an agent's words.

The builders return params and results that are valid by the protocol's schema. The readers take whatever an agent
sent and never raise: what is missing or of the wrong type reads as the default, what is too long is cut, and `_meta`
is looked at only where a field says so. File system and terminal access are never offered to an agent.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Any, Final

PROTOCOL_VERSION: Final = 1
CANCEL_REQUEST: Final = "$/cancel_request"
MAX_OPTIONS: Final = 32
MAX_AUTH_METHODS: Final = 32
MAX_TEXT: Final = 200
MAX_ID: Final = 1024


class AgentMethod(StrEnum):
    """What a client may call at an agent."""

    INITIALIZE = "initialize"
    AUTHENTICATE = "authenticate"
    LOGOUT = "logout"
    SESSION_NEW = "session/new"
    SESSION_LOAD = "session/load"
    SESSION_LIST = "session/list"
    SESSION_RESUME = "session/resume"
    SESSION_CLOSE = "session/close"
    SESSION_DELETE = "session/delete"
    SESSION_PROMPT = "session/prompt"
    SESSION_CANCEL = "session/cancel"
    SESSION_SET_MODE = "session/set_mode"
    SESSION_SET_CONFIG_OPTION = "session/set_config_option"
    SESSION_SET_TITLE = "session/set_title"
    SESSION_STEERING = "_session/steering"


class ClientMethod(StrEnum):
    """What an agent may call at its client; we answer the first two and forms, and refuse the rest."""

    SESSION_UPDATE = "session/update"
    SESSION_REQUEST_PERMISSION = "session/request_permission"
    FS_READ_TEXT_FILE = "fs/read_text_file"
    FS_WRITE_TEXT_FILE = "fs/write_text_file"
    TERMINAL_CREATE = "terminal/create"
    TERMINAL_OUTPUT = "terminal/output"
    TERMINAL_RELEASE = "terminal/release"
    TERMINAL_WAIT_FOR_EXIT = "terminal/wait_for_exit"
    TERMINAL_KILL = "terminal/kill"
    ELICITATION_CREATE = "elicitation/create"
    ELICITATION_COMPLETE = "elicitation/complete"


class StopReason(StrEnum):
    """How a prompt turn can end."""

    END_TURN = "end_turn"
    MAX_TOKENS = "max_tokens"
    MAX_TURN_REQUESTS = "max_turn_requests"
    REFUSAL = "refusal"
    CANCELLED = "cancelled"


class UpdateKind(StrEnum):
    """The stable kinds of session/update; agents send others too."""

    USER_MESSAGE_CHUNK = "user_message_chunk"
    AGENT_MESSAGE_CHUNK = "agent_message_chunk"
    AGENT_THOUGHT_CHUNK = "agent_thought_chunk"
    TOOL_CALL = "tool_call"
    TOOL_CALL_UPDATE = "tool_call_update"
    PLAN = "plan"
    AVAILABLE_COMMANDS_UPDATE = "available_commands_update"
    CURRENT_MODE_UPDATE = "current_mode_update"
    CONFIG_OPTION_UPDATE = "config_option_update"
    SESSION_INFO_UPDATE = "session_info_update"
    USAGE_UPDATE = "usage_update"
    NOTICE = "notice"
    COMPACTION_UPDATE = "compaction_update"
    COMPACTION_SUMMARY_CHUNK = "compaction_summary_chunk"


class PermissionKind(StrEnum):
    """What choosing a permission option does; the only field of an option that a decision may rest on."""

    ALLOW_ONCE = "allow_once"
    ALLOW_ALWAYS = "allow_always"
    REJECT_ONCE = "reject_once"
    REJECT_ALWAYS = "reject_always"


class ToolStatus(StrEnum):
    """How far a tool call is."""

    PENDING = "pending"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"


class ErrorCode(IntEnum):
    """Error codes of JSON-RPC and those that ACP adds."""

    PARSE_ERROR = -32700
    INVALID_REQUEST = -32600
    METHOD_NOT_FOUND = -32601
    INVALID_PARAMS = -32602
    INTERNAL_ERROR = -32603
    AUTH_REQUIRED = -32000
    NOT_FOUND = -32002
    REQUEST_CANCELLED = -32800


# What we say.


def initialize(name: str, version: str, *, failure_records: bool = False, forms: bool = False) -> dict[str, Any]:
    """Return the params of `initialize`; the file system and the terminal are said to be absent, not left out.

    `forms`: the agent may ask its user to fill some in. `failure_records` asks for what `read_failure` reads, an
    extension that some agents offer only to who declares it.
    """
    offered: dict[str, Any] = {"fs": {"readTextFile": False, "writeTextFile": False}, "terminal": False}
    if forms:
        offered["elicitation"] = {"form": {}}
    if failure_records:
        offered["_meta"] = {"jetbrains": {"air": {"version": 1, "capabilities": ["sessionFailure"]}}}
    return {
        "protocolVersion": PROTOCOL_VERSION,
        "clientCapabilities": offered,
        "clientInfo": {"name": name, "version": version},
    }


def authenticate(method_id: str) -> dict[str, Any]:
    """Return the params of `authenticate`; `method_id` is one of those the agent offered."""
    return {"methodId": method_id}


def session_new(
    cwd: str, mcp_servers: Sequence[Mapping[str, Any]] = (), meta: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the params of `session/new`; `meta` is what an agent takes beyond the protocol.

    Raises ValueError when `cwd`, a path inside the sandbox, is not absolute.
    """
    if not cwd.startswith("/"):
        raise ValueError(f"the session's directory is {cwd!r}; ACP wants an absolute path")
    params: dict[str, Any] = {"cwd": cwd, "mcpServers": [dict(server) for server in mcp_servers]}
    return {**params, "_meta": dict(meta)} if meta else params


def session_again(
    session_id: str, cwd: str, mcp_servers: Sequence[Mapping[str, Any]] = (), meta: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the params of `session/resume` and `session/load`: those of `session/new` and the session meant."""
    return {"sessionId": session_id, **session_new(cwd, mcp_servers, meta)}


def session_set_title(session_id: str, title: str) -> dict[str, Any]:
    """Return the params of `session/set_title`."""
    return {"sessionId": session_id, "title": title}


def session_list(cwd: str, cursor: str | None = None) -> dict[str, Any]:
    """Return the params of `session/list` for one page of the sessions of a directory."""
    return {"cwd": cwd} if cursor is None else {"cwd": cwd, "cursor": cursor}


def session_prompt(session_id: str, text: str, meta: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the params of `session/prompt` with one text block."""
    params = {"sessionId": session_id, "prompt": [{"type": "text", "text": text}]}
    return params if meta is None else {**params, "_meta": dict(meta)}


def session_steering(session_id: str, text: str) -> dict[str, Any]:
    """Return the params of `_session/steering`: where no turn is running, the message is to be given back."""
    return session_prompt(session_id, text, {"steering": {"idleBehavior": "promptRequired"}})


def session_cancel(session_id: str) -> dict[str, Any]:
    """Return the params of `session/cancel`, which is a notification."""
    return {"sessionId": session_id}


def permission_outcome(option_id: str | None) -> dict[str, Any]:
    """Return the result of `session/request_permission`: an option that was offered, or None for a cancelled turn."""
    if option_id is None:
        return {"outcome": {"outcome": "cancelled"}}
    return {"outcome": {"outcome": "selected", "optionId": option_id}}


# What we understand.


@dataclass(frozen=True, slots=True)
class AuthMethod:
    """A way to log in that the agent offers."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an agent says it can do; what it does not mention it cannot."""

    load: bool = False
    list: bool = False
    resume: bool = False
    close: bool = False
    delete: bool = False
    fork: bool = False
    system_prompt: bool = False
    title: bool = False
    image: bool = False
    audio: bool = False
    embedded_context: bool = False
    mcp_http: bool = False
    mcp_sse: bool = False


@dataclass(frozen=True, slots=True)
class AgentHello:
    """The agent's answer to `initialize`. Version 0 means that it named none; `steering` is read from `_meta`."""

    protocol_version: int = 0
    name: str = ""
    version: str = ""
    capabilities: Capabilities = Capabilities()
    steering: bool = False
    auth_methods: tuple[AuthMethod, ...] = ()


@dataclass(frozen=True, slots=True)
class Option:
    """One way to answer a permission request. `kind` is the agent's word, a PermissionKind or not."""

    id: str
    name: str
    kind: str


@dataclass(frozen=True, slots=True)
class PermissionAsk:
    """A permission request: at most 32 options with distinct ids, in the order offered."""

    session_id: str = ""
    tool_call_id: str = ""
    title: str = ""
    options: tuple[Option, ...] = ()


def read_initialize(result: Any) -> AgentHello:
    """Read the result of `initialize`."""
    result = _dict(result)
    info = _dict(result.get("agentInfo"))
    version = result.get("protocolVersion")
    methods = [(_ident(_dict(method).get("id")), _dict(method)) for method in _list(result.get("authMethods"))]
    return AgentHello(
        protocol_version=version if isinstance(version, int) and not isinstance(version, bool) else 0,
        name=_text(info.get("name")),
        version=_text(info.get("version")),
        capabilities=_capabilities(_dict(result.get("agentCapabilities"))),
        steering=_dict(_dict(result.get("_meta")).get("steering")).get("supported") is True,
        auth_methods=tuple(
            AuthMethod(ident, _text(method.get("name")) or ident)
            for ident, method in methods[:MAX_AUTH_METHODS]
            if ident
        ),
    )


def _capabilities(said: dict[str, Any]) -> Capabilities:
    session = _dict(said.get("sessionCapabilities"))
    prompt = _dict(said.get("promptCapabilities"))
    mcp = _dict(said.get("mcpCapabilities"))
    return Capabilities(
        load=said.get("loadSession") is True,
        list=_offered(session.get("list")),
        resume=_offered(session.get("resume")),
        close=_offered(session.get("close")),
        delete=_offered(session.get("delete")),
        fork=_offered(session.get("fork")),
        system_prompt=_offered(session.get("systemPrompt")),
        title=_offered(session.get("title")),
        image=prompt.get("image") is True,
        audio=prompt.get("audio") is True,
        embedded_context=prompt.get("embeddedContext") is True,
        mcp_http=mcp.get("http") is True,
        mcp_sse=mcp.get("sse") is True,
    )


def read_new_session(result: Any) -> str | None:
    """Return the session id in the result of `session/new`: one line of plain text; None when there is none."""
    ident = _ident(_dict(result).get("sessionId"))
    return ident if ident and ident.isprintable() else None


def read_session_list(result: Any) -> tuple[tuple[str, ...], str | None]:
    """Return the session ids of one page of `session/list`, and the cursor of the next page if there is one."""
    result = _dict(result)
    found = tuple(filter(None, (_ident(_dict(each).get("sessionId")) for each in _list(result.get("sessions")))))
    return found, _ident(result.get("nextCursor")) or None


def read_steering(result: Any) -> str:
    """Return the outcome in the result of `_session/steering`: the agent's own word, empty for none."""
    return _text(_dict(result).get("outcome"))


def read_prompt(result: Any) -> str | None:
    """Return the stop reason in the result of `session/prompt`, a StopReason or the agent's own word; None for none."""
    return _text(_dict(result).get("stopReason")) or None


def read_failure(result: Any) -> str:
    """Return why the turn failed, from the failure record in a result of `session/prompt`; empty when it did not."""
    record: Any = _dict(result).get("_meta")
    for key in ("jetbrains", "air", "sessionFailure"):
        record = _dict(record).get(key)
    record = _dict(record)
    if record.get("severity") != "error":
        return ""
    return _text(record.get("title")) or f"a failure of the kind {_text(record.get('category')) or 'unknown'}"


def read_permission_request(params: Any) -> PermissionAsk:
    """Read the params of `session/request_permission`; options without an id and repeated ids are dropped."""
    params = _dict(params)
    call = _dict(params.get("toolCall"))
    options: dict[str, Option] = {}
    for raw in _list(params.get("options")):
        offered = _dict(raw)
        ident = _ident(offered.get("optionId"))
        if ident and ident not in options and len(options) < MAX_OPTIONS:
            options[ident] = Option(ident, _text(offered.get("name")) or ident[:MAX_TEXT], _text(offered.get("kind")))
    return PermissionAsk(
        session_id=_ident(params.get("sessionId")),
        tool_call_id=_ident(call.get("toolCallId")),
        title=_text(call.get("title")),
        options=tuple(options.values()),
    )


def read_update(params: Any) -> tuple[str, str, dict[str, Any]]:
    """Return session id, kind and the update itself from the params of `session/update`; "" and {} where missing."""
    if not isinstance(params, dict):
        return "", "", {}
    update = params.get("update")
    if not isinstance(update, dict):
        return _ident(params.get("sessionId")), "", {}
    return _ident(params.get("sessionId")), _text(update.get("sessionUpdate")), update


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: Any) -> str:
    return value[:MAX_TEXT] if isinstance(value, str) else ""


def _ident(value: Any) -> str:
    """Return an id as it is or not at all: a cut one would name nothing."""
    return value if isinstance(value, str) and len(value) <= MAX_ID else ""


def _offered(marker: Any) -> bool:
    """Capabilities of a session are objects, empty ones too; some agents write true."""
    return isinstance(marker, dict) or marker is True
