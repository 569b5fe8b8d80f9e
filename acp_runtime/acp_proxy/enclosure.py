"""What is passed on between an editor and an agent that is kept in a sandbox: nothing by which it could leave it.

An editor trusts its agent: it reads and writes files for it, runs its commands, and starts what it names as a login.
To the agent in a sandbox nothing of that is offered, and what it asks for in spite of that gets no further than here:
of what agents say, only what is in `_LET_OUT` and answers reach the editor, each a plain message which all parsers
read alike, and no address to open among them. The editor's folder, and files of it that a prompt links to, are named to
the agent as the sandbox has them, and its sessions to the editor as the machine has them; the editor's MCP servers,
which are of its machine, are not named to the agent at all. All else is passed on as the very bytes.
"""

import logging
from collections.abc import Mapping
from typing import Any, Final

from acp_runtime.acp_proxy.agent import Say
from acp_runtime.acp_proxy.copied import Copied
from acp_runtime.acp_proxy.refusal import is_id, parsed, refusal, too_long
from acp_runtime.acp_proxy.rewriting import renamed, with_param, within_params
from acp_runtime.core.plaintext import one_line
from acp_runtime.wire import acp, jsontext
from acp_runtime.wire.acp import AgentMethod, ClientMethod, ErrorCode
from acp_runtime.wire.jsonspans import find, members, written
from acp_runtime.wire.ndjson import Oversized

__all__ = ["Enclosure"]

log = logging.getLogger(__name__)

MAX_TOLD: Final = 20
_SESSION_FORK: Final = "session/fork"
_OPENINGS: Final = (AgentMethod.SESSION_NEW, AgentMethod.SESSION_LOAD, AgentMethod.SESSION_RESUME, _SESSION_FORK)
_LET_OUT: Final = frozenset(
    {
        ClientMethod.SESSION_UPDATE, ClientMethod.SESSION_REQUEST_PERMISSION, ClientMethod.ELICITATION_CREATE,
        acp.CANCEL_REQUEST,
    }
)  # fmt: skip
_MEMBERS: Final = frozenset({"jsonrpc", "id", "method", "params", "result", "error"})
# What an editor does for its agent on its own machine.
_NOT_OFFERED: Final = {"fs": {"readTextFile": False, "writeTextFile": False}, "terminal": False}
_LOGIN: Final = ("id", "name", "description")
_LINKS: Final = (("uri",), ("resource", "uri"))
_FOLDERS: Final = (("cwd",),)


class Enclosure:
    """One editor and one agent. `workspace` is the folder of which the agent has a copy, `inside` where it has it.

    `meta` is what its kind is given with each session; `longest` bounds, in bytes, what it can be told at once.
    """

    def __init__(
        self, say_editor: Say, say_agent: Say, *, workspace: str, inside: str, meta: Mapping[str, Any], longest: int
    ) -> None:
        self._say_editor = say_editor
        self._say_agent = say_agent
        self._copied = Copied(workspace, inside)
        self._meta = meta
        self._longest = longest
        self._told: set[str] = set()

    # ---- what the editor says

    def without_servers(self, line: bytes | Oversized) -> bytes | Oversized:
        """Return a line of the editor without the MCP servers of its machine, which are not the sandbox's."""
        message = parsed(line) if isinstance(line, bytes) else None
        if isinstance(line, Oversized) or not isinstance(message, dict) or message.get("method") not in _OPENINGS:
            return line
        params = message.get("params")
        return self._without(line, params, "mcpServers") if isinstance(params, dict) else line

    def _without(self, line: bytes, params: dict[str, Any], name: str) -> bytes:
        if not params.get(name):
            return line
        self._tell(f"{name} of the editor are of this machine: the agent in its sandbox has none of them")
        return with_param(line, name, [])

    def from_editor(self, line: bytes | Oversized) -> list[bytes]:
        """Return what goes to the agent for one line of the editor."""
        if isinstance(line, bytes) and len(line) > self._longest:
            line = Oversized.of(line)
        if isinstance(line, Oversized):
            return self._too_long(line)
        message = parsed(line)
        if not isinstance(message, dict) or not isinstance(message.get("params"), dict):
            return [line]
        if message.get("method") in _OPENINGS:
            return self._opening(message.get("id"), message["params"], line)
        return [self._with_names_of_sandbox(message.get("method"), message["params"], line)]

    def _too_long(self, line: Oversized) -> list[bytes]:
        self._tell("a line of the editor was too long for a sandbox")
        seen = jsontext.peek(line.prefix, line.tail)
        if not is_id(seen.id):
            return []
        if "method" not in seen.names:
            return [refusal(seen.id, ErrorCode.INTERNAL_ERROR, too_long(line))]
        self._say_editor(refusal(seen.id, ErrorCode.INVALID_REQUEST, too_long(line)))
        return []

    def _with_names_of_sandbox(self, method: Any, params: dict[str, Any], line: bytes) -> bytes:
        if method == AgentMethod.INITIALIZE:
            return self._without_offers(line)
        if method == AgentMethod.SESSION_PROMPT:
            return renamed(line, ("params", "prompt"), _LINKS, self._copied.link)
        if method == AgentMethod.SESSION_LIST and isinstance(params.get("cwd"), str):
            cwd = self._copied.inside(params["cwd"])
            return line if cwd is None else with_param(line, "cwd", cwd)
        return line

    def _without_offers(self, line: bytes) -> bytes:
        for name, value in _NOT_OFFERED.items():
            line = within_params(line, "clientCapabilities", name, value)
        asking = find(line, "params", "clientCapabilities", "elicitation", "url")
        return line if asking is None else written(line, asking, None)

    def _opening(self, ident: Any, params: dict[str, Any], line: bytes) -> list[bytes]:
        given = params.get("cwd")
        if isinstance(given, str):
            cwd = self._copied.inside(given)
            if cwd is None:
                shown = one_line(given, 200)
                sentence = (
                    f"{shown} is not in {self._copied.workspace}, of which the sandbox has a copy; open a folder in it"
                )
                if is_id(ident):
                    self._say_editor(refusal(ident, ErrorCode.INVALID_PARAMS, sentence))
                return []
            line = with_param(line, "cwd", cwd)
        line = self._without(line, params, "additionalDirectories")
        meta = params.get("_meta")
        if self._meta:
            line = with_param(line, "_meta", {**(meta if isinstance(meta, dict) else {}), **self._meta})
        return [line]

    # ---- what the agent says

    def from_agent(self, line: bytes | Oversized) -> list[bytes]:
        """Return what goes to the editor for one line of the agent; what is refused is answered to the agent."""
        if isinstance(line, Oversized):
            return self._too_long_answer(line)
        message = parsed(line)
        if not isinstance(message, dict) or not _is_plain(line, message):
            self._tell("what is no plain message of the agent is not passed on")
            return []
        method, ident = message.get("method"), message.get("id")
        if method is None:
            return [renamed(_with_plain_logins(message, line), ("result", "sessions"), _FOLDERS, self._copied.outside)]
        if method in _LET_OUT and not (method == ClientMethod.ELICITATION_CREATE and _names_address(line)):
            return [line]
        shown = one_line(str(method), 60)
        self._tell(f"the agent in its sandbox may not call {shown} of the editor")
        if is_id(ident):
            sentence = f"{shown} is not offered to an agent in a sandbox; use the files and programs in the sandbox"
            self._say_agent(refusal(ident, ErrorCode.METHOD_NOT_FOUND, sentence))
        return []

    def _too_long_answer(self, line: Oversized) -> list[bytes]:
        self._tell("a line of the agent was too long")
        seen = jsontext.peek(line.prefix, line.tail)
        if "method" in seen.names or not is_id(seen.id):
            return []
        return [refusal(seen.id, ErrorCode.INTERNAL_ERROR, too_long(line))]

    def _tell(self, words: str) -> None:
        """Tell the log, each once: an agent may go on."""
        if words not in self._told and len(self._told) < MAX_TOLD:
            self._told.add(words)
            log.warning("%s", words)


def _is_plain(line: bytes, message: dict[str, Any]) -> bool:
    """Return whether every parser reads a message as we do: each name once, and as the protocol writes it.

    And as one line of text: to some readers a carriage return, which is white space in JSON, ends a line.
    """
    if b"\r" in line:
        return False
    try:
        line.decode()
        span = find(line)
        names = [] if span is None else [name for name, _ in members(line, span)]
    except ValueError:
        return False
    answers = "result" in message or "error" in message
    known = set(names) <= _MEMBERS and set(names) == set(message) and len(names) == len(message)
    return known and ("method" in message) != answers and isinstance(message.get("method", ""), str)


def _names_address(line: bytes) -> bool:
    """Return whether some parser may find in an elicitation an address that the editor is to open."""
    span = find(line, "params")
    if span is None or line[span[0] : span[0] + 1] != b"{":
        return True
    given = [(name.casefold(), line[slice(*at)]) for name, at in members(line, span)]
    modes = [value for name, value in given if name == "mode"]
    return "url" in [name for name, _ in given] or len(modes) > 1 or any(each != b'"form"' for each in modes)


def _with_plain_logins(message: dict[str, Any], line: bytes) -> bytes:
    """Return an answer whose ways to log in are the agent's own alone: editors run commands that others name."""
    result = message.get("result")
    if not isinstance(result, dict) or not any(map(_is_of_logins, result)):
        return line
    given = result.get("authMethods")
    offered = given if isinstance(given, list) else []
    own = [each for each in offered if isinstance(each, dict) and each.get("type", "agent") == "agent"]
    plain = [{name: each[name] for name in _LOGIN if isinstance(each.get(name), str)} for each in own]
    rest = {name: value for name, value in result.items() if not _is_of_logins(name)}
    return jsontext.compact({**message, "result": {**rest, "authMethods": plain}}).encode()


def _is_of_logins(name: str) -> bool:
    """Return whether some parser takes a member for the ways to log in: there are such that take any case."""
    return name.casefold() == "authmethods"
