"""How a session comes about: a new one, or an earlier one that the agent can go on in."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from acp_runtime.core.model import Opening
from acp_runtime.session.errors import AgentError, LoginNeededError
from acp_runtime.wire import acp
from acp_runtime.wire.acp import AgentMethod, ErrorCode

LIST_PAGES: Final = 20


@dataclass(frozen=True, slots=True)
class Terms:
    """What a session is opened with beyond its folder: what is offered to the agent, and what is asked of it.

    `failure_records` asks the agent to tell of turns that failed, `forms` lets it ask by forms. `servers` are those of
    the Model Context Protocol that it is to use, `meta` is what it takes with its session beyond the protocol.
    """

    failure_records: bool = False
    forms: bool = False
    servers: Sequence[Mapping[str, Any]] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)


Call = Callable[[str, dict[str, Any]], Awaitable[Any]]
Replay = Callable[[Awaitable[Any]], Awaitable[Any]]


async def greeted(call: Call, version: str, terms: Terms) -> acp.AgentHello:
    """Initialize, and return what the agent says of itself. Raises `AgentError`, `SessionClosedError`."""
    params = acp.initialize("acp-subagents", version, failure_records=terms.failure_records, forms=terms.forms)
    hello = acp.read_initialize(await call(AgentMethod.INITIALIZE, params))
    if hello.protocol_version != acp.PROTOCOL_VERSION:
        named = f"version {hello.protocol_version}" if hello.protocol_version else "no version"
        raise AgentError(f"the agent speaks {named} of ACP; this manager speaks version {acp.PROTOCOL_VERSION}")
    return hello


class Opener:
    """Opens the one session of a channel. `without_replay` awaits a load and keeps what is replayed out of the log.

    A new session is given the `title` where the agent takes one: some ask a model of their own choice for it otherwise.
    The `terms` go with every opening.
    """

    def __init__(
        self,
        call: Call,
        without_replay: Replay,
        hello: acp.AgentHello,
        cwd: str,
        *,
        title: str,
        terms: Terms,
    ) -> None:
        self._call = call
        self._without_replay = without_replay
        self._hello = hello
        self._cwd = cwd
        self._title = title
        self._terms = terms

    async def log_in(self, method: str) -> None:
        """Authenticate by a method that the agent must offer. Raises `AgentError`, `SessionClosedError`."""
        offered = [each.id for each in self._hello.auth_methods]
        if method not in offered:
            names = ", ".join(offered) or "none"
            raise AgentError(f"the agent does not offer the login {method!r} of its catalogue entry; it offers {names}")
        await self._call(AgentMethod.AUTHENTICATE, acp.authenticate(method))

    async def open(self, earlier: str | None) -> tuple[str, Opening]:
        """Return the session's id and how it came about.

        Any failure to go on in the earlier session leads to a new one. Raises `AgentError` and `LoginNeededError`
        when that fails too, `SessionClosedError` when the agent goes away.
        """
        if earlier is None:
            return await self._new(), Opening.NEW
        opening = await self._again(earlier)
        return (earlier, opening) if opening is not None else (await self._new(), Opening.LOST)

    async def _again(self, earlier: str) -> Opening | None:
        params = acp.session_again(earlier, self._cwd, self._terms.servers, self._terms.meta)
        can = self._hello.capabilities
        try:
            if can.resume:
                await self._call(AgentMethod.SESSION_RESUME, params)
                return Opening.RESUMED if await self._is_listed(earlier) else None
            if can.load:
                await self._without_replay(self._call(AgentMethod.SESSION_LOAD, params))
                return Opening.LOADED if await self._is_listed(earlier) else None
        except AgentError:
            return None
        return None

    async def _is_listed(self, earlier: str) -> bool:
        """Ask for the list where there is one: some agents say that they loaded a session which they never had."""
        if not self._hello.capabilities.list:
            return True
        cursor = None
        for _ in range(LIST_PAGES):
            try:
                page = await self._call(AgentMethod.SESSION_LIST, acp.session_list(self._cwd, cursor))
            except AgentError:
                return True  # a list that cannot be had is no proof of anything
            found, cursor = acp.read_session_list(page)
            if earlier in found or cursor is None:
                return earlier in found
        return True

    async def _new(self) -> str:
        try:
            params = acp.session_new(self._cwd, self._terms.servers, self._terms.meta)
            result = await self._call(AgentMethod.SESSION_NEW, params)
        except AgentError as error:
            if error.code == ErrorCode.AUTH_REQUIRED:
                names = ", ".join(each.id for each in self._hello.auth_methods) or "none"
                raise LoginNeededError(f"the agent wants a login first (it offers: {names}): {error}") from error
            raise
        session_id = acp.read_new_session(result)
        if session_id is None:
            raise AgentError("the agent did not return a session id")
        if self._hello.capabilities.title:
            with suppress(AgentError):
                await self._call(AgentMethod.SESSION_SET_TITLE, acp.session_set_title(session_id, self._title))
        return session_id
