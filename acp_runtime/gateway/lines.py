"""What a manager and its gateway say to each other: one JSON object a line, each request answered by one line.

A request has `id`, `verb` and what the verb takes; its answer has the same `id`, and either `done` or `kind` and
`sentence`. `hello` comes first. What is said at `hello` and `end` is the same in all versions.
"""

import asyncio
import json
from collections.abc import Mapping
from typing import Any, Final

from acp_runtime.gateway.errors import GatewayError

__all__ = ["LONGEST", "Json", "line_of", "message_of", "read_line"]

# Of bytes. An account has up to 256 rules of 280 bytes and the prices of its user, an answer up to a thousand accounts.
LONGEST: Final = 2 * 1024 * 1024

Json = dict[str, Any]


def line_of(message: Mapping[str, object]) -> bytes:
    """Return the line of a message."""
    return json.dumps(message).encode("ascii") + b"\n"


def message_of(line: bytes) -> Json:
    """Read a line. Raises GatewayError (`bad_line`), which does not repeat it: there may be a key in it."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise GatewayError("bad_line", "A line is not a JSON object; nothing more is read of this connection.")
    return found


async def read_line(reader: asyncio.StreamReader) -> bytes | None:
    """Return the next whole line, None at the end. Raises GatewayError (`bad_line`) for one that is too long."""
    try:
        return await reader.readuntil(b"\n")
    except (asyncio.IncompleteReadError, OSError):
        return None
    except asyncio.LimitOverrunError as error:
        raise GatewayError("bad_line", f"A line has more than {LONGEST} bytes; nothing more is read.") from error
