"""The parent agent as a process of this machine: two pipes of ours, its standard error is ours, a group of its own."""

import asyncio
import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from typing import IO, Final

from acp_runtime.core.errors import Rejected
from acp_runtime.core.plaintext import one_line

# What agents take to end by themselves after the end of their input: codex 7 s, most of them nothing.
LEAVE_SECONDS: Final = 10.0
TERM_SECONDS: Final = 3.0
LAST_SECONDS: Final = 5.0


class AgentProcess:
    """A started agent. `input` and `output` are ours to connect and to close."""

    def __init__(self, process: asyncio.subprocess.Process, given: IO[bytes], said: IO[bytes]) -> None:
        self._process = process
        self.input = given
        self.output = said

    @classmethod
    async def start(cls, argv: Sequence[str]) -> "AgentProcess":
        """Start a program. Raises `Rejected` (invalid)."""
        their_input, our_end = os.pipe()
        our_start, their_output = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                *argv, stdin=their_input, stdout=their_output, start_new_session=True
            )
        except (OSError, ValueError) as error:
            os.close(our_end)
            os.close(our_start)
            why = error.strerror if isinstance(error, OSError) else str(error)
            raise Rejected("invalid", f"{one_line(argv[0], 200)!r} cannot be run: {why}") from error
        finally:
            os.close(their_input)
            os.close(their_output)
        return cls(process, os.fdopen(our_end, "wb", buffering=0), os.fdopen(our_start, "rb", buffering=0))

    async def ended(self) -> int:
        """Return the exit code when it has ended, negative for a signal."""
        return await self._process.wait()

    async def end(self, *, urgent: bool) -> int:
        """End it and what it has left in its group: wait, then TERM, then KILL. Its input has been closed."""
        steps = ((None, LEAVE_SECONDS), (signal.SIGTERM, TERM_SECONDS), (signal.SIGKILL, LAST_SECONDS))
        for number, seconds in steps[1:] if urgent else steps:
            if number is not None:
                self._signal(number)
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._process.wait()
                    break
        # The agent may have gone politely while its own children, MCP servers as a rule, stay.
        self._signal(signal.SIGKILL)
        code = self._process.returncode
        return -signal.SIGKILL if code is None else code

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)
