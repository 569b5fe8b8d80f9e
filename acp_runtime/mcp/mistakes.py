"""What a client did wrong, in words: the SDK tells the code of the protocol and keeps the reason to itself."""

from typing import Any, Final

import mcp_types as types
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.shared.exceptions import MCPError
from pydantic import ValidationError

from acp_runtime.core.plaintext import one_line

NOT_GREETED: Final = "this session has not begun: the first request is initialize"
MAX_PLACE: Final = 100


async def explained(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
    """Have a request answered; one that is wrong is refused with what is wrong. No value of the client is repeated."""
    try:
        return await call_next(ctx)
    except ValidationError as error:
        raise MCPError(types.INVALID_PARAMS, _sentence(ctx.method, error)) from error
    except MCPError as error:
        # The one refusal of the SDK without a reason.
        if error.error.code == types.INVALID_PARAMS and error.error.data == "":
            raise MCPError(types.INVALID_PARAMS, NOT_GREETED) from error
        raise


def _sentence(method: str, error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    place = one_line(".".join(str(part) for part in first["loc"]), MAX_PLACE) or "params"
    return f"{one_line(method, MAX_PLACE)}: {place}: {first['msg'][:1].lower()}{first['msg'][1:]}"
