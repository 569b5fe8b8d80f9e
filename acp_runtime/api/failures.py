"""How the daemon tells an error: `failure` is the one table from exceptions to statuses."""

import logging
from typing import Any

from acp_runtime.api.errors import BUG, INVALID, OTHER_VERSION, REJECTED, SANDBOX, STORE, TOO_LARGE, TOO_LATE, UNKNOWN
from acp_runtime.core.errors import Rejected, StoreError, SubagentsError
from acp_runtime.core.plaintext import one_line
from acp_runtime.manager.launcher import LaunchError

log = logging.getLogger(__name__)


class OtherVersion(SubagentsError):  # noqa: N818 - reads as what happened
    """A client of another version asked for more than a hello."""

    kind = "version_mismatch"


class OtherStore(SubagentsError):  # noqa: N818
    """A client meant a store that is not this daemon's."""

    kind = "other_store"


class TooLate(SubagentsError):  # noqa: N818
    """A request was not done within its bound."""

    kind = "timeout"


def failure(error: Exception) -> tuple[int, dict[str, Any]]:
    """Return the status and the body by which an error is told. One that nobody foresaw is logged."""
    if isinstance(error, LaunchError):
        return SANDBOX, {"error": str(error), "kind": error.kind, "data": {}}
    if not isinstance(error, SubagentsError):
        log.error("a request failed", exc_info=error)
        sentence = f"this is a bug, please report it: {type(error).__name__}: {one_line(str(error), 300)}"
        return BUG, {"error": sentence, "kind": "internal_error", "data": {}}
    data = error.data if isinstance(error, Rejected) else {}
    return _status(error), {"error": str(error), "kind": error.kind, "data": data}


def _status(error: SubagentsError) -> int:
    if isinstance(error, Rejected):
        if error.kind.startswith("unknown_"):
            return UNKNOWN
        return {"invalid": INVALID, "too_large": TOO_LARGE}.get(error.kind, REJECTED)
    if isinstance(error, StoreError):
        return STORE
    return {"version_mismatch": OTHER_VERSION, "other_store": OTHER_VERSION, "timeout": TOO_LATE}.get(error.kind, BUG)
