"""Our blocks, taken out of the user messages that an agent tells: what the editor shows is what its user wrote.

A block is recognised exactly (`parse_block`), in one chunk or over several. A chunk in which one may have begun is held
until that is decided: by the next chunk of the same message, or by anything else that comes.
"""

from dataclasses import dataclass
from typing import Final

from acp_runtime.core.roster import CLOSE_TAG, OPEN_TAG, parse_block
from acp_runtime.wire import jsonspans

MAX_HELD_CHARS: Final = 65_536
MAX_HELD: Final = 1_024
_END: Final = f"\n{CLOSE_TAG}"
_TEXT: Final = ("params", "update", "content", "text")


@dataclass(frozen=True, slots=True)
class _Chunk:
    line: bytes
    text: str


class Replay:
    """The chunks of user messages of all sessions; holds at most 64 KiB of text of each session."""

    def __init__(self) -> None:
        self._held: dict[str, list[_Chunk]] = {}

    @property
    def holding(self) -> bool:
        """Whether something waits for what comes next."""
        return bool(self._held)

    def chunk(self, session: str, line: bytes, text: str) -> list[bytes]:
        """Take a chunk of a user message and return the lines that can be passed on, in order."""
        held = [*self._held.pop(session, ()), _Chunk(line, text)]
        passed: list[bytes] = []
        while held:
            joined = "".join(each.text for each in held)
            found = _block(joined)
            if found is None:
                return passed + self._keep(session, held, joined)
            cut, held = _without(held, *found)
            passed += cut
        return passed

    def flush(self, session: str | None = None) -> list[bytes]:
        """Return what is held, of one session or of all: nothing of it was a block."""
        names = list(self._held) if session is None else [session]
        return [each.line for name in names for each in self._held.pop(name, ())]

    def _keep(self, session: str, held: list[_Chunk], joined: str) -> list[bytes]:
        """Hold on to the chunks from the one on in which a block may begin; return the lines before."""
        begin = _beginning(joined)
        at, count = 0, 0
        while count < len(held) and at + len(held[count].text) <= begin:
            at += len(held[count].text)
            count += 1
        kept = held[count:]
        if len(joined) - at > MAX_HELD_CHARS or len(kept) > MAX_HELD:
            count, kept = len(held), []
        if kept:
            self._held[session] = kept
        return [each.line for each in held[:count]]


def _block(text: str) -> tuple[int, int] | None:
    """Return where the first block of ours stands."""
    start = text.find(OPEN_TAG)
    while start >= 0:
        end = text.find(_END, start)
        if end < 0:
            return None
        end += len(_END)
        if parse_block(text[start:end]) is not None:
            return start, end
        start = text.find(OPEN_TAG, start + 1)
    return None


def _beginning(text: str) -> int:
    """Return from where on the text may be the beginning of a block, its length when it is none."""
    start = text.find(OPEN_TAG)
    while start >= 0:
        if text.find(_END, start) < 0:
            return start
        start = text.find(OPEN_TAG, start + 1)
    for length in range(min(len(OPEN_TAG) - 1, len(text)), 0, -1):
        if OPEN_TAG.startswith(text[-length:]):
            return len(text) - length
    return len(text)


def _without(held: list[_Chunk], start: int, end: int) -> tuple[list[bytes], list[_Chunk]]:
    """Cut a stretch out of the chunks: return the lines before its end, and what is left of the chunk it ends in."""
    passed: list[bytes] = []
    at = 0
    for index, each in enumerate(held):
        low, high = max(0, start - at), min(len(each.text), end - at)
        left = each.text[:low] + each.text[high:] if low < high else each.text
        line = each.line if left == each.text else _with_text(each.line, left)
        at += len(each.text)
        if at >= end:
            rest = [_Chunk(line, left)] if left else []
            return passed, [*rest, *held[index + 1 :]]
        if left:
            passed.append(line)
    return passed, []


def _with_text(line: bytes, text: str) -> bytes:
    span = jsonspans.find(line, *_TEXT)
    return line if span is None else jsonspans.written(line, span, text)
