"""A message of a client, from bytes that are not trusted."""

from collections.abc import Collection
from contextlib import suppress
from typing import Any, Final, cast

import mcp_types as types
from pydantic import ValidationError

from acp_runtime.wire import jsontext
from acp_runtime.wire.ndjson import Oversized

# The longest message to a subagent, with every character escaped, and room for what is around it.
MAX_MESSAGE: Final = 16 * 1024 * 1024


class NoMessage(Exception):  # noqa: N818 - it is an answer
    """What is answered to bytes that are no message. `ident` is whose answer it is, None where nobody can tell."""

    def __init__(self, code: int, sentence: str, names: Collection[str] = (), ident: object = None) -> None:
        super().__init__(sentence)
        asked = "method" in names and _is_id(ident)
        self.code = code
        self.ident = cast("str | int", ident) if asked else None


def message_of(given: bytes | Oversized, most: int = MAX_MESSAGE) -> types.JSONRPCMessage:
    """Return the message that some bytes are. Raises `NoMessage`."""
    if isinstance(given, Oversized):
        seen = jsontext.peek(given.prefix, given.tail)
        sentence = f"a message of {given.length} bytes was not read; at most {most} are allowed: put more into a file"
        raise NoMessage(types.INVALID_REQUEST, sentence, seen.names, seen.id)
    try:
        jsontext.check(given)
    except jsontext.OverLimitError as error:
        lost = Oversized.of(given)
        seen = jsontext.peek(lost.prefix, lost.tail)
        raise NoMessage(types.INVALID_REQUEST, f"the message was not read: {error}", seen.names, seen.id) from error
    with suppress(ValidationError):
        message = types.jsonrpc_message_adapter.validate_json(given, by_name=False)
        if not isinstance(message, types.JSONRPCNotification):
            return message
    try:
        said = jsontext.parse(given)
    except ValueError as error:
        raise NoMessage(types.PARSE_ERROR, "it is no JSON") from error
    return _validated(said)


def _validated(said: Any) -> types.JSONRPCMessage:
    names = said if isinstance(said, dict) else {}
    asks = "id" in names and not str(names.get("method", "notifications/")).startswith("notifications/")
    if asks and not _is_id(names["id"]):
        # The SDK takes it for a notification, and nobody would be answered.
        raise NoMessage(types.INVALID_REQUEST, "the id of a request is a text or a whole number; it was not done")
    try:
        # Of a text that was cut within a character JavaScript writes a half one: no reason to lose the rest.
        return types.jsonrpc_message_adapter.validate_python(said, by_name=False)
    except ValidationError as error:
        sentence = "it is no message of JSON-RPC 2.0: one object with jsonrpc, method, and params that are an object"
        raise NoMessage(types.INVALID_REQUEST, sentence, names, names.get("id")) from error


def _is_id(value: object) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool)
