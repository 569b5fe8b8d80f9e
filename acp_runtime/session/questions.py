"""What an agent has asked and nobody has answered yet: our numbers for its requests, and how they are worded."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from acp_runtime.core.form import options_of
from acp_runtime.core.plaintext import one_line
from acp_runtime.core.request import Choice, Field, Option, RequestKind
from acp_runtime.session.content import label
from acp_runtime.wire import acp
from acp_runtime.wire.acp import ClientMethod, ErrorCode
from acp_runtime.wire.elicitation import elicitation_outcome, read_elicitation
from acp_runtime.wire.jsonrpc import Peer, Request

OPEN_REQUESTS: Final = 32
KNOWN_TITLES: Final = 256
LONGEST_TITLE: Final = {RequestKind.PERMISSION: 200, RequestKind.FORM: 2_000}

RequestId = int | str


ASKING: Final = {
    ClientMethod.SESSION_REQUEST_PERMISSION: RequestKind.PERMISSION,
    ClientMethod.ELICITATION_CREATE: RequestKind.FORM,
}


@dataclass(frozen=True, slots=True)
class Question:
    """A request of the agent. `wire` is the agent's id of it, `upto` the offset of its output behind the request."""

    number: int
    title: str
    options: tuple[Option, ...]
    wire: RequestId
    upto: int
    kind: RequestKind = RequestKind.PERMISSION
    fields: tuple[Field, ...] = ()


@dataclass(frozen=True, slots=True)
class Awaited:
    """A request that the agent waits for: its id there, and in which words it is answered."""

    wire: RequestId
    kind: RequestKind = RequestKind.PERMISSION

    def result(self, option_id: str, content: str = "") -> dict[str, Any]:
        """Return the result that answers it; an empty option calls it off. `content` fills in a form, as JSON."""
        if self.kind is RequestKind.FORM:
            return elicitation_outcome(option_id, json.loads(content) if content else None)
        return acp.permission_outcome(option_id or None)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a request says. With `refusal` it cannot be asked of anybody."""

    session_id: str
    tool_call_id: str
    words: str
    options: tuple[Option, ...]
    fields: tuple[Field, ...] = ()
    refusal: str = ""


def _read(kind: RequestKind, params: Any) -> _Asked:
    if kind is RequestKind.FORM:
        form = read_elicitation(params)
        fields = tuple(replace(each, choices=tuple(map(_shown, each.choices))) for each in form.fields)
        options = options_of(fields)
        return _Asked(form.session_id, form.tool_call_id, form.message, options, fields, form.refusal)
    ask = acp.read_permission_request(params)
    options = tuple(Option(each.id, one_line(each.name, 200), each.kind) for each in ask.options)
    return _Asked(ask.session_id, ask.tool_call_id, ask.title, options)


def _shown(choice: Choice) -> Choice:
    return replace(choice, name=one_line(choice.name, 200))


class Questions:
    """The open ones of a session. An agent may use an id again once it was answered; our number is never used again.

    `stray` is called for one that names another session.
    """

    def __init__(self, peer: Peer, stray: Callable[[], None]) -> None:
        self._peer = peer
        self._stray = stray
        self._open: dict[int, Awaited] = {}
        self._titles: dict[str, str] = {}
        self._count = 0

    @property
    def open(self) -> tuple[int, ...]:
        return tuple(self._open)

    def reopen(self, asked: Mapping[int, Awaited], count: int) -> None:
        """Take over those of an earlier manager, whose highest number was `count`."""
        self._open.update(asked)
        self._count = count

    def note(self, update: dict[str, Any]) -> None:
        """Remember what a tool call is called: a request for permission may name the call by its id alone."""
        ident, title = label(update.get("toolCallId"), acp.MAX_ID), label(update.get("title"))
        if ident and title:
            self._titles[ident] = title
            if len(self._titles) > KNOWN_TITLES:
                del self._titles[next(iter(self._titles))]

    def take(self, request: Request, session: str | None, upto: int) -> Question | bytes:
        """Give a request its number, or return the line that answers it at once.

        So is one that comes while no turn is under way (`session` is None), one of another session, one that is open,
        one too many, and a form that cannot be asked of anybody.
        """
        awaited = Awaited(request.id, ASKING[ClientMethod(request.method)])
        self._count += 1
        asked = _read(awaited.kind, request.params)
        if asked.refusal:
            return self._peer.refuse(request.id, ErrorCode.INVALID_PARAMS, one_line(asked.refusal, 300))
        called_off = self._peer.respond(request.id, awaited.result(""))
        if session is None:
            return called_off
        if asked.session_id != session:
            self._stray()
            return called_off
        if request.id in {each.wire for each in self._open.values()} or len(self._open) >= OPEN_REQUESTS:
            return called_off
        self._open[self._count] = awaited
        title = asked.words or self._titles.get(asked.tool_call_id, "something that it does not name")
        title = one_line(title, LONGEST_TITLE[awaited.kind])
        return Question(self._count, title, asked.options, request.id, upto, awaited.kind, asked.fields)

    def answered(self, number: int) -> Awaited | None:
        """Return an open request and forget it; None when it is not open."""
        return self._open.pop(number, None)
