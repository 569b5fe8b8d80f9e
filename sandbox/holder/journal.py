"""A holder's journal, read from its files when the holder has gone. Sans-io; docs/framing.md describes the files.

Whatever the files hold nothing here raises but for a state that is no state: what is damaged or missing comes out as a
GAP in its place, and reading goes on in the next file.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Final

from sandbox.holder.errors import HolderError
from sandbox.holder.frames import Frame, Phase, Splitter, State, Type, gap

STATE_FILE: Final = "state"
MAGIC: Final = b"ACPHOLD1"
READ_AT_ONCE: Final = 1024 * 1024
LETTERS: Final = {1: "o", 2: "e"}
_NAME = re.compile(r"([oei])-([0-9a-f]{16})")


def read_state(data: bytes) -> State:
    """Read the file `state`. Its phase is LOST when the holder was killed. Raises HolderError (`journal_damaged`)."""
    if not data.startswith(MAGIC):
        raise HolderError("journal_damaged", "The state of the journal does not begin as one.")
    try:
        state = State.parse(data[len(MAGIC) :])
    except HolderError as error:
        raise HolderError("journal_damaged", str(error)) from error
    return state if state.phase is Phase.ENDED else replace(state, phase=Phase.LOST)


def read_output(
    names: Iterable[str], read: Callable[[str], bytes], stream: int, start: int, end: int
) -> Iterator[Frame]:
    """Yield OUTPUT and GAP frames of one stream from `start` to `end`, in order and without a hole between them.

    `names` are those of the files in the journal's folder; `read` gives one file, at most one at a time is held. `end`
    comes from the state.
    """
    segments = sorted(_starts(names, LETTERS[stream]))
    at = start
    for position, (first, name) in enumerate(segments):
        stop = segments[position + 1][0] if position + 1 < len(segments) else end
        if stop <= at:
            continue
        for frame in _records(read(name), stream, min(stop, end)) if first < end else ():
            if frame.offset + len(frame.payload) <= at:
                continue
            if frame.offset > at:
                yield gap(stream, at, frame.offset - at)
                at = frame.offset
            yield Frame(Type.OUTPUT, stream, at, frame.payload[at - frame.offset :])
            at = frame.offset + len(frame.payload)
        if at < min(stop, end) and position + 1 < len(segments):
            yield gap(stream, at, min(stop, end) - at)
            at = min(stop, end)
    if at < end:
        yield gap(stream, at, end - at)


def _starts(names: Iterable[str], letter: str) -> Iterator[tuple[int, str]]:
    for name in names:
        match = _NAME.fullmatch(name)
        if match is not None and match[1] == letter:
            yield int(match[2], 16), name


def _records(data: bytes, stream: int, stop: int) -> Iterator[Frame]:
    """Yield the sound records of one file, up to the first that is not."""
    splitter = Splitter()
    for position in range(0, len(data), READ_AT_ONCE):
        for frame in splitter.feed(data[position : position + READ_AT_ONCE]):
            right = frame.type == Type.OUTPUT and frame.detail == stream and frame.payload
            if not right or frame.offset + len(frame.payload) > stop:
                return
            yield frame
