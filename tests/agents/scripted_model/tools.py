"""The tools an agent offers: which one writes, edits or runs, and what its arguments are called.

Agents name the same tool differently, so it is found by name first and by the names of its parameters second.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .script import ScriptError, ToolStep

NAMES = {
    "write": ("write", "write_file", "create_file", "create"),
    "edit": ("edit", "edit_file", "replace", "str_replace", "search_replace"),
    "shell": ("bash", "shell", "run_shell_command", "run_command", "execute_command", "exec_command", "terminal"),
}
PARAMETERS = {
    "path": ("filePath", "file_path", "path", "filename"),
    "content": ("content", "contents", "text", "file_text"),
    "command": ("command", "cmd", "script"),
    "old": ("oldString", "old_string", "old_str", "old_text"),
    "new": ("newString", "new_string", "new_str", "new_text"),
}
FILLERS: Mapping[str, object] = {
    "string": "scripted step",
    "boolean": False,
    "integer": 0,
    "number": 0,
    "array": [],
    "object": {},
}
"""What a required parameter gets that the script says nothing about, by its JSON type."""


@dataclass(frozen=True)
class Offer:
    """One tool of a request: its name and the JSON schema of its parameters."""

    name: str
    schema: Mapping[str, Any]

    @property
    def properties(self) -> Mapping[str, Any]:
        found = self.schema.get("properties")
        return found if isinstance(found, dict) else {}


def call_for(step: ToolStep, offers: Sequence[Offer]) -> tuple[str, dict[str, object]]:
    """Return the name and the arguments of the call that does this step.

    Raises ScriptError when no offered tool can do it; the text lists what was offered.
    """
    if step.kind == "call":
        return _named_call(step, offers)
    known = NAMES[step.kind]
    named = sorted((o for o in offers if o.name.lower() in known), key=lambda o: known.index(o.name.lower()))
    for offer in named:
        arguments = _arguments(step, offer)
        if arguments is not None:
            return offer.name, arguments
    raise ScriptError(f"No offered tool can {step.kind}: {', '.join(o.name for o in offers) or 'none'}.")


def _named_call(step: ToolStep, offers: Sequence[Offer]) -> tuple[str, dict[str, object]]:
    """Find a tool by its own name; agents put the name of its server before it."""
    name = step.values["name"]
    found = next((offer for offer in offers if re.fullmatch(rf"(.*[^A-Za-z0-9])?{re.escape(name)}", offer.name)), None)
    if found is None:
        raise ScriptError(f"No offered tool is called {name}: {', '.join(o.name for o in offers) or 'none'}.")
    try:
        arguments = json.loads(step.values["arguments"])
    except ValueError as error:
        raise ScriptError(f"The arguments of [[call:{name}|...]] are no JSON: {error}.") from error
    if not isinstance(arguments, dict):
        raise ScriptError(f"The arguments of [[call:{name}|...]] are one object.")
    return found.name, arguments


def _arguments(step: ToolStep, offer: Offer) -> dict[str, object] | None:
    arguments: dict[str, object] = {}
    for key, value in step.values.items():
        parameter = next((name for name in PARAMETERS[key] if name in offer.properties), None)
        if parameter is None:
            return None
        is_list = _type(offer.properties[parameter]) == "array"
        arguments[parameter] = ["sh", "-c", value] if is_list else value
    for name in offer.schema.get("required", ()):
        arguments.setdefault(name, FILLERS.get(_type(offer.properties.get(name)), ""))
    return arguments


def _type(schema: object) -> str:
    return str(schema.get("type", "string")) if isinstance(schema, dict) else "string"
