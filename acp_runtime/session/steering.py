"""What an agent says became of a message that was put into its running turn."""

from typing import Any, Final

from acp_runtime.core.model import Steering
from acp_runtime.wire import acp

_OUTCOMES: Final = {
    "injected": Steering.INJECTED,
    "startedNewTurn": Steering.INJECTED,
    "promptRequired": Steering.QUEUED,
    "failed": Steering.QUEUED,
}


def steered(result: Any) -> Steering:
    """Return the outcome that a result tells, `UNKNOWN` when it tells none that we know."""
    return _OUTCOMES.get(acp.read_steering(result), Steering.UNKNOWN)
