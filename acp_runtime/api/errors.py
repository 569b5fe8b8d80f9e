"""Errors that cross the socket: `{"error": sentence, "kind": kind, "data": {...}}`; the status says whose they are.

400, 404, 409, 413   Rejected: the caller's
426                  the daemon is of another version, or of another store
502                  an agent's sandbox
503                  the store
500, 504             the daemon itself
"""

from collections.abc import Mapping
from typing import Any, Final

from acp_runtime.core.errors import Culprit, Rejected, SubagentsError

INVALID: Final = 400
UNKNOWN: Final = 404
REJECTED: Final = 409
TOO_LARGE: Final = 413
OTHER_VERSION: Final = 426
BUG: Final = 500
SANDBOX: Final = 502
STORE: Final = 503
TOO_LATE: Final = 504


class DaemonError(SubagentsError):
    """The daemon could not be asked, or could not do it for a reason that is not the caller's.

    Its own kinds: `daemon_unreachable`, `daemon_not_started`, `config_error` (it was not started for a mistake there),
    `daemon_lost` (the outcome is unknown), `socket_unsafe`, `version_mismatch`, `other_store`, `timeout`,
    `internal_error`. Others are those of the store and the sandboxes.
    """

    culprit = Culprit.ENVIRONMENT

    def __init__(self, kind: str, sentence: str, data: Mapping[str, Any] | None = None) -> None:
        super().__init__(sentence)
        self.kind = kind
        self.data = dict(data or {})


def is_passing(error: SubagentsError) -> bool:
    """Return whether this daemon, when it is less busy, or the next one may do what could not be had now."""
    return error.kind in ("closing", "daemon_lost", "daemon_unreachable")


def told(status: int, answer: Any) -> Rejected | DaemonError:
    """Return the error that an answer tells."""
    fields = answer if isinstance(answer, dict) else {}
    kind = str(fields.get("kind") or "internal_error")
    sentence = str(fields.get("error") or f"the daemon answered with status {status} and without a reason")
    data = fields.get("data")
    given = data if isinstance(data, dict) else {}
    if status < BUG and status != OTHER_VERSION:
        return Rejected(kind, sentence, given)
    return DaemonError(kind, sentence, given)
