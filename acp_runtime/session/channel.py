"""What a session needs of a channel: duplex bytes to one agent. Two exist: a container's exec and a local process."""

from typing import Protocol


class Receiver(Protocol):
    """Takes what the agent writes. Called on the event loop, in stream order; must not block."""

    def on_stdout(self, data: bytes) -> None: ...

    def on_stderr(self, data: bytes) -> None: ...

    def on_closed(self, reason: str) -> None:
        """Told exactly once, after everything else."""
        ...


class Channel(Protocol):
    """Duplex bytes to one agent process."""

    async def send(self, data: bytes) -> None:
        """Write to the agent's stdin within a bound. Raises an error when the channel has ended."""
        ...

    def pause(self) -> None:
        """Stop reading: the agent's writes block after what the pipes hold."""
        ...

    def resume(self) -> None: ...

    async def close(self) -> None:
        """End the channel. Idempotent, bounded."""
        ...
