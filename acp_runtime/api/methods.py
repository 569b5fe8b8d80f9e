"""The one table of what the daemon exposes: methods of `Runtime`, with shapes read off its signatures.

A method that is not named here cannot be called. Server and clients use the same table, so a value that one of them
writes is one that the other reads.
"""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, get_type_hints

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError, create_model

from acp_runtime.callers import OPERATOR, Caller, admitted
from acp_runtime.core.errors import Rejected
from acp_runtime.core.plaintext import one_line
from acp_runtime.service import Runtime

EXPOSED: Final = (
    "spawn", "vet", "send", "cancel", "stop", "answer", "resume", "remove",
    "status", "list_subagents", "find", "wait", "poll", "transcript", "stderr", "search", "work", "check",
    "begin_turn", "commit_turn", "due", "nudges", "revive", "alias", "prune", "reap", "disk", "grounds", "usage",
    "reached",
    "allowed", "allow", "disallow", "reload", "set_budget", "tree", "pause_spawning",
)  # fmt: skip
NOT_UTF8: Final = "a text holds a lone surrogate, which is half a character and no UTF-8; remove it"
_PLAIN: Final = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")
# A number that is none crosses as it is, so that it is refused in the words of its check.
_STRICT: Final = ConfigDict(extra="forbid", strict=True, arbitrary_types_allowed=False, ser_json_inf_nan="constants")


class CallerShape(BaseModel):
    """`{"parent": NAME}` or `{"operator": true}`."""

    model_config = _STRICT

    parent: str | None = None
    operator: bool = False

    def caller(self) -> Caller:
        """Return who it is. Raises `Rejected` when it is not exactly one of the two, or has no name."""
        if self.parent is not None and not self.operator:
            return admitted(self.parent)
        if self.parent is None and self.operator:
            return OPERATOR
        raise Rejected("invalid", 'caller is either {"parent": NAME} or {"operator": true}')


@dataclass(frozen=True, slots=True)
class Method:
    """One exposed method: how its arguments are read, and its result written and read again."""

    name: str
    arguments: type[BaseModel]
    takes_caller: bool
    result: TypeAdapter[Any]

    def read(self, body: bytes) -> dict[str, Any]:
        """Return the keyword arguments that a body holds. Raises `Rejected` (invalid) naming what is wrong."""
        try:
            given = self.arguments.model_validate_json(body)
        except ValidationError as error:
            raise Rejected("invalid", f"{self.name}: {_mistake(error)}") from error
        shape = given.caller  # type: ignore[attr-defined]  # each model has it, see `_arguments`
        caller = shape.caller() if shape is not None else None
        if self.takes_caller and caller is None:
            raise Rejected(
                "invalid", f'{self.name}: caller is missing; give {{"parent": NAME}} or {{"operator": true}}'
            )
        values = {name: getattr(given, name) for name in given.model_fields_set if name != "caller"}
        return {"caller": caller, **values} if self.takes_caller else values

    def write_arguments(self, caller: Caller | None, values: Mapping[str, Any]) -> bytes:
        """Return the body that asks for this method. Raises `Rejected` (invalid) for a value that has no JSON form."""
        shape = None if caller is None else _shape(caller)
        given = self.arguments.model_construct(caller=shape, **values)
        try:
            return given.model_dump_json(exclude_unset=True).encode()
        except (ValueError, UnicodeError) as error:
            raise Rejected("invalid", f"{self.name}: {_our_words(str(error))}") from error


@cache
def method_of(name: str) -> Method:
    """Return a row of the table, by a name in `EXPOSED`. Each is made when it is first asked for: most never are."""
    function = getattr(Runtime, name)
    hints = get_type_hints(function)
    parameters = [each for each in inspect.signature(function).parameters.values() if each.name != "self"]
    takes_caller = parameters[0].name == "caller"
    shapes: dict[str, Any] = {
        each.name: (hints[each.name], ... if each.default is each.empty else each.default)
        for each in parameters
        if each.name != "caller"
    }
    shapes["caller"] = (CallerShape | None, None)
    arguments = create_model(f"{name}_arguments", __config__=_STRICT, **shapes)
    # A union, also where None never is: the configuration of an adapter does not reach a bare dataclass.
    return Method(name, arguments, takes_caller, TypeAdapter(hints["return"] | None, config=_PLAIN))


def _shape(caller: Caller) -> CallerShape:
    return CallerShape(parent=caller) if isinstance(caller, str) else CallerShape(operator=True)


def _mistake(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or "the body"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return _our_words(f"{where}: {first['msg']}{more}")


def _our_words(sentence: str) -> str:
    """Return a sentence of a library as it is, but for the one mistake that people make without knowing its name."""
    return NOT_UTF8 if "surrogate" in sentence else one_line(sentence, 300)
