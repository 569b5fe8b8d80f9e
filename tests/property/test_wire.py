"""For all bytes: lines are what splitting at newlines gives, and no line does more than become a message."""

import json
from dataclasses import asdict

from hypothesis import given, settings
from hypothesis import strategies as st

from acp_runtime.wire import acp
from acp_runtime.wire.jsonrpc import Noise, Notification, Peer, Request, Response, Skipped
from acp_runtime.wire.jsontext import dump, peek
from acp_runtime.wire.ndjson import LineSplitter, Oversized

KEYS = st.sampled_from(["id", "method", "params", "result", "error", "code", "message", "data", "update", "options"])
TEXT = st.text(st.characters(exclude_categories=[]), max_size=5)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | TEXT | st.sampled_from(["1", "m"])
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS | TEXT, inner, max_size=5)
)
FINITE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS | st.text(max_size=3), inner, max_size=5),
)


def cut(stream, sizes):
    at = 0
    for size in sizes:
        yield stream[at : at + size]
        at += size
    yield stream[at:]


@given(
    st.lists(st.binary(max_size=12) | st.sampled_from([b"\r\n", b"\n", b"\n\n", b"\r"]), max_size=12).map(b"".join),
    st.lists(st.integers(1, 5), max_size=40),
    st.integers(1, 12),
)
def test_lines_do_not_depend_on_how_the_stream_is_cut(stream, sizes, cap):
    splitter = LineSplitter(cap)
    lines = [line for part in cut(stream, sizes) for line in splitter.feed(part)]
    rest = splitter.finish()
    expected = [Oversized.of(raw) if len(raw) > cap else raw.removesuffix(b"\r") for raw in stream.split(b"\n")]
    assert lines == [line for line in expected[:-1] if line]
    assert rest == (expected[-1] or None)


@given(st.binary(max_size=200) | st.binary(max_size=60).map(lambda tail: b'{"id":1,"result":' + tail))
def test_no_bytes_make_the_reader_raise(line):
    peer = Peer(0)
    peer.request("m", None)
    for message in [*peer.receive(line), *peer.receive(Oversized(line, 10**6, line))]:
        assert isinstance(message, Response | Request | Notification | Noise | Skipped)


@settings(max_examples=300)
@given(st.dictionaries(KEYS, JSON, max_size=6) | JSON)
def test_no_json_makes_a_reader_raise_and_all_text_can_be_stored(value):
    peer = Peer(0)
    peer.request("m", None)
    for message in peer.receive(json.dumps(value).encode()):
        data = getattr(message, "params", getattr(message, "result", None))
        assert isinstance(acp.read_initialize(data), acp.AgentHello)
        assert isinstance(acp.read_permission_request(data), acp.PermissionAsk)
        assert isinstance(acp.read_update(data), tuple)
        assert acp.read_prompt(data) is None or acp.read_prompt(data)
        assert acp.read_new_session(data) is None or acp.read_new_session(data)
        assert json.dumps(asdict(message), ensure_ascii=False).encode()


@given(FINITE)
def test_what_one_peer_writes_another_one_reads(value):
    ours, theirs = Peer(7), Peer(9)
    ident, line = ours.request("m", value)
    assert theirs.receive(line) == [Request(ident, "m", value)]
    assert ours.receive(theirs.respond(ident, value)) == [Response(ident, value, None, "m")]
    assert theirs.receive(ours.notify("n", value)) == [Notification("n", value)]


@given(st.dictionaries(KEYS, FINITE, max_size=5), st.integers(0, 200))
def test_a_cut_object_shows_the_id_of_its_top_level_or_none(value, length):
    ident = value.get("id")
    expected = None if isinstance(ident, list | dict) else ident
    line = dump(value)
    assert peek(line).id == expected
    assert peek(line).names == frozenset(value)
    seen = peek(line[:length])
    assert seen.id is None or seen.id == expected
    assert seen.names <= frozenset(value)


@given(st.dictionaries(KEYS, FINITE, max_size=5), st.integers(0, 200))
def test_the_end_of_a_cut_object_shows_members_of_its_top_level_only(value, length):
    line = dump(value)
    seen = peek(b"{", line[length:])
    assert seen.id is None or seen.id == value.get("id")
    assert seen.names <= frozenset(value)
