r"""Where things stand in one JSON text, and changes of it that leave every other byte as it was.

A message that is parsed and written again loses what parsers do not keep: `1.0`, big integers, the order of members,
the same name given twice, escapes. Here only offsets are read and pieces put in. The text has been parsed before: for
text that is no JSON the offsets mean nothing, but nothing loops or raises either, except `ValueError`.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final, TypeAlias

from acp_runtime.wire import jsontext

Span: TypeAlias = tuple[int, int]

_SPACE: Final = re.compile(rb"[ \t\r\n]*+")
_STRING: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_BRACKET: Final = re.compile(rb'(?:[^"\[\]{}]++|"(?:[^"\\]++|\\.)*+")*+([\[\]{}])', re.DOTALL)
_SCALAR: Final = re.compile(rb"[^ \t\r\n,\]}]++")


def members(text: bytes, span: Span) -> Iterator[tuple[str, Span]]:
    """Yield the names of the object at `span` with the spans of their values, in order, repeated names too."""
    at = _first(text, span, b"{")
    while at is not None:
        key = _STRING.match(text, at)
        if key is None:
            raise ValueError("a member has no name")
        start = _after_space(text, _after_space(text, key.end()) + 1)
        end = _end(text, start)
        yield str(jsontext.parse(key.group())), (start, end)
        at = _next(text, span, end)


def items(text: bytes, span: Span) -> Iterator[Span]:
    """Yield the spans of the items of the array at `span`."""
    at = _first(text, span, b"[")
    while at is not None:
        end = _end(text, at)
        yield at, end
        at = _next(text, span, end)


def find(text: bytes, *names: str) -> Span | None:
    """Return where the value at a path of names stands; of a name given twice the last one, which parsers keep."""
    start = _after_space(text, 0)
    # What is found is found in an object, whose end is the text's; only for the text as a whole it is looked for.
    span: Span | None = (start, len(text.rstrip()) if names else _end(text, start))
    for name in names:
        if span is None or text[span[0] : span[0] + 1] != b"{":
            return None
        span = next((value for key, value in reversed(list(members(text, span))) if key == name), None)
    return span


def spliced(text: bytes, changes: Iterable[tuple[Span, bytes]]) -> bytes:
    """Return the text with pieces in place of spans that do not overlap; an empty span is an insertion."""
    parts: list[bytes] = []
    at = 0
    for (start, end), piece in sorted(changes):
        parts += (text[at:start], piece)
        at = end
    return b"".join((*parts, text[at:]))


def with_item(text: bytes, array: Span, value: Any) -> bytes:
    """Return the text with one more item at the end of the array at `array`."""
    return _put_in(text, array, _written(value), empty=_first(text, array, b"[") is None)


def with_member(text: bytes, mapping: Span, name: str, value: Any) -> bytes:
    """Return the text with one more member at the end of the object at `mapping`, which has none of that name."""
    piece = _written(name) + b":" + _written(value)
    return _put_in(text, mapping, piece, empty=_first(text, mapping, b"{") is None)


def without_items(text: bytes, array: Span, gone: Iterable[Span]) -> bytes:
    """Return the text without some items of the array at `array`."""
    lost = set(gone)
    kept = [text[start:end] for start, end in items(text, array) if (start, end) not in lost]
    return spliced(text, [(array, b"[" + b",".join(kept) + b"]")])


def written(text: bytes, span: Span, value: Any) -> bytes:
    """Return the text with another value at `span`."""
    return spliced(text, [(span, _written(value))])


def _written(value: Any) -> bytes:
    return jsontext.dump(value)[:-1]


def _put_in(text: bytes, container: Span, piece: bytes, *, empty: bool) -> bytes:
    end = container[1] - 1
    return spliced(text, [((end, end), piece if empty else b"," + piece)])


def _first(text: bytes, span: Span, bracket: bytes) -> int | None:
    """Return where the first element of a container begins; None for an empty one, and for what is none."""
    if text[span[0] : span[0] + 1] != bracket:
        return None
    at = _after_space(text, span[0] + 1)
    return at if at < span[1] - 1 else None


def _next(text: bytes, span: Span, end: int) -> int | None:
    """Return where the element after the one that ended at `end` begins."""
    at = _after_space(text, _after_space(text, end) + 1)
    return at if at < span[1] - 1 else None


def _end(text: bytes, at: int) -> int:
    """Return where the value that begins at `at` ends."""
    first = text[at : at + 1]
    if first in (b"{", b"["):
        return _end_of_container(text, at)
    found = (_STRING if first == b'"' else _SCALAR).match(text, at)
    if found is None:
        raise ValueError(f"no value begins at byte {at}")
    return found.end()


def _end_of_container(text: bytes, at: int) -> int:
    depth = 0
    while (found := _BRACKET.match(text, at)) is not None:
        at = found.end()
        depth += 1 if found.group(1) in b"[{" else -1
        if depth == 0:
            return at
    raise ValueError("a container has no end")


def _after_space(text: bytes, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found is not None else at
