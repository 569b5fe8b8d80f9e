"""Properties of the frames of a holder: whole, in order, however they are cut; and nothing after what was changed."""

import contextlib
import itertools
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from sandbox.holder import frames
from sandbox.holder.errors import FramesCorrupt
from sandbox.holder.frames import HEADER, LONGEST_OUTPUT, Frame, Phase, Splitter, State, Told, Type

KEPT = Path(__file__).parents[1] / "fixtures" / "holder_frames" / "version_1.hex"

sent = st.lists(
    st.builds(
        Frame,
        st.sampled_from(list(map(int, Type))),
        st.integers(0, 255),
        st.integers(0, 2**64 - 1),
        st.binary(max_size=60),
    ),
    max_size=10,
)


def joined(many: list[Frame]) -> bytes:
    return b"".join(frames.encode(*frame) for frame in many)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


@given(sent, st.lists(st.integers(0, 10_000), max_size=20))
def test_any_chunking_gives_the_same_frames(many, places):
    splitter = Splitter()
    received = [frame for chunk in cut(joined(many), places) for frame in splitter.feed(chunk)]
    assert received == many
    assert splitter.corrupt is None


@given(sent.filter(bool), st.integers(0), st.integers(1, 255))
def test_a_changed_byte_is_found_and_nothing_comes_after_it(many, place, change):
    data = bytearray(joined(many))
    place %= len(data)
    data[place] ^= change
    splitter = Splitter()
    received = splitter.feed(bytes(data))
    assert received == many[: len(received)]
    assert len(received) < len(many)
    assert sum(HEADER + len(frame.payload) for frame in received) <= place
    if splitter.corrupt is not None:  # a length that became longer makes it wait for more
        assert isinstance(splitter.corrupt, FramesCorrupt)
        assert splitter.feed(joined(many)) == []


@given(st.binary(max_size=300))
def test_no_bytes_make_the_splitter_fail_or_hold_more_than_a_frame(data):
    splitter = Splitter()
    splitter.feed(data)
    assert len(splitter._held) < HEADER + LONGEST_OUTPUT


@given(st.binary(max_size=200))
def test_a_state_is_read_or_refused(payload):
    with contextlib.suppress(FramesCorrupt):
        assert State.parse(payload).phase in Phase


def test_what_version_1_said_is_understood_for_ever():
    """Read kept bytes of version 1: hello, welcome, output, a gap, an answer, a refusal, the end, an error."""
    data = bytes.fromhex("".join(KEPT.read_text().split()))
    splitter = Splitter()
    hello, welcome, output, gap, accepted, refused, over, error = splitter.feed(data)
    assert splitter.corrupt is None
    assert joined([hello]) == frames.hello("0123456789abcdef", 3, 5, 6)
    state = State.parse(welcome.payload)
    assert (welcome.detail, state.version, state.phase, state.epoch) == (Told.ANSWER, 1, Phase.RUNNING, 3)
    assert (state.accepted, state.drained, state.stdout_first, state.stdout_end) == (70, 60, 5, 900)
    assert (output.type, output.detail, output.offset, output.payload) == (Type.OUTPUT, 1, 5, b"hello\n")
    assert (gap.type, gap.detail, gap.offset, frames.gap_length(gap.payload)) == (Type.GAP, 2, 6, 1000)
    assert (accepted.type, accepted.offset) == (Type.ACCEPTED, 77)
    assert (refused.type, refused.offset, refused.payload) == (Type.REFUSED, 77, b"input_full: x")
    ended = State.parse(over.payload)
    assert (over.detail, ended.phase, ended.exit_code, ended.signal) == (Told.OVER, Phase.ENDED, None, 9)
    assert (ended.oom_kills, ended.pids_denied) == (2, None)
    assert (error.type, error.offset, error.payload) == (Type.ERROR, 4, b"epoch_refused: x")
