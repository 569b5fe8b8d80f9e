"""Gives the addresses in an answer other beginnings, whichever way the answer is cut into pieces.

Promises that every occurrence is found, the one that begins first and of those the longest, that what was put in is not
looked at again, and that nothing is held back but an end that may be the beginning of an address.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from acp_runtime.carrying.headers import Headers

__all__ = ["Rewriting", "RewritingStream"]

_ADDRESSES = frozenset({b"location", b"content-location"})


@dataclass(frozen=True, slots=True)
class Rewriting:
    """What becomes of one answer: `beginnings` of addresses by those they are given; `body`: in its body, too.

    `origin`, like `https://HOST`, is what an address in the head means that begins with its path.
    """

    beginnings: Mapping[bytes, bytes]
    origin: bytes
    body: bool = True

    def headers(self, headers: Headers) -> Headers:
        """Return the head's headers. The length of a body that may change is left out."""
        kept = [(name, value) for name, value in headers if not (self.body and name == b"content-length")]
        return [(name, self._whole(value) if name in _ADDRESSES else value) for name, value in kept]

    def _whole(self, value: bytes) -> bytes:
        if value.startswith(b"/") and not value.startswith(b"//"):
            value = self.origin + value
        stream = RewritingStream(self.beginnings)
        return stream.feed(value) + stream.finish()


class RewritingStream:
    """One body."""

    __slots__ = ("_beginnings", "_held", "_pattern")

    def __init__(self, beginnings: Mapping[bytes, bytes]) -> None:
        self._beginnings = beginnings
        self._pattern = re.compile(b"|".join(map(re.escape, sorted(beginnings, key=len, reverse=True))))
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """Return what may be passed on now."""
        data, done, at = self._held + data, [], 0
        certain = len(data) - self._unfinished(data)
        for found in self._pattern.finditer(data):
            if found.start() >= certain:  # a longer one may begin here
                break
            done += [data[at : found.start()], self._beginnings[found.group()]]
            at = found.end()
        cut = max(at, certain)
        self._held = data[cut:]
        return b"".join([*done, data[at:cut]])

    def finish(self) -> bytes:
        """Return what was held back; the stream has ended."""
        held, self._held = self._held, b""
        return self._pattern.sub(lambda found: self._beginnings[found.group()], held)

    def _unfinished(self, data: bytes) -> int:
        """Return the length of the longest end of the data that may go on as one of the beginnings."""
        longest = max(map(len, self._beginnings)) - 1
        for length in range(min(longest, len(data)), 0, -1):
            if any(each.startswith(data[-length:]) and len(each) > length for each in self._beginnings):
                return length
        return 0
