"""`python -P -m acp_runtime.service.checking`: compare a result with the shape that was asked for, in a process apart.

A pattern of a shape, or shapes within shapes, can be compared for ever with the right text, and an agent chooses the
text. So this has few seconds and little memory, and nobody else waits meanwhile. Reads one JSON object on standard
input, `schema` and `value`, and writes one: `error` is empty where the result is as it should be.
"""

import json
import os
import resource
import sys
from typing import Any, Final

from acp_runtime.core.plaintext import one_line

__all__ = ["validator_of", "wrong"]

SECONDS: Final = 2  # of a processor
MEMORY: Final = 1 << 30


def validator_of(schema: dict[str, Any]) -> Any:
    """Return what compares with a schema. A reference to another document is never followed."""
    from jsonschema.validators import Draft202012Validator, validator_for  # noqa: PLC0415 - loaded for the first shape
    from referencing import Registry  # noqa: PLC0415

    return validator_for(schema, default=Draft202012Validator)(schema, registry=Registry())


def wrong(schema: dict[str, Any], value: object) -> str:
    """Return where and how a value is not as a schema says, on one line; empty where it is."""
    from jsonschema.exceptions import best_match  # noqa: PLC0415
    from referencing.exceptions import Unresolvable  # noqa: PLC0415

    try:
        error = best_match(validator_of(schema).iter_errors(value))
    except (Unresolvable, RecursionError) as failure:
        return f"the result cannot be checked: {one_line(str(failure), 200)}"
    if error is None:
        return ""
    where = error.json_path.removeprefix("$").removeprefix(".") or "the result"
    return f"{one_line(where, 100)}: {one_line(error.message, 300)}"


def main() -> None:
    os.nice(10)
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    given = json.load(sys.stdin)
    json.dump({"error": wrong(given["schema"], given["value"])}, sys.stdout)


if __name__ == "__main__":
    main()
