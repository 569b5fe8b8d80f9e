from hypothesis import given
from hypothesis import strategies as st

from acp_runtime.carrying.rewriting import RewritingStream

BEGINNINGS = {b"http://a/": b"<1>", b"http://a/b/": b"<2>", b"abca": b"<3>"}


def whole(data: bytes) -> bytes:
    """What becomes of data that comes in one piece, by another way."""
    told, at = b"", 0
    while at < len(data):
        found = max((each for each in BEGINNINGS if data.startswith(each, at)), key=len, default=None)
        told += BEGINNINGS[found] if found is not None else data[at : at + 1]
        at += len(found) if found is not None else 1
    return told


PARTS = st.sampled_from([b"http://a/", b"http://a/b/", b"http://a", b"http://a/b", b"abc", b"abca", b"a", b"x", b"/"])


@given(st.lists(PARTS, max_size=8).map(b"".join), st.lists(st.integers(0, 60), max_size=6))
def test_addresses_are_replaced_wherever_the_stream_is_cut(data, cuts):
    stream, told, at = RewritingStream(BEGINNINGS), b"", 0
    for cut in [*sorted(min(cut, len(data)) for cut in cuts), len(data)]:
        told += stream.feed(data[at:cut])
        at = cut
    assert told + stream.finish() == whole(data)


def test_nothing_is_held_back_but_what_may_be_a_beginning():
    stream = RewritingStream(BEGINNINGS)
    assert stream.feed(b"x http://a") == b"x "
    assert stream.feed(b"bc\n") == b"http://abc\n"
