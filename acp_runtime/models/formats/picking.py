"""Picks a few values out of a JSON document that passes by in pieces, without holding the document.

Promises that the result does not depend on how the document is cut, that no more than `MAX_VALUE` bytes are held, that
the work for one document is bounded (`MAX_STEPS`), and that no input raises. What is too large, too costly or not JSON
is simply not picked.
"""

import contextlib
import json
import re
from collections.abc import Collection
from typing import Any, Final

__all__ = ["ANY", "MAX_STEPS", "MAX_VALUE", "Path", "Picker"]

Path = tuple[str, ...]

ANY: Final = "*"  # an element of an array
MAX_VALUE: Final = 64 * 1024
MAX_STEPS: Final = 500_000
_MAX_KEY: Final = 64
_TOO_MUCH: Final = b"\0"
_BACKSLASH: Final = 0x5C
_TEXT: Final = re.compile(rb'[^"\\]*(?:\\.[^"\\]*)*', re.DOTALL)
_STRUCTURE: Final = re.compile(rb'["{}\[\],:]')
_NESTING: Final = re.compile(rb'["{}\[\]]')


class Picker:
    """Wants the values at some paths of one document; of several at one path the last one counts.

    Paths lead through objects by key (as it is written: one with escapes is another), through arrays by `ANY`. `found`
    holds what was picked so far; `whole` says that the document has come to its end, or with `once` that one value was
    found, after which nothing is looked at.
    """

    def __init__(self, wanted: Collection[Path], *, once: bool = False) -> None:
        self.found: dict[Path, Any] = {}
        self.whole = False
        self._wanted = frozenset(wanted)
        self._deepest = max(map(len, self._wanted))
        self._path: list[str | None] = []  # where we are, as deep as paths lead; None before a key, and for a long one
        self._objects: list[bool] = []  # of each of those levels: is it an object
        self._depth = 0
        self._in_string = False
        self._escaped = False
        self._awaits_key = False
        self._key: bytearray | None = None  # the key that is being read
        self._value: bytearray | None = None  # the wanted value that is being read
        self._once = once
        self._steps = 0

    def feed(self, data: bytes) -> None:
        """Look at the next piece."""
        at = 0
        while at < len(data) and not self.whole and self._steps < MAX_STEPS:
            self._steps += 1
            at = self._string(data, at) if self._in_string else self._structure(data, at)

    def _string(self, data: bytes, at: int) -> int:
        """Go on inside a string."""
        if self._escaped:
            self._escaped = False
            self._keep(data[at : at + 1])
            return at + 1
        end = _TEXT.match(data, at).end()  # type: ignore[union-attr]  # it always matches
        self._keep(data[at:end])
        if end == len(data):
            return end
        if data[end] == _BACKSLASH:  # the last byte of this piece
            self._escaped = True
            self._keep(data[end:])
            return end + 1
        self._in_string = False
        if self._key is None:
            self._keep(data[end : end + 1])
        else:
            self._path[-1] = None if self._key == _TOO_MUCH else self._key.decode("utf-8", "replace")
            self._key, self._awaits_key = None, False
        return end + 1

    def _structure(self, data: bytes, at: int) -> int:
        """Go on to the next character that means something outside of strings."""
        found = (_NESTING if self._depth > self._deepest else _STRUCTURE).search(data, at)
        if found is None:
            self._keep(data[at:])
            return len(data)
        self._keep(data[at : found.start()])
        self._meet(found.group())
        return found.end()

    def _meet(self, character: bytes) -> None:
        if character == b'"':
            self._in_string = True
            if self._awaits_key and self._value is None:
                self._key = bytearray()
            else:
                self._keep(character)
        elif character in b"{[":
            self._keep(character)
            self._open(is_object=character == b"{")
        elif character in b"}]":
            self._close(character)
        elif self._on_path and character == b",":
            self._end_value()
            self._next(is_object=self._objects[-1])
        elif self._on_path and self._objects[-1]:
            self._begin_value()
        else:
            self._keep(character)

    @property
    def _on_path(self) -> bool:
        """Whether we are on a level that a path can lead through, and not inside of a value that is held."""
        return 0 < self._depth == len(self._objects)

    def _open(self, *, is_object: bool) -> None:
        self._depth += 1
        if self._value is None and self._depth <= self._deepest:
            self._path.append(None)
            self._objects.append(is_object)
            self._next(is_object=is_object)
        else:
            self._awaits_key = False

    def _next(self, *, is_object: bool) -> None:
        self._awaits_key = is_object
        self._path[-1] = None if is_object else ANY
        if not is_object:
            self._begin_value()

    def _close(self, character: bytes) -> None:
        if self._on_path:
            self._end_value()
            self._path.pop()
            self._objects.pop()
        self._awaits_key = False
        self._depth -= 1
        self._keep(character)
        self.whole = self.whole or self._depth <= 0

    def _begin_value(self) -> None:
        if tuple(self._path) in self._wanted:
            self._value = bytearray()

    def _end_value(self) -> None:
        value, self._value = self._value, None
        if value is None:
            return
        with contextlib.suppress(ValueError, RecursionError):
            self.found[tuple(part or "" for part in self._path)] = json.loads(value)
            self.whole = self._once

    def _keep(self, data: bytes) -> None:
        kept, most = (self._key, _MAX_KEY) if self._key is not None else (self._value, MAX_VALUE)
        if kept is not None and kept != _TOO_MUCH:
            kept += data
            if len(kept) > most:
                kept[:] = _TOO_MUCH
