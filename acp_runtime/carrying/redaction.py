"""Takes a secret out of a stream of bytes, whichever way it is cut into pieces.

Promises that the length stays the same, and that nothing is held back but an end that may be the beginning of the
secret: a line-oriented stream is passed on at once.
"""

__all__ = ["Redaction"]


class Redaction:
    """One stream. Without a secret it passes everything on as it is."""

    __slots__ = ("_held", "_secret")

    def __init__(self, secret: bytes | None) -> None:
        self._secret = secret
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """Return what may be passed on now."""
        if self._secret is None:
            return data
        clean = (self._held + data).replace(self._secret, b"*" * len(self._secret))
        cut = len(clean) - self._overlap(clean)
        self._held = clean[cut:]
        return clean[:cut]

    def finish(self) -> bytes:
        """Return what was held back; the stream has ended."""
        held, self._held = self._held, b""
        return held

    def _overlap(self, data: bytes) -> int:
        """Length of the longest end of `data` that is a beginning of the secret."""
        secret = self._secret or b""
        for length in range(min(len(secret) - 1, len(data)), 0, -1):
            if data.endswith(secret[:length]):
                return length
        return 0
