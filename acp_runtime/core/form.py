"""A form that an agent wants filled in: which fields it has, how it may be answered, and what an answer comes to. Pure.

A form with one field to choose from is answered by an option. One with one field to write into is answered by a text.
Any form is answered by a text that is a JSON object with its fields. Nothing here trusts the agent that made the form:
patterns are not tried (one could be made to run for ever), and whoever asks must check what it gets.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from acp_runtime.core.errors import Rejected
from acp_runtime.core.plaintext import quiet
from acp_runtime.core.request import CHOICE, Field, FieldType, Option

__all__ = ["DECLINE", "WRITE_ANYTHING", "content", "how_to_write", "options_of"]

DECLINE: Final = Option("decline", "Give no answer", "reject_once")
_ACCEPT: Final = Option("accept", "Yes, go on", CHOICE)
_YES_NO: Final = (Option("yes", "Yes", CHOICE), Option("no", "No", CHOICE))
_WORDS: Final = {"yes": True, "no": False, "true": True, "false": False}
_HINT_CHARS: Final = 1_000
WRITE_ANYTHING: Final = "any text"

Value = str | int | float | bool | list[str]


def options_of(fields: Iterable[Field]) -> tuple[Option, ...]:
    """Return the options by which a form can be answered; the last one is always to give no answer."""
    found = tuple(fields)
    field = _chosen_from(found)
    if field is not None and field.type is FieldType.BOOLEAN:
        return (*_YES_NO, DECLINE)
    if field is not None:
        numbered = enumerate(field.choices, 1)
        return (*(Option(str(number), each.name, CHOICE) for number, each in numbered), DECLINE)
    return (DECLINE,) if found else (_ACCEPT, DECLINE)


def how_to_write(fields: Iterable[Field]) -> str:
    """Return how a form is answered by a text; empty where an option says all."""
    found = tuple(fields)
    field, chosen = _written_into(found), _chosen_from(found)
    if field is not None:
        return _WRITE[field.type]
    if not found or (chosen is not None and len(found) == 1):
        return ""
    told = ", ".join(f'"{quiet(each.name, 60)}": {_takes(each)}' for each in found)
    return f"a JSON object {{{told}}}"[:_HINT_CHARS]


def content(fields: Iterable[Field], option_id: str, text: str) -> dict[str, Value]:
    """Return what an option, or else a text, fills a form with. Raises `Rejected` (answer_invalid)."""
    found = tuple(fields)
    if not text:
        return _by_option(_chosen_from(found), option_id)
    given = _object(text)
    if given is not None and set(given) <= {field.name for field in found}:
        return _by_object(found, given)
    field = _written_into(found)
    if field is None:
        raise Rejected("answer_invalid", f"this question takes {how_to_write(found) or 'one of its options'}")
    return {field.name: _value(field, _written(field, text))}


def _chosen_from(fields: tuple[Field, ...]) -> Field | None:
    """Return the one field that an option answers: there is no other, or none that must be filled in or chosen from."""
    chosen = [each for each in fields if each.type is not FieldType.SEVERAL and _has_options(each)]
    alone = len(fields) == 1 or all(each.type is FieldType.TEXT for each in fields if each not in chosen)
    only = chosen[0] if len(chosen) == 1 and alone else None
    return None if only is None or _others_required(fields, only) else only


def _written_into(fields: tuple[Field, ...]) -> Field | None:
    """Return the one field that a text fills in: there is no other, or one that an option answers just as well."""
    written = [each for each in fields if each.type is not FieldType.SEVERAL and not _has_options(each)]
    only = written[0] if len(written) == 1 else None
    more = [each for each in fields if each is not only]
    return None if only is None or (more and more != [_chosen_from(fields)]) or _others_required(fields, only) else only


def _has_options(field: Field) -> bool:
    return field.type is FieldType.BOOLEAN or bool(field.choices)


def _others_required(fields: tuple[Field, ...], only: Field) -> bool:
    return any(each.required for each in fields if each is not only)


def _by_option(field: Field | None, option_id: str) -> dict[str, Value]:
    if field is None:
        return {}
    if field.type is FieldType.BOOLEAN:
        return {field.name: option_id == "yes"}
    return {field.name: field.choices[int(option_id) - 1].value}


def _by_object(fields: tuple[Field, ...], given: Mapping[str, Any]) -> dict[str, Value]:
    if missing := [field.name for field in fields if field.required and field.name not in given]:
        raise Rejected("answer_invalid", f"the field {quiet(missing[0], 60)!r} must be filled in")
    return {field.name: _value(field, given[field.name]) for field in fields if field.name in given}


def _object(text: str) -> dict[str, Any] | None:
    try:
        given = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return given if isinstance(given, dict) else None


def _written(field: Field, text: str) -> Any:
    """Return a plain text as a value of the field's type, or as it is."""
    if field.type is FieldType.TEXT:
        return text
    try:
        return int(text) if field.type is FieldType.INTEGER else float(text)
    except ValueError:
        return text


def _value(field: Field, given: Any) -> Value:
    """Return a value that the field takes. Raises `Rejected` (answer_invalid)."""
    if field.type is FieldType.BOOLEAN and isinstance(given, str):
        given = _WORDS.get(given.lower(), given)
    if not _fits(field, given):
        told = quiet(json.dumps(given, ensure_ascii=False), 60)
        raise Rejected("answer_invalid", f"{quiet(field.name, 60)} takes {_takes(field)}, not {told}")
    value: Value = given
    return value


def _fits(field: Field, given: Any) -> bool:
    values = {each.value for each in field.choices}
    match field.type:
        case FieldType.BOOLEAN:
            return isinstance(given, bool)
        case FieldType.TEXT if field.choices:
            return isinstance(given, str) and given in values
        case FieldType.TEXT:
            return isinstance(given, str) and _within(field, len(given))
        case FieldType.SEVERAL:
            known = isinstance(given, list) and all(isinstance(each, str) and each in values for each in given)
            return known and _within(field, len(given))
        case FieldType.INTEGER:
            return isinstance(given, int) and not isinstance(given, bool) and _within(field, given)
        case FieldType.NUMBER:
            number = isinstance(given, int | float) and not isinstance(given, bool)
            return number and abs(given) < float("inf") and _within(field, given)


def _within(field: Field, value: float) -> bool:
    return (field.least is None or value >= field.least) and (field.most is None or value <= field.most)


_WRITE: Final = {FieldType.TEXT: WRITE_ANYTHING, FieldType.NUMBER: "a number", FieldType.INTEGER: "a whole number"}


def _takes(field: Field) -> str:
    if field.type is FieldType.BOOLEAN:
        return "true or false"
    if field.choices:
        listed = ", ".join(f'"{quiet(each.value, 60)}"' for each in field.choices)
        return f"a list of {listed}" if field.type is FieldType.SEVERAL else f"one of {listed}"
    bounds = " to ".join(f"{each:g}" for each in (field.least, field.most) if each is not None)
    what = _WRITE[field.type] if field.type is not FieldType.TEXT else "a text"
    unit = " characters" if field.type is FieldType.TEXT else ""
    return f"{what} ({bounds}{unit})" if bounds else what
