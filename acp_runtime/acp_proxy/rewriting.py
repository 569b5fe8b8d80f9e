"""The changes that are made to messages: pieces put into their text, and not a byte else touched."""

from collections.abc import Callable, Collection, Sequence
from typing import Any

from acp_runtime.core.roster import strip_title
from acp_runtime.wire import acp_client, jsontext
from acp_runtime.wire.jsonspans import (
    Span,
    find,
    items,
    members,
    spliced,
    with_item,
    with_member,
    without_items,
    written,
)


def with_param_item(line: bytes, name: str, item: Any) -> bytes:
    """Add an item to a list of the params, which is made where there is none."""
    array = find(line, "params", name)
    if array is not None and line[array[0] : array[0] + 1] == b"[":
        return with_item(line, array, item)
    if array is not None:
        return written(line, array, [item])
    params = find(line, "params")
    return line if params is None else with_member(line, params, name, [item])


def with_param(line: bytes, name: str, value: Any) -> bytes:
    """Put a value at a member of the params, which is made where there is none."""
    return _with_value(line, find(line, "params"), name, value)


def within_params(line: bytes, name: str, inner: str, value: Any) -> bytes:
    """Put a value at a member of an object of the params that is there; where it is not, nothing changes."""
    return _with_value(line, find(line, "params", name), inner, value)


def _with_value(line: bytes, mapping: Span | None, name: str, value: Any) -> bytes:
    if mapping is None or line[mapping[0] : mapping[0] + 1] != b"{":
        return line
    spans = [span for each, span in members(line, mapping) if each == name]
    return written(line, spans[-1], value) if spans else with_member(line, mapping, name, value)


def with_meta(line: bytes, name: str, value: Any) -> bytes:
    """Add a member to `_meta` of a result, which is made where there is none."""
    result, meta = find(line, "result"), find(line, "result", "_meta")
    if result is None:
        return line
    if meta is None:
        return with_member(line, result, "_meta", {name: value})
    if line[meta[0] : meta[0] + 1] == b"{":
        return with_member(line, meta, name, value)
    return written(line, meta, {name: value})


def without_sessions(line: bytes, gone: Collection[str]) -> bytes:
    """Take sessions out of a list of them."""
    array = find(line, "result", "sessions")
    if array is None:
        return line
    lost = [span for span in items(line, array) if acp_client.read_session(jsontext.parse(line[slice(*span)])) in gone]
    return without_items(line, array, lost)


def renamed(
    line: bytes, path: tuple[str, ...], names: Sequence[tuple[str, ...]], rename: Callable[[Any], Any]
) -> bytes:
    """Give values in the items of the list at a path other ones; `rename` returns the same for what stays."""
    array, changes = find(line, *path), list[tuple[Span, bytes]]()
    for start, end in () if array is None else items(line, array):
        item = line[start:end]
        spans = [span for each in names if (span := find(item, *each)) is not None]
        found = [(span, jsontext.parse(item[slice(*span)])) for span in spans]
        new = [(span, rename(value)) for span, value in found if rename(value) != value]
        changes += [((start + at, start + to), jsontext.dump(value)[:-1]) for (at, to), value in new]
    return spliced(line, changes) if changes else line


def with_plain_title(line: bytes) -> bytes:
    """Take our block out of the title that an update gives a session."""
    span = find(line, "params", "update", "title")
    title = None if span is None else jsontext.parse(line[slice(*span)])
    return line if span is None or plain_title(title) == title else written(line, span, plain_title(title))


def plain_title(title: Any) -> Any:
    """Return a title without our block, None for one that is nothing else."""
    return title if not isinstance(title, str) or (plain := strip_title(title)) == title else plain or None


def block_of(text: str) -> dict[str, Any]:
    """Return our block as content of a prompt: meant for the model alone."""
    return {"type": "text", "text": text, "annotations": {"audience": ["assistant"]}}


def is_command(prompt: list[Any]) -> bool:
    """Return whether a prompt is a slash command: agents take all that follows as its arguments."""
    first = next((each for each in prompt if isinstance(each, dict) and each.get("type") == "text"), {})
    text = first.get("text")
    return isinstance(text, str) and text.lstrip().startswith("/")
