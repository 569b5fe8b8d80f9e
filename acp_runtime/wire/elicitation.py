"""ACP's elicitations: a form that an agent wants filled in, read and asked on, and its answer. The readers never raise.

A form that cannot be shown as it was meant (a field of a kind that we do not know must be filled in; too many fields
or choices) is not shown at all: `refusal` says why. Addresses to open are never opened.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from acp_runtime.core.form import DECLINE
from acp_runtime.core.plaintext import one_line
from acp_runtime.core.request import Choice, Field, FieldType

MAX_FIELDS: Final = 16
MAX_CHOICES: Final = 64
MAX_NAME: Final = 200
MAX_MESSAGE: Final = 2_000
# Whole numbers up to here are the same as an integer and as a float.
MAX_BOUND: Final = 2**53

_TYPES: Final = {
    "string": FieldType.TEXT,
    "number": FieldType.NUMBER,
    "integer": FieldType.INTEGER,
    "boolean": FieldType.BOOLEAN,
    "array": FieldType.SEVERAL,
}
_WORDS: Final = {field: word for word, field in _TYPES.items()}
_BOUNDS: Final = {
    FieldType.TEXT: ("minLength", "maxLength"),
    FieldType.NUMBER: ("minimum", "maximum"),
    FieldType.INTEGER: ("minimum", "maximum"),
    FieldType.SEVERAL: ("minItems", "maxItems"),
}


@dataclass(frozen=True, slots=True)
class Elicitation:
    """What an agent wants to know. With `refusal` it cannot be asked of anybody, and why."""

    session_id: str = ""
    tool_call_id: str = ""
    message: str = ""
    fields: tuple[Field, ...] = ()
    refusal: str = ""


class _RefusedError(Exception):
    pass


def elicitation_outcome(option_id: str, content: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the result of `elicitation/create`. An empty option: it was called off."""
    if not option_id:
        return {"action": "cancel"}
    return {"action": "decline"} if option_id == DECLINE.id else {"action": "accept", "content": content or {}}


def requested_schema(fields: Iterable[Field]) -> dict[str, Any]:
    """Return the `requestedSchema` that asks for these fields. Names and values stand in it as they are."""
    found = tuple(fields)
    schema = {"type": "object", "properties": {field.name: _property(field) for field in found}}
    required = [field.name for field in found if field.required]
    return schema | ({"required": required} if required else {})


def _property(field: Field) -> dict[str, Any]:
    bounds = zip(_BOUNDS.get(field.type, ()), (field.least, field.most), strict=False)
    said: dict[str, Any] = {"type": _WORDS[field.type], "title": one_line(field.name, MAX_NAME)}
    said |= {name: int(bound) if float(bound).is_integer() else bound for name, bound in bounds if bound is not None}
    if title := one_line(field.title, MAX_NAME):
        said["description"] = title
    choices = [{"const": each.value, "title": one_line(each.name, MAX_NAME)} for each in field.choices]
    if field.type is FieldType.SEVERAL:
        return said | {"items": {"anyOf": choices}}
    return said | ({"oneOf": choices} if choices else {})


def read_elicitation(params: Any) -> Elicitation:
    """Read the params of `elicitation/create`."""
    params = params if isinstance(params, dict) else {}
    session_id, call, message = (_text(params.get(name)) for name in ("sessionId", "toolCallId", "message"))
    try:
        fields = _fields(params)
    except _RefusedError as refused:
        return Elicitation(session_id, call, message, refusal=str(refused))
    return Elicitation(session_id, call, message[:MAX_MESSAGE], fields)


def _fields(params: dict[str, Any]) -> tuple[Field, ...]:
    mode, schema = params.get("mode"), params.get("requestedSchema")
    if mode != "form":
        raise _RefusedError("this client fills in forms only; it opens no address")
    properties = schema.get("properties", {}) if isinstance(schema, dict) else None
    if not isinstance(schema, dict) or not isinstance(properties, dict):
        raise _RefusedError("requestedSchema is no object with properties")
    if len(properties) > MAX_FIELDS:
        raise _RefusedError(f"the form has {len(properties)} fields; at most {MAX_FIELDS} are asked")
    needed = schema.get("required")
    required = {each for each in needed if isinstance(each, str)} if isinstance(needed, list) else set()
    if unknown := required - properties.keys():
        raise _RefusedError(f"the form requires {min(unknown)[:MAX_NAME]!r}, which is none of its fields")
    found = (_field(name, each, required=name in required) for name, each in properties.items())
    return tuple(each for each in found if each is not None)


def _field(name: str, said: Any, *, required: bool) -> Field | None:
    """Return a field; None for one that cannot be shown and need not be filled in."""
    said = said if isinstance(said, dict) else {}
    kind = said.get("type")
    found = _TYPES.get(kind) if isinstance(kind, str) else None
    choices = _choices(said.get("items") if found is FieldType.SEVERAL else said, found)
    if found is None or len(name) > MAX_NAME or choices is None:
        if required:
            raise _RefusedError(f"the field {name[:MAX_NAME]!r} is of a kind that this client cannot ask for")
        return None
    least, most = (_number(said.get(key)) for key in _BOUNDS.get(found, ("", "")))
    title = _text(said.get("description")) or _text(said.get("title"))
    return Field(name, found, title[:MAX_NAME], choices, required, least, most)


def _choices(said: Any, kind: FieldType | None) -> tuple[Choice, ...] | None:
    """Return what a field may be chosen from, empty for none; None where that cannot be shown as a whole."""
    if kind not in (FieldType.TEXT, FieldType.SEVERAL) or not isinstance(said, dict):
        return None if kind is FieldType.SEVERAL else ()
    plain, titled = said.get("enum"), said.get("oneOf") if kind is FieldType.TEXT else said.get("anyOf")
    if isinstance(plain, list):
        found = [Choice(each, each) for each in plain if isinstance(each, str)]
    elif isinstance(titled, list):
        found = [_choice(each) for each in titled if isinstance(each, dict) and isinstance(each.get("const"), str)]
    else:
        return None if kind is FieldType.SEVERAL else ()
    listed = plain if isinstance(plain, list) else titled
    whole = len(found) == len(listed or ()) and 0 < len(found) <= MAX_CHOICES
    return tuple(found) if whole and len({each.value for each in found}) == len(found) else None


def _choice(said: dict[str, Any]) -> Choice:
    name, more = _text(said.get("title")) or said["const"], _text(said.get("description"))
    return Choice(said["const"], f"{name}: {more}" if more else name)


def _number(value: Any) -> float | None:
    known = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= MAX_BOUND
    return value if known else None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
