"""Standard output of the verbs: data only, for people as plain text, for programs as one JSON object a line.

Promises: whatever an agent or a host wrote into the data cannot move the cursor; what the encoding of the output lacks
is escaped; an output that cannot be written is one `OutputError`, never a traceback.
"""

import io
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from acp_runtime.core.plaintext import printable, visible


class OutputError(Exception):
    """Standard output took no more. `unread`: its reader has gone, who needs no telling."""

    def __init__(self, sentence: str, *, unread: bool = False) -> None:
        super().__init__(sentence)
        self.unread = unread


def prepare() -> None:
    """Make standard output ready for any text, and keep its number from a file that is opened later."""
    while (opened := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(opened)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def put(text: str) -> None:
    """Write a line of data for people."""
    write(printable(text) + "\n")


def put_json(*objects: object) -> None:
    """Write one object a line, as JSON that any terminal can show."""
    for each in objects:
        write(json.dumps(each, ensure_ascii=True) + "\n")


def write(text: str) -> None:
    """Write text as it is. Raises `OutputError`."""
    with _told():
        if sys.stdout is None:
            raise OutputError("standard output is closed")
        sys.stdout.write(text)


def write_bytes(data: bytes) -> None:
    """Write bytes as they are, or as a terminal can show them where it is one. Raises `OutputError`."""
    with _told():
        if sys.stdout is None:
            raise OutputError("standard output is closed")
        sys.stdout.flush()
        sys.stdout.buffer.write(for_terminal(data) if sys.stdout.isatty() else data)


def for_terminal(data: bytes) -> bytes:
    """Return what an agent wrote, such as a patch, with escapes in place of all that would control a terminal."""
    return visible(data.decode("utf-8", "backslashreplace")).encode()


def flush() -> None:
    """Write what is buffered. Raises `OutputError`."""
    with _told():
        if sys.stdout is not None:
            sys.stdout.flush()


def discard() -> None:
    """Give up what is buffered, so that the end of the process does not stumble over it."""
    with suppress(OSError, AttributeError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError as error:
        raise OutputError("nobody reads the output", unread=True) from error
    except OSError as error:
        raise OutputError(f"the output cannot be written: {error.strerror}") from error
