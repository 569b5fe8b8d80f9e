"""What an agent has asked and nobody has answered yet: our numbers for its requests, and how they are worded."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from acp_runtime.core.plaintext import one_line
from acp_runtime.core.request import Option
from acp_runtime.session.content import label
from acp_runtime.wire import acp
from acp_runtime.wire.jsonrpc import Request

OPEN_REQUESTS: Final = 32
KNOWN_TITLES: Final = 256

RequestId = int | str


@dataclass(frozen=True, slots=True)
class Question:
    """A request of the agent. `wire` is the agent's id of it, `upto` the offset of its output behind the request."""

    number: int
    title: str
    options: tuple[Option, ...]
    wire: RequestId
    upto: int


class Questions:
    """The open ones of a session. An agent may use an id again once it was answered; our number is never used again.

    `stray` is called for one that names another session.
    """

    def __init__(self, stray: Callable[[], None]) -> None:
        self._stray = stray
        self._open: dict[int, RequestId] = {}
        self._titles: dict[str, str] = {}
        self._count = 0

    @property
    def open(self) -> tuple[int, ...]:
        return tuple(self._open)

    def reopen(self, asked: Mapping[int, RequestId], count: int) -> None:
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

    def take(self, request: Request, session: str | None, upto: int) -> Question | None:
        """Give a request its number; return None for one of another session, one that is open, and one too many."""
        ask = acp.read_permission_request(request.params)
        self._count += 1
        if ask.session_id != session:
            self._stray()
            return None
        if request.id in self._open.values() or len(self._open) >= OPEN_REQUESTS:
            return None
        self._open[self._count] = request.id
        options = tuple(Option(each.id, one_line(each.name, 200), each.kind) for each in ask.options)
        title = ask.title or self._titles.get(ask.tool_call_id, "something that it does not name")
        return Question(self._count, one_line(title, 200), options, request.id, upto)

    def answered(self, number: int) -> RequestId | None:
        """Return the agent's id of an open request and forget it; None when it is not open."""
        return self._open.pop(number, None)
