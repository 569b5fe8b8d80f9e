"""Tables in tables, as TOML gives them: values by path, all paths, and one put on top of another."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Nested = dict[str, Any]


def put(nested: Nested, path: Sequence[str], value: object) -> None:
    """Set what stands at a path, making the tables on the way."""
    for part in path[:-1]:
        nested = nested.setdefault(part, {})
    nested[path[-1]] = value


def has(nested: Mapping[str, Any], path: Sequence[str]) -> bool:
    """Return whether anything stands at a path."""
    found: Any = nested
    for part in path:
        if not isinstance(found, Mapping) or part not in found:
            return False
        found = found[part]
    return True


def paths(nested: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the path of every value that is no table."""
    for name, value in nested.items():
        if isinstance(value, Mapping):
            yield from paths(value, (*path, name))
        else:
            yield (*path, name)


def merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> Nested:
    """Return both, table by table; where both have a value, that of `over`."""
    both = dict(under)
    for name, value in over.items():
        below = both.get(name)
        both[name] = merged(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return both
