"""JSON text of a peer that is not trusted: parsing it, looking into a cut piece of it, and writing our own.

Promises: what `parse` returns is at most 64 containers deep and about 131 072 values large, and its strings can be
stored as UTF-8. Text that is JSON by grammar but over a limit is told apart from text that is no JSON, because a reply
of the first sort is lost for good while the second is only noise.
"""

import json
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from pydantic_core import from_json, to_json

MAX_DEPTH: Final = 64
# An empty list costs 27 times its text in memory; without this bound one line of 16 MiB takes 400 MiB.
MAX_VALUES: Final = 2**17
MAX_LAST: Final = 8

# A closing quote is optional so that text with an unterminated string is still read once, not once per quote.
_STRING: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_TOKEN: Final = re.compile(
    rb"""[ \t\r\n]*+(?: ("(?:[^"\\]++|\\.)*+") | ([{}\[\]:,]) | ([-+.0-9A-Za-z]++)(?=[ \t\r\n,\]}]) )""",
    re.DOTALL | re.VERBOSE,
)
# The last member of an object whose end is there, where its value is a scalar. No quote within a string follows a comma
# bare: seen from an end that is outside of strings, the one before the name opens it.
_LAST_MEMBER: Final = re.compile(
    rb""",\s*+("(?:[^"\\]++|\\.)*+")\s*+:\s*+("(?:[^"\\]++|\\.)*+"|[-+.0-9A-Za-z]++)\s*+\Z""",
    re.DOTALL,
)
_TOO_DEEP: Final = f"it is nested deeper than {MAX_DEPTH} levels"
_ENCODER: Final = json.JSONEncoder(ensure_ascii=True, allow_nan=False, separators=(",", ":"))


class NotJsonError(ValueError):
    """The text is not JSON."""


class OverLimitError(ValueError):
    """The text may be JSON, but it is deeper, larger or has longer numbers than we accept."""


def check(line: bytes) -> None:
    """Raise OverLimitError for a text that would be too large once it is parsed, by whatever parser."""
    if len(line) > MAX_VALUES:
        _check_size(line)


def parse(line: bytes) -> Any:
    """Parse one JSON text.

    Bytes that are not UTF-8 and lone surrogates become U+FFFD, the words NaN and Infinity become None; a number beyond
    the range of a float is an infinity. Raises NotJsonError or OverLimitError; nothing else, whatever the bytes.
    """
    check(line)
    try:
        value, lenient = from_json(line, allow_inf_nan=False), False
    except ValueError:
        value, lenient = _parse_leniently(line), True
    if line.count(b"{") + line.count(b"[") > MAX_DEPTH and _is_deep(value):
        raise OverLimitError(_TOO_DEEP)
    return _storable(value) if lenient else value


def _check_size(line: bytes) -> None:
    """Raise OverLimitError by what stands outside of strings; done before parsing, so that memory stays small."""
    if sum(map(line.count, (b",", b"[", b"{", b'"'))) <= MAX_VALUES:
        return
    bare, strings = _STRING.subn(b"", line, count=MAX_VALUES)
    if strings == MAX_VALUES or sum(map(bare.count, (b",", b"[", b"{"))) > MAX_VALUES:
        raise OverLimitError(f"it holds more than {MAX_VALUES} values")


def _parse_leniently(line: bytes) -> Any:
    """Parse what the strict parser refuses: bytes that are not UTF-8, lone surrogates, NaN."""
    try:
        return json.loads(line.decode("utf-8", "replace"), parse_constant=lambda _: None)
    except json.JSONDecodeError as error:
        raise NotJsonError(f"it is not JSON: {error}") from error
    except ValueError as error:
        raise OverLimitError("it holds a number with more than 4300 digits") from error
    except RecursionError as error:
        raise OverLimitError(_TOO_DEEP) from error


def _is_deep(value: Any) -> bool:
    items = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [item for item in items if isinstance(item, dict | list)]
        if not level:
            return False
        items = [item for node in level for item in (node.values() if isinstance(node, dict) else node)]
    return True


def _storable(value: Any) -> Any:
    if isinstance(value, str):
        return storable_text(value)
    if isinstance(value, list):
        return [_storable(item) for item in value]
    if isinstance(value, dict):
        return {storable_text(key): _storable(item) for key, item in value.items()}
    return value


def storable_text(text: str) -> str:
    """Return `text` with each lone surrogate replaced by U+FFFD, so that it can be encoded as UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def compact(value: Any) -> str:
    """Return a parsed value as JSON text for storage; infinities become null, lone surrogates U+FFFD."""
    try:
        return to_json(value, inf_nan_mode="null").decode()
    except ValueError:
        return to_json(_storable(value), inf_nan_mode="null").decode()


@dataclass(frozen=True, slots=True)
class Envelope:
    """What the beginning of an object, and its end, show of its top level.

    `names` are the members whose name is visible, `id` the value of the member "id" when it is a scalar that is
    visible as a whole, else None.
    """

    names: frozenset[str]
    id: Any


def peek(prefix: bytes, tail: bytes = b"") -> Envelope:
    """Read the top level of an object of which only the beginning is there; never raises, and sees nothing in a batch.

    A member of the same name deeper inside, or inside a string, is not mistaken for one of the top level, and a
    number that the cut may have shortened is not read. With its end, `tail`, the scalars that stand last are seen too.
    """
    if not prefix.lstrip().startswith(b"{"):
        return Envelope(frozenset(), None)
    names: set[str] = set()
    ident: Any = None
    name: str | None = None
    after_colon = False
    depth = position = 0
    try:
        while (token := _TOKEN.match(prefix, position)) is not None:
            position = token.end()
            string, mark, word = token.groups()
            is_value, after_colon = after_colon, mark == b":"
            if mark is not None:
                depth += {b"{": 1, b"[": 1, b"}": -1, b"]": -1}.get(mark, 0)
                if depth < 1:
                    break
                if depth == 1 and mark == b",":
                    name = None
            elif depth == 1 and name is None:
                name = str(json.loads(string or b""))
                names.add(name)
            elif depth == 1 and name == "id" and is_value:
                ident = json.loads(string or word)
    except ValueError:
        pass
    last = _last_members(tail)
    return Envelope(frozenset(names | last.keys()), last.get("id") if ident is None else ident)


def _last_members(tail: bytes) -> dict[str, Any]:
    """Return the scalar members with which an object ends, some of them where they are many."""
    found: dict[str, Any] = {}
    rest = tail.rstrip()
    if not rest.endswith(b"}"):
        return found
    rest = rest[:-1]
    with suppress(ValueError):
        for _ in range(MAX_LAST):
            if (member := _LAST_MEMBER.search(rest)) is None:
                break
            found.setdefault(str(json.loads(member[1])), json.loads(member[2]))
            rest = rest[: member.start()]
    return found


def dump(value: Any) -> bytes:
    """Return `value` as one line of ASCII JSON with its newline; raises TypeError for what JSON cannot express."""
    try:
        return _ENCODER.encode(value).encode("ascii") + b"\n"
    except (ValueError, RecursionError) as error:  # NaN, a circular reference, an integer of more than 4300 digits
        raise TypeError(f"the message cannot be written as JSON: {error}") from error
