"""A channel to a process of this machine: its three pipes and its process group. Development and tests only."""

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, cast

from acp_runtime.session.channel import Receiver
from sandbox.ownership import start_time

SEND_SECONDS: Final = 10.0
END_SECONDS: Final = 1.0
STDIN, STDOUT, STDERR = 0, 1, 2


class LocalChannel(asyncio.SubprocessProtocol):
    """One process in a session of its own, so that `close` reaches its children too."""

    input_end: Final = None

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._writable = asyncio.Event()
        self._writable.set()
        self._told = False
        self._open = {STDOUT, STDERR}
        self._exited = asyncio.Event()
        self._transport: asyncio.SubprocessTransport | None = None
        self._began: int | None = None

    @classmethod
    async def open(
        cls, argv: Sequence[str], *, cwd: Path, env: Mapping[str, str], receiver: Receiver
    ) -> "LocalChannel":
        """Start a program. Raises `OSError` when it cannot be executed."""
        _, channel = await asyncio.get_running_loop().subprocess_exec(
            lambda: cls(receiver), *argv, cwd=cwd, env=dict(env), start_new_session=True
        )
        return channel

    @property
    def exit_code(self) -> int | None:
        """The exit code, negative for a signal, or None while the process lives."""
        return self._transport.get_returncode() if self._transport is not None else None

    @property
    def pid(self) -> int | None:
        return self._transport.get_pid() if self._transport is not None else None

    # ---- asyncio's callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.SubprocessTransport, transport)
        self._began = start_time(self._transport.get_pid())

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if fd == STDOUT:
            self._receiver.on_stdout(data)
        else:
            self._receiver.on_stderr(data)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._writable.set()
        self._open.discard(fd)
        reason = "the agent closed its output"
        if not self._open:
            self._tell(reason)
        elif fd == STDOUT:  # its last words on stderr may be on their way
            asyncio.get_running_loop().call_later(END_SECONDS, self._tell, reason)

    def process_exited(self) -> None:
        self._exited.set()
        self._writable.set()
        # A grandchild may hold the pipe for ever; what the agent itself wrote has been read by then.
        asyncio.get_running_loop().call_later(END_SECONDS, self._tell, "the agent exited")

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def _tell(self, reason: str) -> None:
        if not self._told:
            self._told = True
            self._receiver.on_closed(reason)

    # ---- channel

    async def send(self, data: bytes) -> None:
        """Write to stdin; waits at most `SEND_SECONDS` for a process that does not read."""
        pipe = self._pipe(STDIN)
        if pipe is None or self._exited.is_set():
            raise ConnectionError("the agent has exited; nothing was sent")
        async with asyncio.timeout(SEND_SECONDS):
            await self._writable.wait()
        cast(asyncio.WriteTransport, pipe).write(data)

    async def acknowledge(self, stdout: int) -> None:
        """Nothing is kept."""

    def pause(self) -> None:
        if (pipe := self._pipe(STDOUT)) is not None:
            cast(asyncio.ReadTransport, pipe).pause_reading()

    def resume(self) -> None:
        if (pipe := self._pipe(STDOUT)) is not None:
            cast(asyncio.ReadTransport, pipe).resume_reading()

    async def close(self) -> None:
        """End the process group: end of input, then TERM, then KILL, each with a bound. Idempotent."""
        transport = self._transport
        if transport is None:
            return
        if (pipe := self._pipe(STDIN)) is not None:
            pipe.close()
        await self._signal(transport.get_pid(), signal.SIGTERM)
        # The leader may have gone politely while others of its group stay.
        await self._signal(transport.get_pid(), signal.SIGKILL)
        transport.close()
        self._tell("the channel was closed")

    async def _signal(self, group: int, number: signal.Signals) -> None:
        """Signal the leader and its group, or what the leader has left; not who has its number by now."""
        if start_time(group) in (self._began, None):
            with suppress(ProcessLookupError):
                os.killpg(group, number)
        with suppress(TimeoutError):
            async with asyncio.timeout(END_SECONDS):
                await self._exited.wait()

    def _pipe(self, fd: int) -> asyncio.BaseTransport | None:
        pipe = self._transport.get_pipe_transport(fd) if self._transport is not None else None
        return pipe if pipe is not None and not pipe.is_closing() else None
