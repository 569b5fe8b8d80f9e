"""Lines out of a byte stream, whatever its chunks and its lengths."""

import tracemalloc

import pytest

from acp_runtime.wire.ndjson import PREFIX_BYTES, TAIL_BYTES, LineSplitter, Oversized

MIB = 1024 * 1024


def test_lines_come_out_whole_and_in_order_across_chunks():
    splitter = LineSplitter()
    assert splitter.feed(b"one\ntw") == [b"one"]
    assert splitter.feed(b"") == []
    assert splitter.feed(b"o\nthree\nfo") == [b"two", b"three"]
    assert splitter.feed(b"ur\n") == [b"four"]


def test_one_carriage_return_belongs_to_the_line_ending_also_when_a_chunk_ends_between():
    splitter = LineSplitter()
    assert splitter.feed(b"one\r\ntwo\r") == [b"one"]
    assert splitter.feed(b"\na\rb\r\r\n") == [b"two", b"a\rb\r"]


def test_empty_lines_are_dropped():
    splitter = LineSplitter()
    assert splitter.feed(b"\n\n\r\n\none\n\r") == [b"one"]
    assert splitter.feed(b"\n\n") == []
    assert splitter.finish() is None


def test_a_line_of_exactly_the_cap_is_a_line_and_one_byte_more_is_oversized():
    splitter = LineSplitter(cap=5)
    assert splitter.feed(b"12345\n123456\n12345\n") == [b"12345", Oversized(b"123456", 6, b"123456"), b"12345"]


@pytest.mark.parametrize("chunk", [1, 3, 1000, 1_000_000])
def test_a_line_over_the_cap_is_skipped_and_the_next_one_is_read(chunk):
    stream = b"before\n" + b"x" * 199_000 + b"y" * 1_000 + b"\nafter\n"
    splitter = LineSplitter(cap=100_000)
    lines = [line for at in range(0, len(stream), chunk) for line in splitter.feed(stream[at : at + chunk])]
    assert lines == [
        b"before",
        Oversized(b"x" * PREFIX_BYTES, 200_000, b"x" * (TAIL_BYTES - 1_000) + b"y" * 1_000),
        b"after",
    ]


def test_finish_returns_the_unterminated_rest_and_leaves_the_splitter_empty():
    splitter = LineSplitter(cap=10)
    splitter.feed(b"whole\nrest\r")
    assert splitter.finish() == b"rest"
    assert splitter.finish() is None
    splitter.feed(b"y" * 11)
    splitter.feed(b"y" * 9)
    assert splitter.finish() == Oversized(b"y" * 20, 20, b"y" * 20)
    assert splitter.feed(b"next\n") == [b"next"]


def test_a_line_of_100_mb_costs_little_more_memory_than_the_cap():
    splitter = LineSplitter()
    chunk = b"z" * 65_536
    tracemalloc.start()
    try:
        for _ in range(1600):
            assert splitter.feed(chunk) == []
        (line,) = splitter.feed(b"\n")
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert line == Oversized(b"z" * PREFIX_BYTES, 1600 * 65_536, b"z" * TAIL_BYTES)
    assert peak < 32 * MIB
    assert held < MIB


def test_after_the_cap_is_passed_the_kept_bytes_are_let_go_before_the_line_ends():
    splitter = LineSplitter()
    tracemalloc.start()
    try:
        for _ in range(257):
            splitter.feed(b"z" * 65_536)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < MIB


def test_a_cap_below_one_byte_is_refused():
    with pytest.raises(ValueError, match="the line cap is 0 bytes"):
        LineSplitter(cap=0)
