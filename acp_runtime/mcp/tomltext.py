"""One table of a TOML file, put at its end or taken out of it; every other byte stays as it is.

The result is read again and compared: where it does not say exactly what was meant, the file is refused.
"""

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

from acp_runtime.mcp.jsonc import Unreadable

_HEADER = re.compile(r"[ \t]*\[")


def parse(text: str) -> dict[str, Any]:
    """Return what a text says. Raises `Unreadable`."""
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise Unreadable(f"it is no TOML: {error}") from error


def with_table(text: str, path: Sequence[str], values: Mapping[str, Any]) -> str:
    """Return a text with a table of texts, numbers and lists of texts at a path. Raises `Unreadable`."""
    before = parse(text)
    if _at(before, path) == dict(values):
        return text
    if _at(before, path) is not None:
        text = without_table(text, path)
        before = parse(text)
    written = ((key, json.dumps(value, ensure_ascii=False)) for key, value in values.items())
    lines = [f"[{'.'.join(path)}]", *(f"{key} = {value}" for key, value in written)]
    gap = "" if not text else "\n" if text.endswith("\n") else "\n\n"
    wanted = deepcopy(before)
    _put(wanted, path, dict(values))
    return _checked(text + gap + "\n".join(lines) + "\n", wanted, path)


def without_table(text: str, path: Sequence[str]) -> str:
    """Return a text without the table at a path, and what stands below it. Raises `Unreadable`."""
    wanted = parse(text)
    if _at(wanted, path) is None:
        return text
    _take(wanted, path)
    name = r"[ \t]*\.[ \t]*".join(rf"[\"']?{re.escape(key)}[\"']?" for key in path)
    ours = re.compile(rf"[ \t]*\[[ \t]*{name}[ \t]*(?:\.[^\]]*)?\]")
    kept: list[str] = []
    inside = False
    for line in text.splitlines(keepends=True):
        if _HEADER.match(line):
            inside = ours.match(line) is not None
            if inside and kept and not kept[-1].strip():
                kept.pop()
        if not inside:
            kept.append(line)
    return _checked("".join(kept), wanted, path)


def _at(values: Any, path: Sequence[str]) -> Any:
    for key in path:
        values = values.get(key) if isinstance(values, dict) else None
    return values


def _put(values: dict[str, Any], path: Sequence[str], value: Any) -> None:
    for key in path[:-1]:
        values = values.setdefault(key, {})
        if not isinstance(values, dict):
            raise Unreadable(f"{key} is no table")
    values[path[-1]] = value


def _take(values: dict[str, Any], path: Sequence[str]) -> None:
    """Take out a value, and the tables above it that hold nothing else: a header of its own made them."""
    for depth in range(len(path), 0, -1):
        above = _at(values, path[: depth - 1]) if depth > 1 else values
        del above[path[depth - 1]]
        if above:
            return


def _checked(text: str, wanted: dict[str, Any], path: Sequence[str]) -> str:
    try:
        same = tomllib.loads(text) == wanted
    except tomllib.TOMLDecodeError:
        same = False
    if not same:
        raise Unreadable(f"{'.'.join(path)} is written in a way that cannot be changed safely; change it by hand")
    return text
