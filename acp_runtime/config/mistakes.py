"""Mistakes in a configuration, told with place, key and what is allowed; and where in a TOML text a key stands."""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from acp_runtime.core.errors import Culprit, SubagentsError
from acp_runtime.core.plaintext import one_line

_TABLE = re.compile(r"\s*\[+\s*([^\]]+?)\s*\]+")
_PART = re.compile(r'\s*(?:"([^"]*)"|\'([^\']*)\'|([^."\']+))\s*(?:\.|$)')

Place = Callable[[Sequence[str]], str]


class ConfigError(SubagentsError):
    """The configuration cannot be used; nothing was started."""

    kind = "config_error"
    culprit = Culprit.CALLER


def mistakes(error: ValidationError, place: Place, model: type[BaseModel]) -> list[str]:
    """Return one sentence for each mistake; `place` says where a key stands."""
    return list(_each(error, place, model))


def _each(error: ValidationError, place: Place, model: type[BaseModel]) -> Iterator[str]:
    for each in error.errors(include_url=False):
        location = [str(part) for part in each["loc"] if part != "[key]"]
        yield f"{place(location)}: {one_line('.'.join(location), 200)}: {_sentence(each, location, model)}"


def _sentence(mistake: Any, location: list[str], model: type[BaseModel]) -> str:
    if mistake["type"] == "extra_forbidden":
        return f"unknown key; allowed: {', '.join(sorted(_table(model, location[:-1]).model_fields))}"
    value = mistake.get("input")
    shown = f" (it is {value!r:.80})" if isinstance(value, str | int | float | bool) else ""
    message = str(mistake["msg"])
    return message[:1].lower() + message[1:] + shown


def _table(model: type[BaseModel], location: list[str]) -> type[BaseModel]:
    """Return the model of the table in which a key stands."""
    for part in location:
        field = model.model_fields.get(part)
        inner = _model_in(field.annotation) if field is not None else None
        model = inner or model
    return model


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """Return the model in a type: `Table`, `dict[str, Table]`, `list[Table] | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for each in get_args(annotation) if (found := _model_in(each))), None)


def line_of(text: str, location: Sequence[str]) -> int:
    """Return the line of a key, or of the deepest table above it that stands in the text; 1 when none does."""
    wanted = list(location)
    best = 1
    current: list[str] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if match := _TABLE.match(line):
            current = _parts(match.group(1))
            if current and current == wanted[: len(current)]:
                best = number
            continue
        full = current + _parts(line.split("=", 1)[0])
        if "=" in line and full == wanted[: len(full)]:
            return number
    return best


def _parts(dotted: str) -> list[str]:
    """Return the parts of a dotted key, each without its quotes."""
    return [next(part for part in match.groups() if part is not None).strip() for match in _PART.finditer(dotted)]
