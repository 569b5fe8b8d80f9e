"""The JSON documents of an answer: the one of a plain answer, or one for each server-sent event.

Only those that tell a usage are looked at, so that a long stream costs next to nothing. Promises what `Picker` does;
an event that is cut off by the end of the stream is none.
"""

import re
from collections.abc import Callable, Collection
from typing import Any, Final

from acp_runtime.models.formats.picking import Path, Picker

__all__ = ["Documents"]

# The key under which every format tells it, but not where an event only says that it will come.
_MARK: Final = re.compile(rb'"usage\w*"(?!\s*:\s*null\b)')
_DATA: Final = b"data:"
_SPACE: Final = b" \t\r\n\xef\xbb\xbf"


class Documents:
    """Gives what was picked of each document to `tell`, in their order. Whether they are events is seen at once."""

    def __init__(self, wanted: Collection[Path], tell: Callable[[dict[Path, Any]], None]) -> None:
        self._wanted = wanted
        self._tell = tell
        self._events: bool | None = None
        self._picker: Picker | None = None
        self._line: bytearray | None = bytearray()  # its beginning; None once it is known what the line is
        self._is_data = False

    def feed(self, data: bytes) -> None:
        """Look at the next piece of the body."""
        if self._events is None:
            data = data.lstrip(_SPACE)
            if not data:
                return
            self._events = data[:1] not in (b"{", b"[")
        if self._events:
            self._feed_events(data)
        else:
            self._feed_data(data)

    def finish(self) -> None:
        """Take what is there of the last document, if that is whole; the body has ended."""
        self._end()

    def _feed_events(self, data: bytes) -> None:
        at = 0
        while at < len(data):
            if self._between_events:
                at = _skip(data, at)
            line_end = data.find(b"\n", at)
            self._feed_line(data[at:] if line_end < 0 else data[at:line_end])
            if line_end < 0:
                return
            self._end_line()
            at = line_end + 1

    @property
    def _between_events(self) -> bool:
        return self._picker is None and self._line is not None and not self._line

    def _feed_line(self, data: bytes) -> None:
        if self._line is not None:
            self._line += data[: len(_DATA)]
            if len(self._line) < len(_DATA):
                return
            self._is_data = self._line.startswith(_DATA)
            data = bytes(self._line[len(_DATA) :]) + data[len(_DATA) :]
            self._line = None
        if self._is_data:
            self._feed_data(data)

    def _end_line(self) -> None:
        if self._line is not None and not self._line.strip():
            self._end()
        self._line = bytearray()
        self._is_data = False

    def _feed_data(self, data: bytes) -> None:
        if self._picker is None:
            self._picker = Picker(self._wanted)
        self._picker.feed(data)

    def _end(self) -> None:
        picker, self._picker = self._picker, None
        if picker is not None and picker.whole:
            self._tell(picker.found)


def _skip(data: bytes, at: int) -> int:
    """Return where the first event begins that may tell a usage, or that is not all there."""
    mark = _MARK.search(data, at)
    until = len(data) if mark is None else mark.start()
    for end in (b"\n\n", b"\n\r\n"):
        if (found := data.rfind(end, at, until)) >= 0:
            at = found + len(end)
    return at
