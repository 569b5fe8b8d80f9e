"""The tools an agent offers: which one writes, edits or runs, and what its arguments are called.

Agents name the same tool differently, so it is found by name first and by the names of its parameters second.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .script import ScriptError, ToolStep

NAMES = {
    "write": ("write", "write_file", "create_file"),
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
    known = NAMES[step.kind]
    named = sorted((o for o in offers if o.name.lower() in known), key=lambda o: known.index(o.name.lower()))
    for offer in named:
        arguments = _arguments(step, offer)
        if arguments is not None:
            return offer.name, arguments
    raise ScriptError(f"No offered tool can {step.kind}: {', '.join(o.name for o in offers) or 'none'}.")


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
