"""`[orchestration]`: who may lead other agents, and how many and how deep.

Alone among the tables it has no mistakes, as the original's keys have none: a value out of bounds counts as the nearest
bound, one that is no value as the default, and a warning tells of either.
"""

from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from typing import Annotated, Any, Final

from pydantic import WithJsonSchema

from acp_runtime.config.table import Table, key
from acp_runtime.core.lineage import DEEPEST, Orchestration
from acp_runtime.core.plaintext import one_line

TABLE: Final = "orchestration"
_USUAL: Final = Orchestration()
_YES: Final = frozenset({"true", "1", "yes", "on"})
_NO: Final = frozenset({"false", "0", "no", "off"})
_MOST: Final = 1_000_000  # beyond every number of agents that a machine has room for
_BOUNDS: Final = {"max_spawn_depth": (1, DEEPEST), "max_concurrent_children": (1, _MOST), "wakes": (0, _MOST)}


def _number(name: str) -> Any:
    least, most = _BOUNDS[name]
    return Annotated[Any, WithJsonSchema({"type": "integer", "minimum": least} | _up_to(most))]


def _up_to(most: int) -> dict[str, int]:
    return {"maximum": most} if most < _MOST else {}


class OrchestrationTable(Table):
    """`[orchestration]`: subagents that lead others; see [orchestrators.md](orchestrators.md)."""

    orchestrator_enabled: Annotated[Any, WithJsonSchema({"type": "boolean"})] = key(
        _USUAL.enabled, "whether there are any: without it every subagent is a leaf, also one that was an orchestrator"
    )
    max_spawn_depth: _number("max_spawn_depth") = key(  # type: ignore[valid-type]
        _USUAL.max_spawn_depth,
        "so many levels of subagents there may be; 1: subagents have none of their own",
        "levels",
    )
    max_concurrent_children: _number("max_concurrent_children") = key(  # type: ignore[valid-type]
        _USUAL.max_concurrent_children, "of one orchestrator at one time", "subagents"
    )
    wakes: _number("wakes") = key(  # type: ignore[valid-type]
        _USUAL.wakes, "in a row for news of its subagents alone, until an orchestrator is left in peace", "prompts"
    )


def read_orchestration(
    table: OrchestrationTable, origins: Mapping[str, str]
) -> tuple[Orchestration, OrchestrationTable, tuple[str, ...]]:
    """Return what holds, the table with the values that hold, and a warning for each value that does not."""
    found, warnings = _USUAL, []
    for name, value, warning in _read(table):
        found = replace(found, **{name: value})
        if warning:
            given = "orchestrator_enabled" if name == "enabled" else name
            path = f"{TABLE}.{given}"
            warnings.append(f"{origins.get(path, 'default')}: {path}: {warning}")
    held = {each.name: getattr(found, each.name) for each in fields(found)}
    held["orchestrator_enabled"] = held.pop("enabled")
    return found, OrchestrationTable(**held), tuple(warnings)


def _read(table: OrchestrationTable) -> Iterator[tuple[str, Any, str]]:
    yield "enabled", *_switch(table.orchestrator_enabled)
    for name in _BOUNDS:
        yield name, *_counted(name, getattr(table, name))


def _switch(given: Any) -> tuple[bool, str]:
    word = str(given).strip().lower() if isinstance(given, bool | str | int) else ""
    if word in _YES | _NO:
        return word in _YES, ""
    return _USUAL.enabled, f"{_shown(given)} is neither true nor false; {str(_USUAL.enabled).lower()} holds"


def _counted(name: str, given: Any) -> tuple[int, str]:
    (least, most), usual = _BOUNDS[name], int(getattr(_USUAL, name))
    text = given.strip() if isinstance(given, str) else str(given)
    if isinstance(given, bool) or not text.removeprefix("-").isdecimal() or len(text) > 18:
        return usual, f"{_shown(given)} is no number; {usual} holds"
    held = min(max(least, int(text)), most)
    return held, "" if held == int(text) else f"{_shown(given)} is out of bounds ({least} to {most}); {held} holds"


def _shown(value: Any) -> str:
    return one_line(repr(value), 60)
