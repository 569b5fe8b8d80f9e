"""A channel: duplex bytes to one program executed in a container, on a connection of its own to the engine.

Promises: not one byte is lost or reordered between the program's write and the receiver's call; stdout and stderr stay
apart; a reader that pauses makes the program wait; a program that does not read makes `send` wait, boundedly; `close`
never hangs; `on_closed` is called exactly once and last. Closing a channel ends the program's input, not the program.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Protocol

from sandbox.endpoint import explain
from sandbox.engine import Engine
from sandbox.errors import ChannelClosed, ChannelStalled, CommandMissing, EngineTimeout, SandboxError
from sandbox.line import HUNG_UP, Line, Outputs
from sandbox.tls import Plain, Sealed
from sandbox.upgrade import Reply, start_request

OPEN_BOUND = 10.0  # seconds, as all below
SEND_PATIENCE = 10.0
CLOSE_BOUND = 1.0
EXIT_BOUND, EXIT_PAUSE = 3.0, 0.05
PIECE = 256 * 1024  # bytes written before looking again whether there is room

# What an engine writes on the program's stdout when it could not execute it; then the exit code is one of these.
NOT_EXECUTED = b"OCI runtime exec failed"
NOT_EXECUTED_CODES = (126, 127)
LONGEST_REFUSAL = 8 * 1024


class Receiver(Outputs, Protocol):
    """Who reads a channel. `on_closed` is called exactly once, last, with a sentence that says why."""

    def on_closed(self, reason: str) -> None: ...


class ExecChannel:
    """See the module. Owner: whoever opened it; `close` ends it. `failure` is set before `on_closed` is called."""

    def __init__(self, engine: Engine, exec_id: str, argv: Sequence[str], receiver: Receiver) -> None:
        self.failure: CommandMissing | None = None
        self._engine, self._exec_id, self._name, self._receiver = engine, exec_id, argv[0], receiver
        self._sieve = _Sieve(receiver)
        self._sending = asyncio.Lock()
        self._input_closed = False
        self._closed = asyncio.Event()
        self._judging: asyncio.Task[None] | None = None
        request = start_request(exec_id, engine.facts.api_version)
        self._line = Line(_wire(engine), request, Reply(f"execute {self._name!r}"), self._sieve, self._finish)

    @classmethod
    async def open(
        cls,
        engine: Engine,
        container_id: str,
        argv: Sequence[str],
        *,
        user: str,
        cwd: str,
        env: Mapping[str, str],
        receiver: Receiver,
    ) -> "ExecChannel":
        """Execute `argv` in the container and return when its stream begins (which says nothing of the program yet).

        The receiver may be called before this returns, and is not called at all when this raises: SandboxGone,
        EngineTimeout (a paused container), EngineError. That the program is not in the image shows only as the end of
        the channel: `failure` is a CommandMissing then, and its sentence the reason of `on_closed`.
        """
        exec_id = await engine.create_exec(container_id, argv, user=user, cwd=cwd, env=env)
        channel = cls(engine, exec_id, argv, receiver)
        await channel._begin()
        return channel

    async def send(self, data: bytes, *, patience: float = SEND_PATIENCE) -> None:
        """Write to the program's stdin; concurrent calls do not mix.

        Waits while the program does not read, up to `patience` seconds without progress. Raises ChannelStalled when
        nothing of `data` was sent and the channel is still good; ChannelClosed when it has ended, also because the
        program stopped reading, or the caller was cancelled, in the middle of `data` (a torn message is never followed
        by another).
        """
        async with self._sending:
            begun = False
            try:
                for start in range(0, len(data), PIECE):
                    await self._room(patience, begun=begun)
                    self._line.write(data[start : start + PIECE])
                    begun = start + PIECE < len(data)
            except asyncio.CancelledError:
                if begun:
                    self._line.abort("a message was torn by a cancelled send")
                raise

    async def close_input(self) -> None:
        """Half close: the program reads the end of its input, its output goes on. Idempotent."""
        async with self._sending:
            if not self._input_closed:
                self._input_closed = True
                self._line.end_writing()

    def pause(self) -> None:
        """Stop delivering and reading; the program waits when the buffers between are full. Idempotent."""
        self._line.pause()

    def resume(self) -> None:
        """Go on; what waited is delivered before this returns. Idempotent."""
        self._line.resume()

    async def close(self) -> None:
        """End the channel and wait for `on_closed`; the program is not killed. Idempotent, bounded, never raises."""
        self._line.hang_up(HUNG_UP)
        try:
            async with asyncio.timeout(CLOSE_BOUND):
                await self._closed.wait()
        except TimeoutError:
            self._line.abort(HUNG_UP)
            await self._closed.wait()

    async def wait_closed(self) -> None:
        """Wait until `on_closed` was called. The caller sets the bound."""
        await self._closed.wait()

    async def exit_code(self) -> int | None:
        """Ask the engine for the program's exit code after the channel closed.

        None where it cannot know: the program still runs (it only closed its output), we closed first (the engine then
        invents a number), the container or the engine is gone.
        """
        if not self._line.ended_by_engine:
            return None
        try:
            async with asyncio.timeout(EXIT_BOUND):
                return await self._exit_noted()
        except (TimeoutError, SandboxError):
            return None

    async def pid(self) -> int | None:
        """Return the program's process id on the engine's machine, None where the engine does not tell it."""
        try:
            async with asyncio.timeout(EXIT_BOUND):
                return int((await self._engine.inspect_exec(self._exec_id)).get("Pid") or 0) or None
        except (TimeoutError, SandboxError):
            return None

    # --- inside

    async def _room(self, patience: float, *, begun: bool) -> None:
        try:
            async with asyncio.timeout(patience):
                await self._line.room.wait()
        except TimeoutError as error:
            sentence = f"{self._name!r} has not read its input for {patience:g} s"
            if not begun:
                raise ChannelStalled(f"{sentence}; nothing was sent, try again or stop it.") from error
            self._line.abort(sentence)
            raise ChannelClosed(f"{sentence} in the middle of a message; the channel was closed.") from error
        if self._input_closed or self._line.lost is not None:
            why = "its input was closed" if self._line.lost is None else self._line.lost
            raise ChannelClosed(f"Nothing can be sent to {self._name!r}: {why}.")

    async def _begin(self) -> None:
        doing = f"execute {self._name!r}"
        try:
            async with asyncio.timeout(OPEN_BOUND):
                await _dial(self._engine, self._line)
                await self._line.opened
        except BaseException as error:
            self._sieve.silent = True
            self._line.abort("it was never opened")
            if isinstance(error, TimeoutError):
                raise EngineTimeout(
                    f"The engine did not {doing} within {OPEN_BOUND:g} s; the container may be paused: see `docker ps`."
                ) from error
            if isinstance(error, OSError):
                raise explain(self._engine.endpoint, error, doing) from error
            raise

    async def _exit_noted(self) -> int | None:
        """Look until the engine has noted the exit: the stream ends a moment before. The caller sets the bound."""
        while (found := await self._engine.inspect_exec(self._exec_id))["Running"]:  # noqa: ASYNC110 - nothing tells it
            await asyncio.sleep(EXIT_PAUSE)
        return None if found["ExitCode"] is None else int(found["ExitCode"])

    def _finish(self, reason: str) -> None:
        if self._sieve.held and not self._sieve.silent:
            self._judging = asyncio.get_running_loop().create_task(self._judge(reason))
        else:
            self._tell_closed(reason)

    async def _judge(self, reason: str) -> None:
        """Decide whether the only words on stdout are the engine's: the exit code tells them from a program's own."""
        try:
            if await self.exit_code() in NOT_EXECUTED_CODES:
                words = self._sieve.take().decode(errors="replace").strip().rstrip(".")
                reason = (
                    f"{self._name!r} could not be executed in the container ({words}); "
                    "check that the image has it and that the working directory exists."
                )
                self.failure = CommandMissing(reason)
        finally:
            self._sieve.release()
            self._tell_closed(reason)

    def _tell_closed(self, reason: str) -> None:
        try:
            if not self._sieve.silent:
                self._receiver.on_closed(reason)
        finally:
            self._closed.set()


class _Sieve:
    """Stands before the receiver until it is clear that the first words are the program's own, not the engine's."""

    def __init__(self, receiver: Outputs) -> None:
        self.silent = False
        self.held: bytes | None = b""
        self._receiver = receiver

    def on_stdout(self, data: bytes) -> None:
        if self.held is None:
            self._receiver.on_stdout(data)
            return
        self.held += data
        if not self.held.startswith(NOT_EXECUTED[: len(self.held)]) or len(self.held) > LONGEST_REFUSAL:
            self.release()

    def on_stderr(self, data: bytes) -> None:
        self.release()
        self._receiver.on_stderr(data)

    def take(self) -> bytes:
        """Return what is held and hold nothing any more."""
        held, self.held = self.held, None
        return held or b""

    def release(self) -> None:
        """Pass what is held on, and everything from now on at once."""
        if (held := self.take()) and not self.silent:
            self._receiver.on_stdout(held)


def _wire(engine: Engine) -> Plain | Sealed:
    context = engine.endpoint.ssl_context()
    return Plain() if context is None else Sealed(context, engine.endpoint.host)


async def _dial(engine: Engine, line: Line) -> None:
    loop, endpoint = asyncio.get_running_loop(), engine.endpoint
    if endpoint.unix_path is not None:
        await loop.create_unix_connection(lambda: line, endpoint.unix_path)
    else:
        await loop.create_connection(lambda: line, endpoint.host, endpoint.port)
