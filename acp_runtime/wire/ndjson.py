r"""Newline-delimited JSON as lines: bytes in, whole lines out, memory bounded whatever the peer sends.

A line ends at `\n`; one `\r` before it belongs to the ending. A line longer than the cap is not kept: only its
first and last 4 KiB and its length come out, as an `Oversized`, in the line's place in the order, and reading goes on
at the next newline. Work is linear in the bytes fed, however they are cut into chunks.
"""

from dataclasses import dataclass
from typing import Final, Self

DEFAULT_CAP: Final = 16 * 1024 * 1024
PREFIX_BYTES: Final = 4096
TAIL_BYTES: Final = 4096


@dataclass(frozen=True, slots=True)
class Oversized:
    """A line that was longer than the cap and is gone, but for its beginning and its end.

    `length` counts the bytes before the newline, a carriage return included; for the unterminated rest that
    `finish` returns it counts what had arrived.
    """

    prefix: bytes
    length: int
    tail: bytes = b""

    @classmethod
    def of(cls, line: bytes) -> Self:
        """Return what is kept of a line that is there as a whole."""
        return cls(line[:PREFIX_BYTES], len(line), line[-TAIL_BYTES:])


class LineSplitter:
    """Cuts a byte stream into lines; holds at most `cap` bytes of a line that has not ended yet.

    `ends` tells for each line that `feed` returned last how many bytes of the stream lay before the next line;
    `start` is where in the stream the feeding begins.
    """

    def __init__(self, cap: int = DEFAULT_CAP, *, start: int = 0) -> None:
        if cap < 1:
            raise ValueError(f"the line cap is {cap} bytes; it must be at least 1")
        self.ends: list[int] = []
        self._cap = cap
        self._fed = start
        self._held = bytearray()
        self._tail = bytearray()  # of a line over the cap
        self._skipped = 0  # bytes of the current line when it is over the cap, else 0

    def feed(self, data: bytes) -> list[bytes | Oversized]:
        """Take the next bytes of the stream and return the lines they complete, in order; empty lines are dropped."""
        lines: list[bytes | Oversized] = []
        self.ends = ends = []
        fed, start = self._fed, 0
        self._fed = fed + len(data)
        while (end := data.find(b"\n", start)) >= 0:
            if self._held or self._skipped or end - start > self._cap:
                self._hold(data[start:end])
                line = self._release()
            else:
                line = data[start:end]
                if line.endswith(b"\r"):
                    line = line[:-1]
            start = end + 1
            if line:
                lines.append(line)
                ends.append(fed + start)
        if start < len(data):
            self._hold(data[start:] if start else data)
        return lines

    def finish(self) -> bytes | Oversized | None:
        """Return what stands after the last newline, None when nothing does; the splitter is empty afterwards."""
        return self._release() or None

    @property
    def fed(self) -> int:
        """How many bytes of the stream have come."""
        return self._fed

    @property
    def skipping(self) -> bool:
        """Whether the line that has begun is over the cap already: what comes of it is not kept."""
        return self._skipped > 0

    def skip(self, length: int) -> None:
        """Pass over bytes of the stream that are lost, and with them the line that had begun."""
        self._release()
        self._fed += length

    def _hold(self, part: bytes) -> None:
        if self._skipped:
            self._skipped += len(part)
            self._held += part[: PREFIX_BYTES - len(self._held)]
            self._tail += part[-TAIL_BYTES:]
            if len(self._tail) > 2 * TAIL_BYTES:  # not at each part, which may be a byte
                del self._tail[:-TAIL_BYTES]
        elif len(self._held) + len(part) <= self._cap:
            self._held += part
        else:
            self._skipped = len(self._held) + len(part)
            self._tail = self._held[-TAIL_BYTES:] + part[-TAIL_BYTES:]
            del self._held[PREFIX_BYTES:]
            self._held += part[: PREFIX_BYTES - len(self._held)]

    def _release(self) -> bytes | Oversized:
        held, self._held = self._held, bytearray()
        skipped, self._skipped = self._skipped, 0
        if skipped:
            tail, self._tail = self._tail, bytearray()
            return Oversized(bytes(held), skipped, bytes(tail[-TAIL_BYTES:]))
        if held.endswith(b"\r"):
            del held[-1]
        return bytes(held)
