"""The engine's raw stream taken apart: 8 bytes of header (stream, three zeros, length), then that many bytes.

Sans-io. `Demultiplexer.feed` promises the same bytes per stream, in the order they were sent, whatever the chunks they
arrive in; it keeps at most seven bytes back, since a payload is passed on as it comes. After what cannot be a header
nothing more comes out, and `corrupt` says why.
"""

import struct
from enum import IntEnum

from sandbox.errors import StreamCorrupt

HEADER = struct.Struct(">B3sL")
NO_PADDING = bytes(3)
# Engines send what they read in pieces of 32 KiB. A length far above that is a stream out of step, not a big message.
LARGEST_FRAME = 16 * 1024 * 1024


class Stream(IntEnum):
    """The streams of a program, by the engine's numbers."""

    STDOUT = 1
    STDERR = 2


Piece = tuple[Stream, bytes]


class Demultiplexer:
    """State of one raw stream."""

    def __init__(self) -> None:
        self._kept = b""
        self._stream = Stream.STDOUT
        self._missing = 0
        self.corrupt: StreamCorrupt | None = None

    @property
    def mid_frame(self) -> bool:
        """Whether the stream would be cut if it ended here."""
        return bool(self._missing or self._kept)

    def feed(self, data: bytes) -> list[Piece]:
        """Take the next bytes, return what they complete; neighbours of one stream come as one piece."""
        data = self._kept + data if self._kept else data
        self._kept = b""
        parts: list[tuple[Stream, list[bytes]]] = []
        position, end = 0, len(data)
        while position < end and self.corrupt is None:
            if not self._missing:
                if end - position < HEADER.size:
                    self._kept = data[position:]
                    break
                self._read_header(data, position)
                position += HEADER.size
                continue
            part = data[position : position + self._missing]
            position += len(part)
            self._missing -= len(part)
            if parts and parts[-1][0] is self._stream:
                parts[-1][1].append(part)
            else:
                parts.append((self._stream, [part]))
        return [(stream, some[0] if len(some) == 1 else b"".join(some)) for stream, some in parts]

    def _read_header(self, data: bytes, position: int) -> None:
        number, padding, length = HEADER.unpack_from(data, position)
        if number not in {Stream.STDOUT, Stream.STDERR} or padding != NO_PADDING:
            self._fail(f"a header {data[position : position + HEADER.size].hex()} that names no stream")
        elif length > LARGEST_FRAME:
            self._fail(f"a frame of {length} bytes, more than {LARGEST_FRAME}")
        else:
            self._stream, self._missing = Stream(number), length

    def _fail(self, found: str) -> None:
        self.corrupt = StreamCorrupt(f"The engine's stream is out of step: {found}. The channel must be opened again.")
