from hypothesis import given
from hypothesis import strategies as st

from acp_runtime.carrying.redaction import Redaction

KEY = "sk-canary-4711"


@given(pieces=st.lists(st.sampled_from([b"a", b"ab", b"aab", b"b", b"aabaab", b"c", b""])))
def test_a_secret_is_taken_out_however_the_stream_is_cut(pieces):
    redaction = Redaction(b"aabaab")
    out = b"".join([*map(redaction.feed, pieces), redaction.finish()])
    assert out == b"".join(pieces).replace(b"aabaab", b"******")


def test_nothing_is_held_back_that_cannot_be_the_beginning_of_the_secret():
    redaction = Redaction(KEY.encode())
    assert redaction.feed(b"data: sk\n\n") == b"data: sk\n\n"
    assert redaction.feed(b"data: sk-can") == b"data: "
    assert redaction.feed(b"dle\n\n") == b"sk-candle\n\n"
    assert redaction.finish() == b""


def test_without_a_secret_everything_passes():
    redaction = Redaction(None)
    assert (redaction.feed(b"x"), redaction.finish()) == (b"x", b"")
