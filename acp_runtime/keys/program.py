"""A program of this user that prints a key.

Promises: no shell; nothing on its standard input; only the variables that say who and where it runs for, so that no
key of this process reaches it; an end within its time, its whole process group killed otherwise; and that what it
printed is in no error.
"""

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final

from acp_runtime.core.errors import Rejected
from acp_runtime.core.plaintext import one_line
from acp_runtime.keys.secret import LONGEST

__all__ = ["SECONDS", "passed", "printed"]

SECONDS: Final = 60.0  # somebody may have to unlock a keychain first
_STDOUT: Final = 2 * LONGEST  # bytes, room for white space around the key
_TAIL: Final = 2000  # bytes of the standard error that are kept
_SHOWN: Final = 300  # characters of them that are told
_LINGER: Final = 1.0  # seconds for the last output of a program that has ended; what it started may hold the pipe
_REAP: Final = 10.0  # seconds for the kernel to end what was killed

_PASSED: Final = frozenset(
    (
        *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "TZ", "TMPDIR", "TERM", "DISPLAY", "WAYLAND_DISPLAY"),
        *("DBUS_SESSION_BUS_ADDRESS", "SSH_AUTH_SOCK", "GNUPGHOME", "PASSWORD_STORE_DIR"),
        *("SSL_CERT_FILE", "SSL_CERT_DIR"),
    )
)
_PASSED_FAMILIES: Final = ("LC_", "XDG_")


def passed(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that say who and where a program runs for; none of them is a key."""
    return {each: value for each, value in environ.items() if each in _PASSED or each.startswith(_PASSED_FAMILIES)}


async def printed(
    argv: Sequence[str], environ: Mapping[str, str], *, name: str, remedy: str, seconds: float = SECONDS
) -> str:
    """Run a program and return what it printed, decoded. Raises Rejected (`key_unreadable`) with `name` and `remedy`.

    It runs in `/`. Characters that are not ASCII come out as ones that no key has.
    """
    transport, output = await _started(argv, passed(environ), name)
    try:
        async with asyncio.timeout(seconds):
            await output.exited.wait()
        with suppress(TimeoutError):
            async with asyncio.timeout(_LINGER):
                await output.closed.wait()
    except TimeoutError as error:
        raise _failed(name, f"had not ended after {seconds:g} s", remedy, output) from error
    finally:
        await _end(transport, output)
    if (code := transport.get_returncode()) != 0:
        raise _failed(name, f"ended with code {code}", remedy, output)
    if len(output.first) > _STDOUT:
        raise _failed(name, f"printed more than {_STDOUT} bytes", remedy, output)
    return output.first.decode("ascii", "replace")


class _Output(asyncio.SubprocessProtocol):
    """The beginning of what a program prints, and the end of what it says beside it; the rest is dropped."""

    def __init__(self) -> None:
        self.first, self.tail = bytearray(), bytearray()
        self.exited, self.closed = asyncio.Event(), asyncio.Event()

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if fd == 1:
            self.first += data[: _STDOUT + 1 - len(self.first)]
        else:
            self.tail += data
            del self.tail[:-_TAIL]

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        if fd == 1:
            self.closed.set()

    def process_exited(self) -> None:
        self.exited.set()


async def _started(
    argv: Sequence[str], env: Mapping[str, str], name: str
) -> tuple[asyncio.SubprocessTransport, _Output]:
    # Not asyncio's Process: its wait() lasts until nobody holds the pipes any more.
    starting = asyncio.ensure_future(
        asyncio.get_running_loop().subprocess_exec(
            _Output, *argv, cwd="/", env=env, stdin=asyncio.subprocess.DEVNULL, start_new_session=True
        )
    )
    try:
        return await asyncio.shield(starting)
    except OSError as error:
        why = f"its program cannot be executed: {error.strerror}; install it or give its path"
        raise Rejected("key_unreadable", f"The model's key {name}: {why}.") from error
    except asyncio.CancelledError:
        await asyncio.wait([starting])  # asyncio would kill it without its children
        if starting.exception() is None:
            await _end(*starting.result())
        raise


async def _end(transport: asyncio.SubprocessTransport, output: _Output) -> None:
    try:
        if not output.exited.is_set():
            with suppress(ProcessLookupError):
                os.killpg(transport.get_pid(), signal.SIGKILL)
            with suppress(TimeoutError):
                async with asyncio.timeout(_REAP):
                    await output.exited.wait()
    finally:
        transport.close()


def _failed(name: str, what: str, remedy: str, output: _Output) -> Rejected:
    """Return an error with the program's last words, but for those that it printed as a key too."""
    words = output.tail.decode("utf-8", "replace")
    for word in output.first.decode("utf-8", "replace").split():
        words = words.replace(word, "***")
    said = one_line(words[-_SHOWN:], _SHOWN).rstrip(".")
    sentence = f"The model's key {name}: its program {what}{f', and said: {said}' if said else ''}; {remedy}."
    return Rejected("key_unreadable", sentence)
