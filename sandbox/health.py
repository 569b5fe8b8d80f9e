"""How an engine asks now and then whether the relay in a container still does its work, and whom it found not to.

A check is a short exec of the relay's own program (`relay check` in `programs/relay.c`). What it finds is a fact to be
told and never a reason to end anything: it fails as well where an agent has left no room for one more process.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from sandbox.programs import RELAY

if TYPE_CHECKING:
    from sandbox.engine import Engine

__all__ = ["CHECK", "HEALTH_SOCKET", "NO_CHECK", "check_of", "unhealthy", "with_health"]

HEALTH_SOCKET: Final = "/run/health.sock"  # in a tmpfs of the sandbox, for its root alone
_SECOND: Final = 1_000_000_000
NO_CHECK: Final[dict[str, Any]] = {"test": ["NONE"]}
# Twice in a row, for one on a very busy machine says nothing. An exec costs the engine 18 ms of processor time.
CHECK: Final[dict[str, Any]] = {
    "test": ["CMD", RELAY, "check", HEALTH_SOCKET],
    "interval": 300 * _SECOND,
    "timeout": 10 * _SECOND,
    "retries": 2,
    "start_period": 0,
}


def with_health(words: Sequence[str]) -> tuple[str, ...]:
    """Return the command of a relay with these words that can be checked."""
    return (RELAY, "health", HEALTH_SOCKET, *words)


def check_of(command: Sequence[str]) -> dict[str, Any]:
    """Return the check of a container with this first process; none where that is no relay that can be checked."""
    return CHECK if tuple(command[:3]) == with_health(()) else NO_CHECK


async def unhealthy(engine: "Engine", labels: Mapping[str, str | None]) -> list[Mapping[str, str]]:
    """Return the labels of each container with all of `labels` that was found not to answer. Raises EngineError."""
    return [each["Labels"] for each in await engine.containers(labels, health="unhealthy")]
