"""The tools of one parent: what a model is shown, and what becomes of its calls.

A call never raises: whatever goes wrong is an answer with `success: false`, one sentence and a kind.
"""

import logging
from collections.abc import Mapping
from typing import Any, Final

from pydantic import ValidationError

from acp_runtime.core.errors import SubagentsError
from acp_runtime.core.plaintext import one_line
from acp_runtime.tools import answers
from acp_runtime.tools.background import BACKGROUND
from acp_runtime.tools.delegation import DELEGATION
from acp_runtime.tools.tool import Answer, Desk, Tool

log = logging.getLogger(__name__)

TOOLSETS: Final[Mapping[str, tuple[Tool, ...]]] = {"background": BACKGROUND, "async_delegation": DELEGATION}
SHOWN_CHARS: Final = 60


class Toolbox:
    """Some tool sets over one desk."""

    def __init__(self, desk: Desk, sets: tuple[str, ...] = ("background",)) -> None:
        self._desk = desk
        self._tools = {tool.name: tool for name in sets for tool in TOOLSETS[name]}

    def schemas(self) -> list[Answer]:
        """Return what a model is told about its tools; nothing where they are disabled."""
        return [tool.schema() for tool in self._tools.values()] if self._desk.enabled else []

    async def call(self, name: str, arguments: Mapping[str, Any]) -> Answer:
        """Return a tool's answer."""
        tool = self._tools.get(name)
        if tool is None:
            known = {"tools": sorted(self._tools)}
            return answers.failure(f"Unknown tool: {one_line(name, SHOWN_CHARS)}", "unknown_tool", known)
        if not self._desk.parent.strip():
            return answers.failure("Background subagents require a parent session_id.", "no_parent")
        try:
            given = tool.model.model_validate(dict(arguments))
            return await tool.handler(self._desk, given)
        except ValidationError as error:
            return answers.failure(_sentence(tool, error), "invalid")
        except SubagentsError as error:
            return answers.refusal(error)
        except Exception:
            log.exception("the tool %s failed", name)
            return answers.failure("The manager failed at this call; its log says how.", "internal_error")


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
