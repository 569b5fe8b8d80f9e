"""Properties of the meter: what is read of an answer does not depend on how it is cut, and nothing makes it fail."""

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acp_runtime.models.formats import Answer
from acp_runtime.models.formats.picking import ANY, Picker

scalars = st.none() | st.booleans() | st.integers() | st.text(max_size=12)
keys = st.sampled_from(["usage", "model", "message", "response", "usageMetadata", "prompt_tokens", "x"]) | st.text(
    max_size=6
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4), max_leaves=12
)
counts = st.dictionaries(
    st.sampled_from(["prompt_tokens", "completion_tokens", "input_tokens", "output_tokens"]),
    st.integers(min_value=-1, max_value=10**6),
)
documents = st.dictionaries(keys, values, max_size=4) | st.builds(lambda usage: {"usage": usage}, counts)
layouts = st.sampled_from([{}, {"indent": 1}, {"separators": (",", ":"), "ensure_ascii": False}])
cuts = st.lists(st.integers(min_value=0, max_value=100_000), max_size=12)
noise = st.sampled_from(
    [b": a comment\n", b"id: 7\n", b"\n", b"event: usage\n", b"dat", b"data:\n\n", b'data: "usage\n']
)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


def told(pieces):
    answer = Answer()
    for piece in pieces:
        answer.feed(piece)
    answer.finish()
    return answer.usage, answer.model


def single(data: bytes):
    return [data[at : at + 1] for at in range(len(data))]


@pytest.mark.requirement("D09.7")
@given(st.lists(documents | noise, max_size=6), st.sampled_from([b"\n", b"\r\n"]), cuts)
def test_any_cut_of_a_stream_tells_the_same(events, line_end, places):
    body = b"".join(each if isinstance(each, bytes) else b"data: %b\n\n" % json.dumps(each).encode() for each in events)
    body = body.replace(b"\n", line_end)
    assert told([body]) == told(cut(body, places)) == told(single(body))


@given(documents, layouts, cuts)
def test_any_cut_of_a_document_tells_the_same(document, layout, places):
    body = json.dumps(document, **layout).encode("utf-8", "replace")
    assert told([body]) == told(cut(body, places)) == told(single(body))


@given(st.binary(max_size=400), cuts)
def test_no_bytes_make_it_fail(body, places):
    assert told([body]) == told(cut(body, places))


@given(documents, layouts)
def test_what_is_picked_is_what_stands_there(document, layout):
    """The picker agrees with the standard parser wherever a key is written without an escape."""
    picker = Picker((("usage",), ("message", "usage"), ("x", ANY)))
    picker.feed(json.dumps(document, **layout).encode("utf-8", "replace"))
    expected = {}
    if isinstance(document, dict):
        message, several = document.get("message"), document.get("x")
        if "usage" in document:
            expected["usage",] = document["usage"]
        if isinstance(message, dict) and "usage" in message:
            expected["message", "usage"] = message["usage"]
        if isinstance(several, list) and several:
            expected["x", ANY] = several[-1]
        if isinstance(several, dict) and ANY in several:
            expected["x", ANY] = several[ANY]
    assert picker.whole
    assert picker.found == expected
