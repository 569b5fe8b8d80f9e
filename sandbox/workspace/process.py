"""One program run to its end on this machine: bounded in time, output and descendants.

Promises: the program leads its own process group; when its time is over, the caller is cancelled or the input breaks
off, the whole group is killed and the program reaped before the call returns. Output beyond its bound is read and
dropped, so that a program never hangs on a full pipe.
"""

import asyncio
import contextlib
import functools
import os
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from sandbox.errors import CommandMissing, CommandTimeout
from sandbox.workspace.threads import in_thread

__all__ = ["Ended", "OutputFile", "run_process"]

CHUNK = 1_048_576
STDERR_LIMIT = 262_144
REAP_SECONDS = 10.0  # SIGKILL is immediate but for a process stuck in the kernel, which nobody can wait for


@dataclass(frozen=True)
class Ended:
    """How a program ended; `exit_code` is negative for a signal, `truncated` says that output was dropped."""

    exit_code: int
    stdout: bytes
    stderr: bytes
    truncated: bool


@dataclass(frozen=True)
class OutputFile:
    """Where standard output goes instead of memory; past `limit_bytes` the program is killed."""

    file: BinaryIO
    limit_bytes: int


async def run_process(
    argv: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    stdin: bytes | AsyncIterator[bytes] | None,
    output: int | OutputFile,
    seconds: float,
) -> Ended:
    """Run `argv` with exactly `env`; `output` is the number of bytes kept, or a file.

    Raises CommandMissing when it cannot be executed, CommandTimeout after `seconds`, and whatever `stdin` raises.
    """
    process = await _start(argv, cwd=cwd, env=env, has_input=stdin is not None)
    try:
        async with asyncio.timeout(seconds):
            return await _converse(process, stdin, output)
    except _Overflow:
        return Ended(-signal.SIGKILL, b"", b"", truncated=True)
    except TimeoutError as error:
        command = " ".join(argv[:2])
        raise CommandTimeout(f"{command} had not ended after {seconds:g} s and was killed.") from error
    finally:
        await _end(process)


async def _start(
    argv: Sequence[str], *, cwd: Path, env: Mapping[str, str], has_input: bool
) -> asyncio.subprocess.Process:
    """Start the program. A cancellation waits until it has started: asyncio would kill it without its children."""
    pipe = asyncio.subprocess.PIPE
    source = pipe if has_input else asyncio.subprocess.DEVNULL
    starting = asyncio.ensure_future(
        asyncio.create_subprocess_exec(
            *argv, cwd=cwd, env=env, stdin=source, stdout=pipe, stderr=pipe, start_new_session=True, limit=CHUNK
        )
    )
    try:
        return await asyncio.shield(starting)
    except OSError as error:
        raise CommandMissing(f"{argv[0]} cannot be executed: {error.strerror}; install it or give its path.") from error
    except asyncio.CancelledError:
        await asyncio.wait([starting])
        if starting.exception() is None:
            await _end(starting.result())
        raise


class _Overflow(Exception):  # noqa: N818 - never leaves this file
    pass


async def _converse(
    process: asyncio.subprocess.Process, stdin: bytes | AsyncIterator[bytes] | None, output: int | OutputFile
) -> Ended:
    reader = asyncio.create_task(_collect(process.stdout, output))
    complaints = asyncio.create_task(_collect(process.stderr, STDERR_LIMIT))
    feeder = asyncio.create_task(_feed(process.stdin, stdin))
    try:
        (stdout, truncated), (stderr, _), _ = await asyncio.gather(reader, complaints, feeder)
    finally:
        for task in (reader, complaints, feeder):
            task.cancel()
        await asyncio.gather(reader, complaints, feeder, return_exceptions=True)
    return Ended(await process.wait(), stdout, stderr, truncated)


async def _feed(pipe: asyncio.StreamWriter | None, stdin: bytes | AsyncIterator[bytes] | None) -> None:
    """Write all; a program that stops reading has its reason, and its exit status tells it."""
    if pipe is None or stdin is None:
        return
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        if isinstance(stdin, bytes):
            pipe.write(stdin)
            await pipe.drain()
        else:
            async for chunk in stdin:
                pipe.write(chunk)
                await pipe.drain()
    pipe.close()
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        await pipe.wait_closed()


async def _collect(pipe: asyncio.StreamReader | None, output: int | OutputFile) -> tuple[bytes, bool]:
    kept, truncated = bytearray(), False
    limit = output.limit_bytes if isinstance(output, OutputFile) else output
    while pipe is not None and (chunk := await pipe.read(CHUNK)):
        room = limit - len(kept)
        truncated = truncated or len(chunk) > room
        if isinstance(output, int):
            kept += chunk[:room]
            continue
        if truncated:
            raise _Overflow
        limit -= len(chunk)
        await in_thread(functools.partial(output.file.write, chunk), stop=lambda: None)
    return bytes(kept), truncated


async def _end(process: asyncio.subprocess.Process) -> None:
    held = any(pipe is not None and not pipe.at_eof() for pipe in (process.stdout, process.stderr))
    if process.returncode is None or held:  # by what it started, where the program itself has ended
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    if process.returncode is None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(REAP_SECONDS):
                await process.wait()
    # Nobody reads on where its output was too long, and asyncio keeps a pipe open until its end was read.
    process._transport.close()  # type: ignore[attr-defined]  # noqa: SLF001
