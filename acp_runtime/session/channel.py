"""What a session needs of a channel: duplex bytes to one agent.

Two exist: an agent in a container that a holder keeps, and a local process.
"""

from typing import Final, Protocol

NOTHING_TAKEN: Final = frozenset({"journal_full", "channel_stalled"})


class Receiver(Protocol):
    """Takes what the agent writes. Called on the event loop, in stream order; must not block."""

    def on_stdout(self, data: bytes) -> None: ...

    def on_stderr(self, data: bytes) -> None: ...

    def on_gap(self, stream: int, offset: int, length: int) -> None:
        """Hear that `length` bytes of stdout (1) or stderr (2) are lost; what comes next is behind them."""
        ...

    def on_lost(self, reason: str) -> None:
        """Hear that the agent is out of reach; it may come back."""
        ...

    def on_closed(self, reason: str) -> None:
        """Told exactly once, after everything else."""
        ...


class Channel(Protocol):
    """Duplex bytes to one agent process."""

    @property
    def input_end(self) -> int | None:
        """The offset behind all input that is kept for the agent, None where a manager's end is the agent's."""
        ...

    async def send(self, data: bytes) -> None:
        """Write to the agent's stdin within a bound. Raises an error when the channel has ended.

        An error whose `kind` is one of `NOTHING_TAKEN` leaves it open: the same line may be given again.
        """
        ...

    async def acknowledge(self, stdout: int) -> None:
        """Give up what the agent wrote before this offset: nobody will ask for it again. Never raises."""
        ...

    def pause(self) -> None:
        """Stop reading: the agent's writes block after what the pipes hold."""
        ...

    def resume(self) -> None: ...

    async def close(self) -> None:
        """End the channel. Idempotent, bounded."""
        ...
