"""A holder's journal, read from its files when the holder has gone. Sans-io; docs/framing.md describes the files.

Whatever the files hold nothing here raises but for a state that is no state: what is damaged or missing comes out as a
GAP in its place, and reading goes on in the next file.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from sandbox.holder.errors import HolderError
from sandbox.holder.frames import Frame, Phase, Splitter, State, Type, gap

MAGIC: Final = b"ACPHOLD1"


def read_state(data: bytes) -> State:
    """Read the file `state`. Its phase is LOST when the holder was killed. Raises HolderError (`journal_damaged`)."""
    if not data.startswith(MAGIC):
        raise HolderError("journal_damaged", "The state of the journal does not begin as one.")
    try:
        state = State.parse(data[len(MAGIC) :])
    except HolderError as error:
        raise HolderError("journal_damaged", str(error)) from error
    return state if state.phase is Phase.ENDED else replace(state, phase=Phase.LOST)


class StreamFiles:
    """One stream of a journal, out of its files: `begin` each in the order of their names, `feed` it, `finish` at last.

    OUTPUT and GAP frames come out, in order and without a hole between them, from `start` to `end`, which is the
    state's, None when that is damaged. What is sound and follows behind the end without a hole comes out too: the
    holder was killed before it had noted it. `at` is behind all that came out. Less than one frame is held.
    """

    def __init__(self, stream: int, start: int, end: int | None) -> None:
        self.at = start
        self._stream, self._end = stream, end
        self._splitter: Splitter | None = None
        self._stop: int | None = None

    def begin(self, stop: int | None) -> None:
        """Go on with the next file, of the part of the stream before `stop`; None for the last file."""
        self._splitter, self._stop = Splitter(), stop

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Take the next bytes of the file; from the first record on that is not sound nothing more comes out of it."""
        for frame in self._splitter.feed(data) if self._splitter is not None else ():
            after = frame.offset + len(frame.payload)
            if not self._belongs(frame, after):
                self._splitter = None
                return
            if after > self.at:
                yield from self._skip(frame.offset)
                yield Frame(Type.OUTPUT, self._stream, self.at, frame.payload[self.at - frame.offset :])
                self.at = after

    def finish(self) -> Iterator[Frame]:
        if self._end is not None:
            yield from self._skip(self._end)

    def _belongs(self, frame: Frame, after: int) -> bool:
        right = frame.type == Type.OUTPUT and frame.detail == self._stream and bool(frame.payload)
        known = self._end is None or after <= self._end or frame.offset <= self.at
        return right and known and (self._stop is None or after <= self._stop)

    def _skip(self, to: int) -> Iterator[Frame]:
        if to > self.at:
            yield gap(self._stream, self.at, to - self.at)
            self.at = to
