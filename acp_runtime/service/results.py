"""Results that agents report: JSON, and of the shape that their parent asked for."""

import asyncio
import json
import sys
from typing import Any, Final

from acp_runtime.core.errors import Rejected
from acp_runtime.core.plaintext import one_line
from acp_runtime.places import environment
from acp_runtime.service.checking import validator_of
from acp_runtime.store.codec import storable

__all__ = ["checked", "shape_of"]

MOST_RESULT: Final = 65_536
MOST_LEVELS: Final = 64
MOST_BITS: Final = 1_023  # of a whole number: a float has no room for more
MOST_SCHEMA: Final = 16_384
CHECK_SECONDS: Final = 30.0
_ARGV: Final = (sys.executable, "-P", "-m", "acp_runtime.service.checking")
# Nothing else of our environment, which may hold keys.
_PASSED: Final = ("LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONWARNINGS")


def shape_of(schema: dict[str, Any] | None) -> str:
    """Return the shape of results as it is stored, empty for any. Raises `Rejected` (invalid)."""
    if schema is None:
        return ""
    from jsonschema import SchemaError  # noqa: PLC0415 - loaded for the first shape

    try:
        text = storable(json.dumps(schema, ensure_ascii=False))
        if len(text) > MOST_SCHEMA:
            raise Rejected("invalid", f"result_schema is {len(text)} characters long; at most {MOST_SCHEMA} are kept")
        validator_of(schema).check_schema(schema)
    except (SchemaError, TypeError, ValueError, RecursionError) as error:
        why = one_line(getattr(error, "message", None) or str(error), 200)
        raise Rejected("invalid", f"result_schema is no JSON schema: {why}") from error
    return text


async def checked(schema: str, value: object) -> str:
    """Return a result as it is stored. Raises `Rejected` (result_invalid) naming where it is not as `schema` says."""
    try:
        text = storable(json.dumps(value, ensure_ascii=False, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise Rejected("result_invalid", f"the result is no JSON: {one_line(str(error), 200)}") from error
    if len(text) > MOST_RESULT:
        sentence = f"the result is {len(text)} characters long; at most {MOST_RESULT} are kept. Put more into files"
        raise Rejected("result_invalid", sentence)
    if why := _unreadable(value):
        raise Rejected("result_invalid", f"the result cannot be told: {why}")
    if schema and (wrong := await _wrong(schema, text)):
        raise Rejected("result_invalid", wrong)
    return text


def _unreadable(value: object) -> str:
    """Return why not every parent's JSON parser reads a value, empty where each does: it loses all."""
    level = [value]
    for _ in range(MOST_LEVELS + 1):
        if any(isinstance(each, int) and each.bit_length() > MOST_BITS for each in level):
            return f"a whole number in it has more than {MOST_BITS} bits; give it as a text"
        inner = [
            list(each.values() if isinstance(each, dict) else each) for each in level if isinstance(each, dict | list)
        ]
        if not inner:
            return ""
        level = [each for some in inner for each in some]
    return f"it is nested deeper than {MOST_LEVELS} levels"


async def _wrong(schema: str, text: str) -> str:
    """Return what is wrong with a result, found out in a process of its own (see `checking`)."""
    env = {name: value for name, value in environment().items() if name in _PASSED}
    pipe, nowhere = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(*_ARGV, stdin=pipe, stdout=pipe, stderr=nowhere, env=env)
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            said, _ = await process.communicate(f'{{"schema":{schema},"value":{text}}}'.encode())
        found: str = json.loads(said)["error"]
    except (TimeoutError, ValueError):
        return "the result cannot be checked: comparing it with its shape takes too long; report a simpler one"
    else:
        return found
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
