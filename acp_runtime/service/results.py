"""Results that agents report: JSON, and of the shape that their parent asked for.

The checker is loaded when the first shape is checked. A reference to another document is never followed.
"""

import json
from typing import Any, Final

from acp_runtime.core.errors import Rejected
from acp_runtime.core.plaintext import one_line
from acp_runtime.store.codec import storable

__all__ = ["checked", "shape_of"]

MOST_RESULT: Final = 65_536
MOST_SCHEMA: Final = 16_384


def shape_of(schema: dict[str, Any] | None) -> str:
    """Return the shape of results as it is stored, empty for any. Raises `Rejected` (invalid)."""
    if schema is None:
        return ""
    from jsonschema import SchemaError  # noqa: PLC0415 - see the module

    try:
        text = storable(json.dumps(schema, ensure_ascii=False))
        if len(text) > MOST_SCHEMA:
            raise Rejected("invalid", f"result_schema is {len(text)} characters long; at most {MOST_SCHEMA} are kept")
        _validator(schema).check_schema(schema)
    except (SchemaError, TypeError, ValueError, RecursionError) as error:
        why = one_line(getattr(error, "message", None) or str(error), 200)
        raise Rejected("invalid", f"result_schema is no JSON schema: {why}") from error
    return text


def checked(schema: str, value: object) -> str:
    """Return a result as it is stored. Raises `Rejected` (result_invalid) naming where it is not as `schema` says."""
    try:
        text = storable(json.dumps(value, ensure_ascii=False, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise Rejected("result_invalid", f"the result is no JSON: {one_line(str(error), 200)}") from error
    if len(text) > MOST_RESULT:
        sentence = f"the result is {len(text)} characters long; at most {MOST_RESULT} are kept. Put more into files"
        raise Rejected("result_invalid", sentence)
    if schema:
        _check(json.loads(schema), value)
    return text


def _check(schema: dict[str, Any], value: object) -> None:
    from jsonschema.exceptions import best_match  # noqa: PLC0415
    from referencing.exceptions import Unresolvable  # noqa: PLC0415

    try:
        error = best_match(_validator(schema).iter_errors(value))
    except (Unresolvable, RecursionError) as failure:
        raise Rejected("result_invalid", f"the result cannot be checked: {one_line(str(failure), 200)}") from failure
    if error is not None:
        where = error.json_path.removeprefix("$").removeprefix(".") or "the result"
        raise Rejected("result_invalid", f"{one_line(where, 100)}: {one_line(error.message, 300)}")


def _validator(schema: dict[str, Any]) -> Any:
    from jsonschema.validators import Draft202012Validator, validator_for  # noqa: PLC0415
    from referencing import Registry  # noqa: PLC0415

    return validator_for(schema, default=Draft202012Validator)(schema, registry=Registry())
