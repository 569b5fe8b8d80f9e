"""A process of its own in the background: how it gets there, and what it says on the way."""

import contextlib
import logging
import os
import select
from pathlib import Path
from typing import Final

_GOOD: Final = b"\0"


class Report:
    """One word from a process that starts in the background to the one that waits for it."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()

    def good(self) -> None:
        """Say that all is well."""
        self._say(_GOOD)

    def bad(self, sentence: str) -> None:
        """Say what went wrong."""
        logging.getLogger(__name__).error("%s", sentence)
        self._say(sentence.encode())

    def read(self, seconds: float) -> str:
        """Return what went wrong within the bound, or nothing. Called by the one that waits."""
        os.close(self._writer)
        said = b""
        poll = select.poll()
        poll.register(self._reader, select.POLLIN | select.POLLHUP)
        while poll.poll(seconds * 1000):
            piece = os.read(self._reader, 4096)
            said += piece
            if not piece or said == _GOOD:
                os.close(self._reader)
                return (
                    "" if said == _GOOD else said.decode("utf-8", "replace") or "it ended without a word; see its log"
                )
        os.close(self._reader)
        return f"it has not come up within {seconds:g} s; see its log"

    def _say(self, word: bytes) -> None:
        with contextlib.suppress(OSError):  # nobody waits any more, or it was said already
            os.write(self._writer, word)
            os.close(self._writer)


def detach() -> bool:
    """Fork a process that belongs to no terminal, session or parent; return whether this is it.

    It has no file open that whoever started this program had open: a lock or a pipe of theirs would be held for good.
    """
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return False
    os.setsid()
    if os.fork():
        os._exit(0)
    os.chdir("/")
    os.umask(0o077)
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    os.close(null)
    _close_inherited()
    return True


def _close_inherited() -> None:
    """Close what came through `execve`, which is what can go through it again; what Python opens cannot."""
    for number in [int(each.name) for each in Path("/proc/self/fd").iterdir()]:
        with contextlib.suppress(OSError):  # the listing itself is over
            if number > 2 and os.get_inheritable(number):
                os.close(number)


def wait_for_end(pid: int, seconds: float) -> bool:
    """Return whether the process of this user has ended within the bound."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(seconds * 1000))
    finally:
        os.close(descriptor)
