"""One command run to its end in a sandbox: input streamed in, output collected up to a limit, bounded in time.

Promises: what the program wrote before it ended is there (up to the limit, more is counted as `truncated` and thrown
away while the program goes on); after the bound, or when the caller gives up, the program and what it started are
killed, in images that have a shell.
"""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from sandbox.channel import ExecChannel, Receiver
from sandbox.errors import ChannelClosed, CommandTimeout, EngineRefused, EngineTimeout, SandboxError

KILL_BOUND = 30.0  # seconds; an engine under load takes several for one execution
AGAIN_SECONDS = 0.2
TOKEN = "SUBAGENTS_COMMAND"  # noqa: S105 - a name, by which a command's own processes are found again

# An engine cannot kill an execution. Every process of the command has the token in its environment, so a shell finds
# and kills them, several times over because they may be starting others. `read` is used since it is in every shell.
# It exits with FOUND when there was one: one that is just being executed has no environment to be found by, so that
# only a later script that finds none shows that there is none.
FOUND = 9
KILL_SCRIPT = f"""
found=0
for again in 1 2 3; do for process in /proc/[0-9]*; do
  while IFS= read -r line || [ -n "$line" ]; do
    case $line in *"$1"*) found={FOUND}; kill -9 "${{process#/proc/}}"; break;; esac
  done <"$process/environ"
done; done 2>/dev/null
exit $found
"""

Input = bytes | AsyncIterator[bytes] | None


@dataclass(frozen=True, slots=True)
class Completed:
    """A command that ended. `exit_code` is None when the engine does not know it (the container was removed)."""

    exit_code: int | None
    stdout: bytes
    stderr: bytes
    truncated: bool


class Opener(Protocol):
    """How a command gets its channel: `Sandbox.open_channel`."""

    def __call__(
        self, argv: Sequence[str], *, cwd: str, env: Mapping[str, str], receiver: Receiver, user: str
    ) -> Awaitable[ExecChannel]: ...


class Collector:
    """A receiver that keeps the first `limit` bytes of each stream."""

    def __init__(self, limit: int) -> None:
        self.stdout, self.stderr, self.truncated = bytearray(), bytearray(), False
        self._limit = limit

    def on_stdout(self, data: bytes) -> None:
        self._keep(self.stdout, data)

    def on_stderr(self, data: bytes) -> None:
        self._keep(self.stderr, data)

    def on_closed(self, reason: str) -> None:
        """Do nothing: whoever waits learns it from `wait_closed`."""

    def _keep(self, kept: bytearray, data: bytes) -> None:
        room = self._limit - len(kept)
        kept += data[:room]
        self.truncated = self.truncated or len(data) > room


async def run(
    open_channel: Opener,
    argv: Sequence[str],
    *,
    cwd: str,
    env: Mapping[str, str],
    stdin: Input,
    limit_bytes: int,
    bound: float,
    user: str,
) -> Completed:
    """Run `argv` and return what it did; `limit_bytes` holds for each of stdout and stderr.

    A program that does not read all its input is no error. Raises CommandMissing, CommandTimeout, SandboxGone,
    EngineError; what `stdin` raises is raised again, after the program was killed.
    """
    token = secrets.token_hex(16)
    collected = Collector(limit_bytes)
    channel = await open_channel(argv, cwd=cwd, env={**env, TOKEN: token}, receiver=collected, user=user)
    try:
        async with asyncio.timeout(bound):
            await _converse(channel, stdin, bound)
    except TimeoutError as error:
        killed = await _kill(open_channel, token, user, channel)
        fate = "was killed" if killed else "could not be killed either, it may run on until its sandbox ends"
        raise CommandTimeout(f"{argv[0]!r} did not end within {bound:g} s and {fate}; give it more time.") from error
    except BaseException:
        await asyncio.shield(_kill(open_channel, token, user, channel))
        raise
    finally:
        await channel.close()
    if channel.failure is not None:
        raise channel.failure
    code = await channel.exit_code()
    return Completed(code, bytes(collected.stdout), bytes(collected.stderr), collected.truncated)


async def _converse(channel: ExecChannel, stdin: Input, patience: float) -> None:
    """Send the input while the output is collected; done when the program closed its output."""
    feeding = asyncio.create_task(_feed(channel, stdin, patience))
    ended = asyncio.create_task(channel.wait_closed())
    try:
        await asyncio.wait({feeding, ended}, return_when=asyncio.FIRST_COMPLETED)
        if feeding.done():
            feeding.result()
        await ended
    finally:
        feeding.cancel()
        ended.cancel()
        await asyncio.wait({feeding, ended})


async def _feed(channel: ExecChannel, stdin: Input, patience: float) -> None:
    with contextlib.suppress(ChannelClosed):
        if isinstance(stdin, bytes):
            await channel.send(stdin, patience=patience)
        elif stdin is not None:
            async for data in stdin:
                await channel.send(data, patience=patience)
    await channel.close_input()


async def _kill(open_channel: Opener, token: str, user: str, channel: ExecChannel) -> bool:
    """Kill until none is found and the output has ended: an engine says that it started one before there is a process.

    What the engine refuses or is late with is tried again until the bound; one that is away is not waited for. Returns
    whether the program is known to have ended.
    """
    with contextlib.suppress(SandboxError, TimeoutError):
        async with asyncio.timeout(KILL_BOUND):
            while True:
                found = True
                with contextlib.suppress(EngineTimeout, EngineRefused):
                    found = await _kill_once(open_channel, token, user)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(AGAIN_SECONDS):
                        await channel.wait_closed()
                        if not found:
                            return True
    return False


async def _kill_once(open_channel: Opener, token: str, user: str) -> bool:
    """Kill what is there; whether there was anything. In an image without a shell nothing is ever found."""
    argv = ("sh", "-c", KILL_SCRIPT, "sh", f"{TOKEN}={token}")
    killer = await open_channel(argv, cwd="/", env={}, receiver=Collector(0), user=user)
    try:
        await killer.wait_closed()
        return await killer.exit_code() == FOUND
    finally:
        await killer.close()
