"""The tools of one parent: what a model is shown, and what becomes of its calls.

A call never raises: whatever goes wrong is an answer with `success: false`, one sentence and a kind. No answer holds a
character that a model reads and a person who looks on does not see.
"""

from collections.abc import Mapping
from typing import Any, Final

from pydantic import ValidationError

from acp_runtime.callers import admitted
from acp_runtime.core.plaintext import one_line, printable
from acp_runtime.tools import answers
from acp_runtime.tools.background import BACKGROUND
from acp_runtime.tools.delegation import DELEGATION
from acp_runtime.tools.tool import Answer, Desk, Tool

TOOLSETS: Final[Mapping[str, tuple[Tool, ...]]] = {"background": BACKGROUND, "async_delegation": DELEGATION}
SHOWN_CHARS: Final = 60


class Toolbox:
    """Some tool sets over one desk, and `more` tools."""

    def __init__(self, desk: Desk, sets: tuple[str, ...] = ("background",), *, more: tuple[Tool, ...] = ()) -> None:
        self._desk = desk
        self._tools = {tool.name: tool for tool in (*more, *(each for name in sets for each in TOOLSETS[name]))}

    @property
    def desk(self) -> Desk:
        """For whom the tools work."""
        return self._desk

    @property
    def tools(self) -> tuple[Tool, ...]:
        """The tools that a model is told about; none where they are disabled."""
        return tuple(self._tools.values()) if self._desk.enabled else ()

    def schemas(self) -> list[Answer]:
        """Return what a model is told about its tools."""
        return [tool.schema(self._desk.limits) for tool in self.tools]

    async def call(self, name: object, arguments: object = None) -> Answer:
        """Return a tool's answer. Names and arguments are a model's: whatever they are, they are answered."""
        tool = self._tools.get(name) if isinstance(name, str) else None
        if tool is None:
            known = {"tools": sorted(self._tools)}
            return answers.failure(f"Unknown tool: {_shown(name)}", "unknown_tool", known)
        arguments = {} if arguments is None else arguments
        if not isinstance(arguments, Mapping):
            sentence = f"The arguments of {tool.name} are one object with its parameters, not {_shown(arguments)}."
            return answers.failure(sentence, "invalid")
        if not one_line(self._desk.parent, SHOWN_CHARS):
            return answers.failure("Background subagents require a parent session_id.", "no_parent")
        try:
            admitted(self._desk.parent)
            given = tool.model.model_validate(dict(arguments))
            answer = await tool.handler(self._desk, given)
        except ValidationError as error:
            answer = answers.failure(_sentence(tool, error), "invalid")
        except Exception as error:  # noqa: BLE001 - it is told, and logged where nobody foresaw it
            answer = answers.trouble(tool.name, error)
        return {name: _plain(value) for name, value in answer.items()}


def _plain(answer: Any) -> Any:
    """Return an answer whose texts are as `printable` leaves them."""
    match answer:
        case str():
            return printable(answer)
        case dict():
            return {key: _plain(value) for key, value in answer.items()}
        case list() | tuple():
            return [_plain(value) for value in answer]
        case _:
            return answer


def _shown(value: object) -> str:
    return one_line(value if isinstance(value, str) else repr(value), SHOWN_CHARS)


def _sentence(tool: Tool, error: ValidationError) -> str:
    """Return the first mistake in words that name the parameter and its value."""
    mistake = error.errors(include_url=False)[0]
    name = ".".join(str(part) for part in mistake["loc"])
    match mistake["type"]:
        case "missing":
            return f"{name} is required."
        case "extra_forbidden":
            allowed = ", ".join(tool.model.model_fields) or "none"
            return f"{name} is no parameter of {tool.name}; it takes: {allowed}."
        case _:
            value = one_line(repr(mistake["input"]), SHOWN_CHARS)
            message = str(mistake["msg"])
            return f"{name} cannot be {value}: {message[:1].lower()}{message[1:]}."
