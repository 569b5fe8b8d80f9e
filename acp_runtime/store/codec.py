"""Events as JSON rows and back. The kind of a row is its class in snake case; unknown kinds are refused by name."""

import re
from functools import cache
from typing import Any, Final

from pydantic import TypeAdapter
from pydantic_core import PydanticSerializationError, to_json

from acp_runtime.core.errors import StoreError
from acp_runtime.core.events import SUBAGENT_EVENTS, Event
from acp_runtime.core.metering import METER_EVENTS
from acp_runtime.core.turns import PARENT_EVENTS


def kind_of(event_type: type[Event]) -> str:
    """Return the stored name of an event class."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", event_type.__name__).lower()


_TYPES: Final[dict[str, type[Event]]] = {
    kind_of(each): each for each in (*SUBAGENT_EVENTS, *PARENT_EVENTS, *METER_EVENTS)
}


@cache
def _adapter(kind: str) -> TypeAdapter[Event]:
    return TypeAdapter(_TYPES[kind])


def encode(event: Event) -> tuple[str, str, Event]:
    """Return kind, JSON text, and the event as it will be read back: the same but for text that is not `storable`."""
    kind = kind_of(type(event))
    adapter = _adapter(kind)
    try:
        return kind, adapter.dump_json(event).decode(), event
    except PydanticSerializationError:
        data = to_json(_scrub(adapter.dump_python(event))).decode()
    return kind, data, decode(kind, data)


def decode(kind: str, data: str) -> Event:
    """Return the event of a row. Raises `StoreError` for a kind or shape that this version does not know."""
    if kind not in _TYPES:
        raise StoreError(f"the log holds an event of kind {kind!r} that this version does not know; use a newer one")
    try:
        return _adapter(kind).validate_json(data)
    except ValueError as error:
        raise StoreError(f"the log holds a {kind} event that cannot be read: {error}") from error


def storable(text: str) -> str:
    """Return text with a question mark for each lone surrogate, which no UTF-8 file can hold."""
    return text.encode("utf-8", "replace").decode()


def storable_value(value: Any) -> Any:
    """Return a value as it can be stored: only a text may have to change."""
    return storable(value) if isinstance(value, str) else value


def _scrub(value: Any) -> Any:
    match value:
        case str():
            return storable(value)
        case dict():
            return {_scrub(key): _scrub(each) for key, each in value.items()}
        case list() | tuple():
            return [_scrub(each) for each in value]
        case _:
            return value
