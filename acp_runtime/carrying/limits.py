"""The bounds of a server and of what it carries."""

from dataclasses import dataclass

__all__ = ["CarryingLimits"]


@dataclass(frozen=True, slots=True)
class CarryingLimits:
    """Above `connections` a client is told 503, above `head_bytes` 431, above `body_bytes` 413.

    `connect_seconds` bounds name, connection and TLS together; idle means that not a byte moved. An answer's head may
    have up to twice `head_bytes`.
    """

    connections: int = 64
    head_bytes: int = 64 * 1024
    body_bytes: int = 64 * 1024 * 1024
    connect_seconds: float = 10.0
    idle_seconds: float = 600.0
