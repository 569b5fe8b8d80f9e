"""What is passed on between editor and agent, and the few messages that are not passed on as they came.

Every message goes on as the very bytes, also one that is no JSON, but for these: the answer to `initialize` says that
we are there; `session/new`, `load`, `resume` and `fork` get our MCP server; a prompt gets our block as its last one,
unless it is a slash command; a user message that the agent tells again, and a title that it makes of one, lose our
block; and what answers a request of ours goes no further. Where a message is changed, pieces are put into its text
(`rewriting`), so that nothing else of it changes. With an agent that does not speak version 1 of the protocol nothing
is changed at all.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from acp_runtime import __version__
from acp_runtime.acp_proxy.children import Children
from acp_runtime.acp_proxy.courier import Courier, was_seen
from acp_runtime.acp_proxy.daemon import Daemon
from acp_runtime.acp_proxy.identity import SERVER_NAME, UNNAMED_CLIENT, Tools, new_name, parent_of
from acp_runtime.acp_proxy.ledger import Ledger, Offer
from acp_runtime.acp_proxy.ordered import Passed
from acp_runtime.acp_proxy.own import OwnRequests
from acp_runtime.acp_proxy.questions import Questions
from acp_runtime.acp_proxy.refusal import is_id, parsed, refusal, too_long
from acp_runtime.acp_proxy.replay import Replay
from acp_runtime.acp_proxy.rewriting import (
    block_of,
    is_command,
    plain_title,
    renamed,
    with_meta,
    with_param_item,
    with_plain_title,
    without_sessions,
)
from acp_runtime.wire import acp, acp_client, jsontext
from acp_runtime.wire.acp import AgentMethod, ClientMethod, UpdateKind
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
_INFO: Final = UpdateKind.SESSION_INFO_UPDATE.encode()

Key = tuple[type, Any]


@dataclass(frozen=True, slots=True)
class _Hello:
    params: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Opening:
    """A session that is being opened. `session` is its id where the editor named it, `name` who it is as a parent."""

    cwd: str
    name: str
    session: str | None


@dataclass(frozen=True, slots=True)
class _Listing:
    """A list of sessions that is being made."""


@dataclass(frozen=True, slots=True)
class _Turn:
    courier: Courier
    offer: Offer | None


class Conversation:
    """One editor and one agent. Lines without their ends come in, and lines to pass on come out; no I/O of its own."""

    def __init__(
        self,
        tools: Tools,
        *,
        say_editor: Callable[[bytes], None],
        say_agent: Callable[[bytes], None],
        wake: bool = False,
    ) -> None:
        self._tools = tools
        self._say_editor = say_editor
        self._wake = wake
        self._daemon = Daemon()
        self._agent = OwnRequests(say_agent)
        self._editor = OwnRequests(say_editor)
        self._questions = Questions(self._editor, say_agent)
        self._children = Children(self._daemon, self._editor)
        self._client = UNNAMED_CLIENT
        self._notices = False
        self._steering = False
        self._pending: dict[Key, _Hello | _Opening | _Listing | _Turn] = {}
        self._sessions: dict[str, Courier] = {}
        self._replay = Replay()
        self._active = False

    async def close(self) -> None:
        """Do nothing more by ourselves. Idempotent."""
        await self._children.close()
        await asyncio.gather(*(courier.close() for courier in self._sessions.values()))

    def expects(self, message: Any) -> bool:
        """Return whether a message without a method answers a request to the agent that is remembered here."""
        return isinstance(message, dict) and (self._agent.owns(message) or _key(message) in self._pending)

    @property
    def leads(self) -> bool:
        """Whether a subagent is shown."""
        return self._children.some

    def shows(self, ident: str) -> bool:
        """Return whether the id of a session or a tool call is one of those that we show of subagents."""
        return self._children.shows(ident)

    # ---- what the editor says

    def from_editor(self, line: bytes | Oversized) -> Passed:
        """Return what goes to the agent for one line of the editor, or a coroutine that returns it and never raises."""
        if isinstance(line, Oversized):
            return self._too_long(line)
        message = parsed(line)
        method = message.get("method") if isinstance(message, dict) else None
        if not isinstance(message, dict) or not isinstance(method, str):
            return self._answered(message, line)
        params, key = message.get("params"), _key(message)
        if isinstance(params, dict) and key is not None and len(self._pending) < MAX_PENDING:
            if method == AgentMethod.INITIALIZE:
                self._pending[key] = _Hello(params)
            elif self._active:
                return self._request(key, method, params, line)
        elif method == AgentMethod.SESSION_CANCEL and self._children.cancel(acp_client.read_session(params)):
            return []
        return [line]

    def _answered(self, message: Any, line: bytes) -> list[bytes]:
        return [] if self._editor.taken(message) or self._questions.answered(message) else [line]

    def _request(self, key: Key, method: str, params: dict[str, Any], line: bytes) -> Passed:
        if method in _OPENINGS:
            return [self._opening(key, method, params, line)]
        if method == AgentMethod.SESSION_LIST:
            self._pending[key] = _Listing()
        session = _text(params.get("sessionId"))
        courier = self._sessions.get(session)
        if courier is not None and method == AgentMethod.SESSION_PROMPT:
            return self._prompt(key, courier, params, line)
        if courier is not None and method in _ENDINGS:
            self._sessions.pop(session)
            self._end(session, courier)
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
        name = parent_of(self._client, cwd, self._tools.session(str(session))) if named else new_name(self._client, cwd)
        self._pending[key] = _Opening(cwd, name, session if named else None)
        return with_param_item(line, "mcpServers", self._tools.server(name, cwd))

    def _prompt(self, key: Key, courier: Courier, params: dict[str, Any], line: bytes) -> Passed:
        if isinstance(twice := self._pending.pop(key, None), _Turn):  # an id that is used again while it is open
            twice.courier.turn_ends(twice.offer, seen=False)
        courier.turn_begins()
        self._pending[key] = turn = _Turn(courier, None)
        prompt = params.get("prompt")
        bare = not isinstance(prompt, list) or is_command(prompt) or not self._daemon.there
        if bare and not courier.yielding:
            return [line]
        return self._with_block(key, turn, _text(params.get("sessionId")), line, bare=bare)

    async def _with_block(self, key: Key, turn: _Turn, session: str, line: bytes, *, bare: bool) -> list[bytes]:
        """Put our block behind a prompt; a turn of ours gives way first."""
        if turn.courier.yielding:
            # In this order: an agent whose question is answered first goes on, and may end its turn as if it were done.
            turn.courier.cancel()
            self._questions.withdraw(session)
            await turn.courier.give_way()
        offer = None if bare else await turn.courier.ledger.offer()
        if offer is None:
            return [line]
        self._pending[key] = _Turn(turn.courier, offer)
        return [with_param_item(line, "prompt", block_of(offer.text))]

    # ---- what the agent says

    def from_agent(self, line: bytes | Oversized) -> list[bytes]:
        """Return what goes to the editor for one line of the agent."""
        if isinstance(line, Oversized):
            return [*self._replay.flush(), *self._too_long_answer(line)]
        if line.startswith(_UPDATE) and not self._replay.holding and _USER_CHUNK not in line and _INFO not in line:
            return [line]
        message = parsed(line)
        if isinstance(message, dict) and message.get("method") == ClientMethod.SESSION_UPDATE:
            return self._update(message.get("params"), line)
        return [*self._replay.flush(), *self._passed(message, line)]

    def _passed(self, message: Any, line: bytes) -> list[bytes]:
        if not isinstance(message, dict):
            return [line]
        if message.get("method") is not None:
            self._questions.asked(message)
            return [line]
        if self._agent.taken(message):
            return []
        key = _key(message)
        asked = self._pending.pop(key, None) if key is not None else None
        match asked:
            case _Turn():
                asked.courier.turn_ends(asked.offer, seen=was_seen(message))
            case _Hello():
                return [self._initialized(asked.params, message, line)]
            case _Listing():
                return [self._listed(message, line)]
            case _Opening():
                self._opened(asked, message)
        return [line]

    def _opened(self, asked: _Opening, message: dict[str, Any]) -> None:
        result = message.get("result")
        if message.get("error") is not None or not isinstance(result, dict):
            return
        session = asked.session or acp.read_new_session(result)
        if session is None:
            return
        ledger = Ledger(self._daemon, asked.name, parent_of(self._client, asked.cwd, self._tools.session(session)))
        courier = Courier(
            session, self._daemon, ledger, self._agent,
            steering=self._steering, wake=self._wake, announce=lambda title: self._announce(session, title),
        )  # fmt: skip
        oldest = next(iter(self._sessions), "") if len(self._sessions) >= MAX_SESSIONS else ""
        for ended in (session, oldest):
            if (gone := self._sessions.pop(ended, None)) is not None:
                self._end(ended, gone, again=asked.name)
        self._sessions[session] = courier
        courier.start(asked.name)
        self._children.add(session, asked.name, courier, fresh=asked.session is None)

    def _end(self, session: str, courier: Courier, *, again: str = "") -> None:
        """Do nothing more for a session, whose tools are gone too, but where it goes `again` by that name."""
        courier.stop()
        self._children.drop(session)
        if courier.ledger.name != again:
            self._tools.forget(courier.ledger.name)

    def _listed(self, message: dict[str, Any], line: bytes) -> bytes:
        """Leave the sessions of subagents out, which an agent has that keeps them where the parent's are.

        And our block out of the titles of the others.
        """
        gone = [each for each in acp.read_session_list(message.get("result"))[0] if self._children.is_one(each)]
        line = without_sessions(line, gone) if gone else line
        return renamed(line, ("result", "sessions"), (("title",),), plain_title)

    def _initialized(self, params: dict[str, Any], message: dict[str, Any], line: bytes) -> bytes:
        result = message.get("result")
        if message.get("error") is not None or not isinstance(result, dict):
            return line
        hello = acp.read_initialize(result)
        meta = result.get("_meta")
        if isinstance(meta, dict) and META in meta:
            log.warning("the agent has a proxy of ours already: everything is passed on as it is")
        elif hello.protocol_version != acp.PROTOCOL_VERSION:
            log.warning("the agent speaks version %s of ACP: everything is passed on as it is", hello.protocol_version)
        else:
            self._active = True
            self._steering = hello.steering
            client = acp_client.read_client(params)
            self._client, self._notices = client.name or UNNAMED_CLIENT, client.notices
            self._children.sessions, self._children.forms = client.subagents, client.forms
            return with_meta(line, META, {"version": __version__})
        return line

    def _update(self, params: Any, line: bytes) -> list[bytes]:
        session, kind, update = acp.read_update(params)
        content = update.get("content")
        text = content.get("text") if isinstance(content, dict) else None
        if self._active and kind == UpdateKind.USER_MESSAGE_CHUNK and isinstance(text, str):
            return self._replay.chunk(session, line, text)
        if self._active and kind == UpdateKind.SESSION_INFO_UPDATE:
            line = with_plain_title(line)
        return [*self._replay.flush(session), line]

    def _announce(self, session: str, title: str) -> None:
        """Tell the person at the editor, where that shows notices, that something goes on without a prompt."""
        if self._notices:
            update = {"sessionUpdate": UpdateKind.NOTICE, "severity": "info", "title": title}
            self._editor.notify(ClientMethod.SESSION_UPDATE, {"sessionId": session, "update": update})

    # ---- lines that are too long

    def _too_long(self, line: Oversized) -> list[bytes]:
        """Refuse a request of the editor that was too long, and tell the agent that an answer was."""
        seen = jsontext.peek(line.prefix, line.tail)
        log.warning("a line of %d bytes of the editor was not passed on", line.length)
        if not is_id(seen.id):
            return []
        if "method" not in seen.names:
            refused = refusal(seen.id, acp.ErrorCode.INTERNAL_ERROR, too_long(line))
            return self._answered(jsontext.parse(refused), refused)
        self._say_editor(refusal(seen.id, acp.ErrorCode.INVALID_REQUEST, too_long(line)))
        return []

    def _too_long_answer(self, line: Oversized) -> list[bytes]:
        """Tell the editor that the answer it waits for was too long; other messages are lost, and that is logged."""
        seen = jsontext.peek(line.prefix, line.tail)
        log.warning("a line of %d bytes of the agent was not passed on", line.length)
        if "method" in seen.names or not is_id(seen.id):
            return []
        refused = refusal(seen.id, acp.ErrorCode.INTERNAL_ERROR, too_long(line))
        return self._passed(jsontext.parse(refused), refused)


def _key(message: dict[str, Any]) -> Key | None:
    """Return the id of a request or an answer as a key, so that 1 and "1" are two; None for none that can be one."""
    ident = message.get("id")
    return (type(ident), ident) if isinstance(ident, str | int | float) else None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
