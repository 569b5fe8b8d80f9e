"""What is refused in the protocol's own form."""

from typing import Any

from acp_runtime.wire import jsontext
from acp_runtime.wire.ndjson import Oversized

__all__ = ["is_id", "parsed", "refusal", "too_long"]


def refusal(ident: str | int | None, code: int, sentence: str) -> bytes:
    """Return the answer to a request that is not passed on."""
    return jsontext.dump({"jsonrpc": "2.0", "id": ident, "error": {"code": code, "message": sentence}})[:-1]


def too_long(line: Oversized) -> str:
    """Return what is said of a line over the cap."""
    return f"the line was {line.length} bytes long, over the cap of the proxy; send less at once"


def is_id(value: Any) -> bool:
    """Return whether a request may have this id."""
    return isinstance(value, str | int) and not isinstance(value, bool)


def parsed(line: bytes) -> Any:
    """Return what a line says, None for what we do not read: the other side may."""
    try:
        return jsontext.parse(line)
    except ValueError:
        return None
