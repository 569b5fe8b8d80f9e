"""How an editor is asked what a subagent asks: by options, by a form where an answer in words is taken, or not at all.

Pure. A subagent's own form is passed on with its fields; another question has a form that takes words. An editor that
knows no forms is told how these are answered elsewhere: nothing in it takes words.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from acp_runtime.acp_proxy.showing import Update, View, content_of, options_of, title_of
from acp_runtime.core.form import DECLINE
from acp_runtime.core.lineage import leader_of
from acp_runtime.core.plaintext import one_line, printable
from acp_runtime.core.request import Field, RequestKind
from acp_runtime.wire import acp_client
from acp_runtime.wire.acp import ClientMethod
from acp_runtime.wire.elicitation import requested_schema

__all__ = ["Asked", "is_asked"]

MAX_QUESTION: Final = 2_000
# Whom these are about is the person at the terminal, not a parent.
_NOT_ASKED: Final = frozenset({"login"})
_WORDS: Final = "answer"
_CHOICE: Final = "choice"

Request = Mapping[str, Any]


def is_asked(view: View, request: Request) -> bool:
    """Return whether a person at an editor can do anything about a request of a subagent.

    What one wants to know that another leads is for its leader to say; what it may do is not.
    """
    asked = leader_of(view["parent"]) is None or RequestKind(request["kind"]).permits
    return asked and request["kind"] not in _NOT_ASKED and bool(options_of(request) or request["writing"])


@dataclass(frozen=True, slots=True)
class Asked:
    """One question of a subagent. `forms`: the editor takes forms; `session`: under which it is asked."""

    view: View
    request: Request
    session: str
    forms: bool

    @property
    def answerable(self) -> bool:
        """Whether the editor can be asked, and not only be told."""
        return self._as_form or bool(self._choices)

    def question(self, why: str) -> tuple[ClientMethod, dict[str, Any]]:
        """Return the request that asks it; `why` says what was wrong with the answer before."""
        if not self._as_form:
            return ClientMethod.SESSION_REQUEST_PERMISSION, {
                "sessionId": self.session, "toolCall": self._call(), "options": options_of(self.request),
            }  # fmt: skip
        told = f"{title_of(self.view)}: {printable(self.request['title'])[:MAX_QUESTION]}"
        message = f"{told}\n\n{one_line(why, MAX_QUESTION)}" if why else told
        return ClientMethod.ELICITATION_CREATE, {
            "mode": "form", "sessionId": self.session, "message": message, "requestedSchema": self._schema(),
        }  # fmt: skip

    def answer(self, result: Any) -> dict[str, str]:
        """Return what a person answered, as the daemon takes it; empty for who leaves it to others."""
        if not self._as_form:
            chosen = acp_client.read_permission_outcome(result)
            return {} if chosen is None else {"option": chosen}
        action, given = acp_client.read_elicitation_outcome(result)
        if action == "decline" and self._declines:
            return {"option": DECLINE.id}
        if action != "accept":
            return {}
        if self._fields:
            return {"text": json.dumps(given, ensure_ascii=False)}
        texts = {name: value for name, value in given.items() if isinstance(value, str)}
        if words := texts.get(_WORDS):
            return {"text": words}
        return {"option": texts[_CHOICE]} if texts.get(_CHOICE) else {}

    def telling(self) -> Update:
        """Return the update that tells of a question which the editor cannot be asked."""
        return {"sessionUpdate": "tool_call", "kind": "other", "status": "pending", **self._call()}

    def taken_away(self) -> Update:
        """Return the update after which nothing is told of it."""
        return {"sessionUpdate": "tool_call_update", "toolCallId": self._call_id, "status": "completed"}

    @property
    def _as_form(self) -> bool:
        return self.forms and bool(self.request["writing"])

    @property
    def _fields(self) -> tuple[Field, ...]:
        """The fields of the subagent's form; none where its names or values, which go as they are, hide something."""
        fields = tuple(map(Field.of, self.request["fields"]))
        bare = [text for each in fields for text in (each.name, *(choice.value for choice in each.choices))]
        return fields if all(printable(text) == text for text in bare) else ()

    @property
    def _declines(self) -> bool:
        return bool(self.request["kind"] == "form")

    @property
    def _choices(self) -> list[dict[str, Any]]:
        return [each for each in options_of(self.request) if not (self._declines and each["optionId"] == DECLINE.id)]

    @property
    def _call_id(self) -> str:
        return f"{self.view['id']}.{self.request['id']}"

    def _call(self) -> Update:
        title = f"{title_of(self.view)}: {one_line(self.request['title'], MAX_QUESTION)}"
        call: Update = {"toolCallId": self._call_id, "title": title}
        if self.request["writing"]:
            command = f"subagents answer {self.view['id']} --request {self.request['id']} --text '...'"
            takes = one_line(self.request["writing"], MAX_QUESTION)
            told = f"It can be answered in words ({takes}): by your agent, which is told of it, or with {command}"
            call["content"] = content_of(told)
        return call

    def _schema(self) -> dict[str, Any]:
        if fields := self._fields:
            return requested_schema(fields)
        takes = one_line(self.request["writing"], MAX_QUESTION)
        words = {"type": "string", "title": "Answer", "description": takes}
        if not (choices := self._choices):
            return {"type": "object", "properties": {_WORDS: words}, "required": [_WORDS]}
        offered = [{"const": each["optionId"], "title": one_line(each["name"], MAX_QUESTION)} for each in choices]
        choice = {"type": "string", "title": "Choose", "oneOf": offered}
        return {"type": "object", "properties": {_CHOICE: choice, _WORDS: {**words, "title": "Or in words"}}}
