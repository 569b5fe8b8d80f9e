"""JSON as people keep it, with comments and trailing commas: read, and changed in one member, the rest as it was.

`with_member`, `with_item` and `without` change the text around one member of an object, or item of a list, and nothing
else. What cannot be read is `Unreadable`, with the line, and nothing is changed.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

MAX_DEPTH: Final = 100
_SPACE: Final = re.compile(r"(?:[ \t\r\n\ufeff]|//[^\n]*|/\*.*?\*/)*", re.DOTALL)
_SAME_LINE: Final = re.compile(r"[ \t]*(?://[^\n]*|/\*[^\n]*?\*/)?[ \t]*(?=\r?\n|$)")
_SCALAR: Final = re.compile(r'"(?:[^"\\\x00-\x1f]|\\.)*"|-?[0-9][0-9.eE+-]*|true|false|null')


class Unreadable(Exception):  # noqa: N818 - reads as what happened
    """The text is no JSON with comments; says where."""


@dataclass(frozen=True, slots=True)
class Value:
    """A value and where it stands; `members` of an object in their order, the last of equal keys counts.

    The items of a list are members, too: their keys are their numbers.
    """

    start: int
    end: int
    plain: Any
    members: "list[Member]" = field(default_factory=list)

    def member(self, key: str | int) -> "Member | None":
        """Return the member of that name, or the item of that number."""
        return next((each for each in reversed(self.members) if each.key == key), None)


@dataclass(frozen=True, slots=True)
class Member:
    """A key with its value; it begins at `start`, the quote of its key. An item of a list begins at its value."""

    key: str | int
    start: int
    value: Value


def parse(text: str) -> Value:
    """Return the value of a text. Raises `Unreadable`."""
    reader = _Reader(text)
    value = reader.value(reader.space(0), 0)
    if reader.space(value.end) != len(text):
        raise reader.unreadable(reader.space(value.end))
    return value


def with_member(text: str, path: Sequence[str], value: Any) -> str:
    """Return a text in which the member at a path has a value; objects on the way are made. Raises `Unreadable`."""
    if not text.strip():
        return json.dumps(_nested(path, value), indent=2, ensure_ascii=False) + "\n"
    found, depth = _followed(text, path)
    if depth < len(path):
        return _added(text, found, f"{json.dumps(path[depth])}: ", _nested(path[depth + 1 :], value))
    if found.plain == value:
        return text
    return text[: found.start] + _written(value, _indent(text, found.start)) + text[found.end :]


def with_item(text: str, path: Sequence[str], value: Any) -> str:
    """Return a text in which the list at a path ends with a value; what is not there is made. Raises `Unreadable`."""
    found, depth = _followed(text, path) if text.strip() else (None, 0)
    if found is None or depth < len(path):
        return with_member(text, path, [value])
    if not isinstance(found.plain, list):
        raise _unfit(text, found, path, "list")
    return _added(text, found, "", value)


def without(text: str, path: Sequence[str | int]) -> str:
    """Return a text without what is at a path; as it is where there is nothing. Raises `Unreadable`.

    A word in a path is a member of an object, a number an item of a list.
    """
    above, depth = _followed(text, path[:-1])
    if depth < len(path) - 1:
        return text
    member = _fitting(text, above, path, depth).member(path[-1])
    return text if member is None else _removed(text, above, member)


def _followed(text: str, path: Sequence[str | int]) -> tuple[Value, int]:
    """Return the last value on a path that is there, and how many steps led to it. Raises `Unreadable`."""
    found = parse(text)
    for depth, key in enumerate(path):
        member = _fitting(text, found, path, depth).member(key)
        if member is None:
            return found, depth
        found = member.value
    return found, len(path)


def _fitting(text: str, found: Value, path: Sequence[str | int], depth: int) -> Value:
    """Return a value that can hold the next step of a path. Raises `Unreadable` for one that cannot."""
    kind = list if isinstance(path[depth], int) else dict
    if not isinstance(found.plain, kind):
        raise _unfit(text, found, path[:depth], "list" if kind is list else "object")
    return found


def _unfit(text: str, found: Value, path: Sequence[str | int], kind: str) -> Unreadable:
    line = text.count("\n", 0, found.start) + 1
    return Unreadable(f"{'.'.join(map(str, path)) or 'the whole'} (line {line}) is no {kind}")


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text

    def space(self, at: int) -> int:
        found = _SPACE.match(self._text, at)
        return found.end() if found else at

    def unreadable(self, at: int) -> Unreadable:
        line = self._text.count("\n", 0, at) + 1
        return Unreadable(f"line {line} is no JSON: {self._text[at : at + 20].splitlines()[:1] or 'it ends there'}")

    def value(self, at: int, depth: int) -> Value:
        if depth > MAX_DEPTH:
            raise self.unreadable(at)
        match self._text[at : at + 1]:
            case "{":
                return self._object(at, depth)
            case "[":
                return self._array(at, depth)
        found = _SCALAR.match(self._text, at)
        if found is None:
            raise self.unreadable(at)
        try:
            return Value(at, found.end(), json.loads(found[0]))
        except ValueError as error:
            raise self.unreadable(at) from error

    def _object(self, at: int, depth: int) -> Value:
        members: list[Member] = []
        here = self.space(at + 1)
        while self._text[here : here + 1] != "}":
            key = self.value(here, depth + 1)
            colon = self.space(key.end)
            if not isinstance(key.plain, str) or self._text[colon : colon + 1] != ":":
                raise self.unreadable(here)
            value = self.value(self.space(colon + 1), depth + 1)
            members.append(Member(key.plain, key.start, value))
            here = self._next(value.end, "}")
        return Value(at, here + 1, {each.key: each.value.plain for each in members}, members)

    def _array(self, at: int, depth: int) -> Value:
        items: list[Member] = []
        here = self.space(at + 1)
        while self._text[here : here + 1] != "]":
            item = self.value(here, depth + 1)
            items.append(Member(len(items), here, item))
            here = self._next(item.end, "]")
        return Value(at, here + 1, [each.value.plain for each in items], items)

    def _next(self, at: int, end: str) -> int:
        """Return where the next item begins, or the end stands."""
        here = self.space(at)
        if self._text[here : here + 1] == ",":
            return self.space(here + 1)
        if self._text[here : here + 1] != end:
            raise self.unreadable(here)
        return here


def _nested(path: Sequence[str], value: Any) -> Any:
    for key in reversed(path):
        value = {key: value}
    return value


def _written(value: Any, indent: str) -> str:
    step = "\t" if "\t" in indent else "  "
    return json.dumps(value, indent=step, ensure_ascii=False).replace("\n", "\n" + indent)


def _indent(text: str, at: int) -> str:
    """Return the white space that the line of a place begins with."""
    line = text[text.rfind("\n", 0, at) + 1 : at]
    return line[: len(line) - len(line.lstrip(" \t"))]


def _added(text: str, found: Value, label: str, value: Any) -> str:
    outer = _indent(text, found.start)
    if not found.members:
        indent = outer + ("\t" if "\t" in outer else "  ")
        member = label + _written(value, indent)
        inside = text[found.start + 1 : found.end - 1].rstrip()
        return f"{text[: found.start + 1]}{inside}\n{indent}{member}\n{outer}{text[found.end - 1 :]}"
    last = found.members[-1]
    indent = _indent(text, last.start) if "\n" in text[found.start : last.start] else outer + "  "
    member = label + _written(value, indent)
    end = last.value.end
    comma = _Reader(text).space(end)
    if text[comma] == ",":
        behind = _line_end(text, comma + 1)
        return f"{text[:behind]}\n{indent}{member}{text[behind:]}"
    behind = _line_end(text, end)
    return f"{text[:end]},{text[end:behind]}\n{indent}{member}{text[behind:]}"


def _line_end(text: str, at: int) -> int:
    """Return where a line ends behind a place, its comment included; the place itself where more follows."""
    found = _SAME_LINE.match(text, at)
    return found.end() if found else at


def _removed(text: str, found: Value, member: Member) -> str:
    """Take out a member, its line, and the one comma that goes with it."""
    number = found.members.index(member)
    before = found.members[number - 1].value.end if number else None
    start = len(text[: member.start].rstrip(" \t\r\n"))
    rest = text[member.value.end :]
    comma = _Reader(text).space(member.value.end)
    if text[comma] == ",":
        return _joined(text[:start], text[comma + 1 :])
    if before is None:
        return _joined(text[:start], rest.lstrip() if rest.lstrip().startswith(("}", "]")) else rest)
    comma = _Reader(text).space(before)
    return _joined(text[:comma] + text[comma + 1 : start], rest)


def _joined(before: str, behind: str) -> str:
    """Put two pieces together; a comment at the end of the first takes nothing of the second in."""
    comment = "//" in before[before.rfind("\n") + 1 :]
    return before + ("\n" if comment and not behind.startswith(("\n", "\r\n")) else "") + behind
