"""What an agent wrote outside the protocol: its stderr, and noise on its stdout. Bounded: the newest is kept."""

import codecs
from collections import deque
from typing import Final

from acp_runtime.core.plaintext import one_line, printable

STDERR_BYTES: Final = 65_536
STDERR_TOLD: Final = 2_000
NOISE_LINES: Final = 20


class Diagnosis:
    """Takes it in, and tells it to people."""

    def __init__(self) -> None:
        self._stderr = bytearray()
        self._count = 0
        self._noise: deque[str] = deque(maxlen=NOISE_LINES)

    def on_stderr(self, data: bytes) -> None:
        self._stderr += data
        self._count += len(data)
        if len(self._stderr) > STDERR_BYTES:
            del self._stderr[: len(self._stderr) - STDERR_BYTES]

    def on_gap(self, length: int) -> None:
        """Count bytes of stderr that are lost."""
        self._count += length

    def on_noise(self, text: str) -> None:
        self._noise.append(one_line(text, 200))

    def text(self) -> str:
        """Return it, newest last: the stderr, else the noise on stdout."""
        text = printable(self._stderr.decode("utf-8", "replace")).strip()
        return (text or "\n".join(self._noise))[-STDERR_TOLD:]

    def stderr(self, since: int) -> tuple[str, int]:
        """Return what was written there after its first `since` bytes, as far as it is held, and the count then."""
        held = bytes(self._stderr[max(0, since - (self._count - len(self._stderr))) :])
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        text = decoder.decode(held)
        return text, self._count - len(decoder.getstate()[0])  # a character in two pieces is told whole
