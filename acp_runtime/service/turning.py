"""Turns and polls over a store that refuses to write: they go on, with nothing told or with the same told again."""

import logging
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from typing import Final

from acp_runtime.core.errors import StoreError, StoreOwned
from acp_runtime.store.outbox import TurnContext

log = logging.getLogger(__name__)

# The token of a turn that could not be stored: it told nothing, so there is nothing to acknowledge.
UNTOLD: Final = "untold"


async def begun(parent: str, beginning: Awaitable[TurnContext]) -> TurnContext:
    """Return the turn, or one that tells nothing: what is to be told stays for the next. Raises `StoreOwned`."""
    try:
        return await beginning
    except StoreOwned:
        raise
    except StoreError as error:
        log.warning("a turn of %s could not be stored, and tells nothing: %s", parent, error)
        return TurnContext(UNTOLD, "", ())


@contextmanager
def acknowledging(what: str) -> Iterator[None]:
    """Let something end whose acknowledgement cannot be stored: what was shown is shown again."""
    try:
        yield
    except StoreError as error:
        log.warning("%s could not be acknowledged, what it showed will be shown again: %s", what, error)
