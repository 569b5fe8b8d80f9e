"""Every key that can be configured, as the models have it: name, unit, default, what is allowed, sentence, variable."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from acp_runtime.config.original import ROOT
from acp_runtime.config.table import NEVER
from acp_runtime.config.tables import FileTable

PREFIX: Final = "SUBAGENTS_"
NAMED: Final = "NAME"
_TYPES: Final = {
    "boolean": "true, false",
    "integer": "number",
    "number": "number",
    "string": "text",
    "null": f'"{NEVER}"',
}
_BOUNDS: Final = {"exclusiveMinimum": ">", "minimum": ">=", "maximum": "<="}

_MODELS: Final = """
# The model of an agent kind where nobody names an address of one, as parents' models do not; docs/keys.md: keys
#[models.opencode]
#name = "some-model"
#url = "http://127.0.0.1:11434/v1"
#key = "env:MODEL_KEY"
"""

Schema = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Key:
    """One key. `path` has `NAME` for a name of the user's; `variable` is empty where the environment has none.

    `default` is as TOML has it, empty where there is none.
    """

    path: tuple[str, ...]
    sentence: str
    unit: str
    default: str
    allowed: str
    variable: str

    @property
    def name(self) -> str:
        return ".".join(self.path)


@cache
def all_keys() -> tuple[Key, ...]:
    """Return every key in the order of the models."""
    schema = FileTable.model_json_schema()
    return tuple(_keys(schema, schema["$defs"], ()))


def _keys(table: Schema, tables: Schema, path: tuple[str, ...]) -> Iterator[Key]:
    for name, entry in table["properties"].items():
        inner, more = _inner(entry, tables)
        if inner is not None:
            yield from _keys(inner, tables, (*path, name, *more))
        else:
            yield _key(entry, tables, (*path, name))


def _inner(entry: Schema, tables: Schema) -> tuple[Schema | None, tuple[str, ...]]:
    """Return the table that a key names, and the place of a name in its path; no table for a plain value."""
    named = entry.get("additionalProperties") or next(iter(entry.get("patternProperties", {}).values()), None)
    for each, more in ((entry, ()), (named, (NAMED,))):
        table = _referred(each, tables) if isinstance(each, Mapping) else {}
        if "properties" in table:
            return table, more
    return None, ()


def _referred(entry: Schema, tables: Schema) -> Schema:
    found: Schema = tables[entry["$ref"].rpartition("/")[2]] if "$ref" in entry else {}
    return found


def _key(entry: Schema, tables: Schema, path: tuple[str, ...]) -> Key:
    kinds = [_referred(each, tables) or each for each in entry.get("anyOf", [entry])]
    kinds = [each for each in kinds if entry["never"] or each.get("type") != "null"]
    scalar = NAMED not in path and path[0] != ROOT and not {"array", "object"} & {each.get("type") for each in kinds}
    return Key(
        path=path,
        sentence=entry["description"],
        unit=entry["unit"],
        default=toml(entry.get("default")) if entry["never"] or entry.get("default") is not None else "",
        allowed=", ".join(_allowed(each) for each in kinds),
        variable=PREFIX + "_".join(path).upper() if scalar else "",
    )


def example() -> str:
    """Return a file with every plain key at its default, and a model, each behind a `#` at the start of its line."""
    lines = ["# Settings of subagents; docs/configuration.md tells of all. Take the # away from what you change.", ""]
    table = ""
    for key in all_keys():
        if not key.variable:
            continue
        if len(key.path) > 1 and key.path[0] != table:
            table = key.path[0]
            lines += ["", f"#[{table}]"]
        unit = f" ({key.unit})" if key.unit else ""
        lines += [f"# {key.sentence}{unit}; {key.allowed}", f"#{key.path[-1]} = {key.default}"] if key.default else []
    return "\n".join([*lines, ""]) + _MODELS


def in_force(name: str, value: object) -> str:
    """Return a key and its value as a line of TOML: a remark for one that is not set and cannot be `"none"`."""
    if value is None and not any(key.name == name and toml(None) in key.allowed for key in all_keys()):
        return f"# {name} is not set"
    return f"{name} = {json.dumps(value) if isinstance(value, list | dict) else toml(value)}"


def toml(value: object) -> str:
    """Return a plain value as TOML has it; `"none"` stands for None."""
    if value is None:
        return f'"{NEVER}"'
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return f"{value:.15g}"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    return "{}" if isinstance(value, Mapping) else "[]"


def _allowed(kind: Schema) -> str:
    if "const" in kind:
        return toml(kind["const"])
    if "enum" in kind:
        return ", ".join(f'"{each}"' for each in kind["enum"])
    if kind["type"] == "array":
        return "list of tables" if "$ref" in kind["items"] else "list of texts"
    if kind["type"] == "object":
        return "table" if "$ref" in kind.get("additionalProperties", {}) else "table of texts"
    bounds = " and ".join(f"{sign} {kind[name]:.15g}" for name, sign in _BOUNDS.items() if name in kind)
    return f"{_TYPES[kind['type']]} {bounds}".strip()
