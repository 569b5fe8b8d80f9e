"""Properties of the demultiplexer: what goes in framed comes out whole, however it is cut."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from sandbox.errors import StreamCorrupt
from sandbox.framing import HEADER, LARGEST_FRAME, NO_PADDING, Demultiplexer, Stream

streams = st.sampled_from(list(Stream))
frames = st.lists(st.tuples(streams, st.binary(max_size=40)), max_size=12)


def framed(frame: tuple[Stream, bytes]) -> bytes:
    stream, payload = frame
    return HEADER.pack(stream, NO_PADDING, len(payload)) + payload


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


def joined(pieces: list[tuple[Stream, bytes]]) -> list[tuple[Stream, bytes]]:
    """Neighbours of one stream as one, empty ones left out."""
    result: list[tuple[Stream, bytes]] = []
    for stream, data in pieces:
        if result and result[-1][0] is stream:
            result[-1] = (stream, result[-1][1] + data)
        elif data:
            result.append((stream, data))
    return result


@given(frames, st.lists(st.integers(min_value=0, max_value=10_000), max_size=20))
def test_any_chunking_gives_the_same_bytes_in_the_same_order(sent, places):
    demultiplexer = Demultiplexer()
    received = []
    for chunk in cut(b"".join(map(framed, sent)), places):
        received.extend(demultiplexer.feed(chunk))
    assert joined(received) == joined(sent)
    assert not demultiplexer.mid_frame


@given(frames)
def test_one_byte_at_a_time_gives_the_same_bytes(sent):
    demultiplexer = Demultiplexer()
    data = b"".join(map(framed, sent))
    received = [piece for place in range(len(data)) for piece in demultiplexer.feed(data[place : place + 1])]
    assert joined(received) == joined(sent)


@given(frames.filter(bool), st.integers(min_value=1))
def test_a_stream_that_ends_inside_a_frame_is_known_to_be_cut(sent, place):
    last = framed((Stream.STDOUT, b"last"))
    whole = b"".join(map(framed, sent)) + last
    demultiplexer = Demultiplexer()
    demultiplexer.feed(whole[: len(whole) - 1 - place % (len(last) - 1)])
    assert demultiplexer.mid_frame


@given(
    frames,
    st.one_of(
        st.tuples(st.integers(min_value=3, max_value=255) | st.just(0), st.just(NO_PADDING), st.integers(0, 2**32 - 1)),
        st.tuples(streams, st.binary(min_size=3, max_size=3).filter(any), st.integers(0, 100)),
        st.tuples(streams, st.just(NO_PADDING), st.integers(LARGEST_FRAME + 1, 2**32 - 1)),
    ),
)
def test_what_cannot_be_a_header_is_named_and_nothing_comes_after_it(sent, header):
    demultiplexer = Demultiplexer()
    received = demultiplexer.feed(b"".join(map(framed, sent)) + HEADER.pack(*header) + b"after")
    assert joined(received) == joined(sent)
    assert isinstance(demultiplexer.corrupt, StreamCorrupt)
    assert "out of step" in str(demultiplexer.corrupt)
    assert demultiplexer.feed(framed((Stream.STDOUT, b"after"))) == []


@given(streams, st.integers(1, LARGEST_FRAME))
def test_a_payload_is_passed_on_before_its_frame_is_complete(stream, length):
    demultiplexer = Demultiplexer()
    assert demultiplexer.feed(HEADER.pack(stream, NO_PADDING, length) + b"x") == [(stream, b"x")]
