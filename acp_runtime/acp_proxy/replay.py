"""Our blocks, taken out of the user messages that an agent tells: what the editor shows is what its user wrote.

A block is recognised exactly (`parse_block`), in one chunk or over several. A chunk in which one may have begun is held
until that is decided: by the next chunk of the same message, or by anything else that comes.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from acp_runtime.core.roster import CLOSE_TAG, OPEN_TAG, parse_block
from acp_runtime.wire import jsonspans

# Of text there may be 64 KiB in a block, of which each character may be escaped.
MAX_HELD_BYTES: Final = 524_288
MAX_HELD: Final = 1_024
MAX_SESSIONS: Final = 64
_END: Final = f"\n{CLOSE_TAG}"
_TEXT: Final = ("params", "update", "content", "text")


@dataclass(frozen=True, slots=True)
class _Chunk:
    line: bytes
    text: str


class Replay:
    """The chunks of user messages of all sessions; holds at most 512 KiB of each of 64 sessions."""

    def __init__(self) -> None:
        self._held: dict[str, list[_Chunk]] = {}

    @property
    def holding(self) -> bool:
        """Whether something waits for what comes next."""
        return bool(self._held)

    def chunk(self, session: str, line: bytes, text: str) -> list[bytes]:
        """Take a chunk of a user message and return the lines that can be passed on, in order."""
        held = [*self._held.pop(session, ()), _Chunk(line, text)]
        joined = "".join(each.text for each in held)
        begin, at = _beginning(joined), 0
        passed: list[_Chunk] = []
        kept: list[_Chunk] = []
        for each, left in zip(held, _without(held, _blocks(joined)), strict=True):
            at += len(each.text)
            if left is not None:
                (kept if at > begin else passed).append(left)
        if sum(len(each.line) for each in kept) > MAX_HELD_BYTES or len(kept) > MAX_HELD:
            passed, kept = passed + kept, []
        if kept:
            self._held[session] = kept
        lines = [each.line for each in passed]
        return lines + self.flush() if len(self._held) > MAX_SESSIONS else lines

    def flush(self, session: str | None = None) -> list[bytes]:
        """Return what is held, of one session or of all: nothing of it was a block."""
        names = list(self._held) if session is None else [session]
        return [each.line for name in names for each in self._held.pop(name, ())]


def _blocks(text: str) -> list[tuple[int, int]]:
    """Return where blocks of ours stand, in order. Each begins with the last tag before its end: none is within one."""
    found = []
    at = 0
    while (end := text.find(_END, at)) >= 0:
        start = text.rfind(OPEN_TAG, at, end)
        at = end + len(_END)
        if start >= 0 and parse_block(text[start:at]) is not None:
            found.append((start, at))
    return found


def _beginning(text: str) -> int:
    """Return from where on the text may be the beginning of a block, its length when it is none."""
    start = text.find(OPEN_TAG, text.rfind(_END) + 1)
    if start >= 0:
        return start
    for length in range(min(len(OPEN_TAG) - 1, len(text)), 0, -1):
        if OPEN_TAG.startswith(text[-length:]):
            return len(text) - length
    return len(text)


def _without(held: list[_Chunk], blocks: list[tuple[int, int]]) -> Iterator[_Chunk | None]:
    """Yield what is left of each chunk without the blocks, which lie over all of them; None where nothing is."""
    at = 0
    gone = deque(blocks)
    for each in held:
        parts: list[str] = []
        low, end = 0, len(each.text)
        while gone and gone[0][0] < at + end:
            start, stop = (place - at for place in gone[0])
            parts.append(each.text[low : max(low, start)])
            low = min(stop, end)
            if stop > end:
                break
            gone.popleft()
        left = "".join((*parts, each.text[low:]))
        if left == each.text:
            yield each
        else:
            yield _Chunk(_with_text(each.line, left), left) if left else None
        at += end


def _with_text(line: bytes, text: str) -> bytes:
    span = jsonspans.find(line, *_TEXT)
    return line if span is None else jsonspans.written(line, span, text)
