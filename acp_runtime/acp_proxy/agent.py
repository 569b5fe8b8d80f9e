"""What the proxy needs of the agent behind it, wherever that runs, and of what stands between it and the editor."""

from collections.abc import Awaitable, Callable
from typing import IO, Protocol

from acp_runtime.acp_proxy.ordered import Passed
from acp_runtime.wire.ndjson import Oversized

__all__ = ["Agent", "Between", "Make", "Say", "Start"]


class Agent(Protocol):
    """A started agent. `input` and `output` are the proxy's to connect and to close; `end` is called once."""

    input: IO[bytes]
    output: IO[bytes]

    async def ended(self) -> int:
        """Return the exit code when it has ended, negative for a signal."""
        ...

    async def end(self, *, urgent: bool) -> int:
        """End it and all that was made for it: with time to leave by itself, or at once. Its input has been closed."""
        ...


class Between(Protocol):
    """Lines without their ends come in, and lines to pass on come out."""

    def from_editor(self, line: bytes | Oversized) -> Passed:
        """Return what goes to the agent for one line of the editor, or a coroutine that returns it and never raises."""
        ...

    def from_agent(self, line: bytes | Oversized) -> list[bytes]:
        """Return what goes to the editor for one line of the agent."""
        ...

    async def close(self) -> None:
        """Do nothing more by ourselves. Idempotent."""
        ...


Start = Callable[[], Awaitable[Agent]]
Say = Callable[[bytes], None]
Make = Callable[[Say, Say], Between]
