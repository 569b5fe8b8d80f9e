"""Standard error: where the program talks to a person.

Promises: nothing here raises, also when nobody listens any more; nothing but plain text gets out, whoever wrote it;
progress never keeps the program waiting for a reader, it is left out instead.
"""

import logging
import os
import select
import sys
from contextlib import suppress

from acp_runtime.core.plaintext import printable


class Talk:
    """Says progress, unless `quiet`, and tells what must be known."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._fd: int | None = None
        self._encoding = "utf-8"
        with suppress(OSError, ValueError, AttributeError):  # standard error may be closed, or be no file
            self._fd = sys.stderr.fileno()
            self._encoding = sys.stderr.encoding

    def say(self, line: str) -> None:
        """Say progress; left out when quiet, and while the reader is behind."""
        if not self._quiet and self._ready():
            self.tell(line)

    def tell(self, line: str) -> None:
        """Tell what must be known; waits for the reader."""
        if self._fd is None:
            return
        left = memoryview((printable(line) + "\n").encode(self._encoding, "backslashreplace"))
        with suppress(OSError):
            while left:
                left = left[os.write(self._fd, left) :]

    def log(self) -> None:
        """Tell the warnings and errors that any part of the program logs."""
        logging.basicConfig(handlers=[_LogHandler(self)], level=logging.WARNING, format="%(message)s", force=True)

    def _ready(self) -> bool:
        if self._fd is None:
            return False
        ready = select.poll()
        ready.register(self._fd, select.POLLOUT)
        return bool(ready.poll(0))


class _LogHandler(logging.Handler):
    def __init__(self, talk: Talk) -> None:
        super().__init__()
        self._talk = talk

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._talk.tell(self.format(record))
        except Exception:  # noqa: BLE001 - logging's own rule: a record that cannot be formatted costs nothing else
            self.handleError(record)
