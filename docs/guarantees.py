# ruff: noqa: INP001 - a script beside the pages it writes, no package
"""The page guarantees.md, made from `tests/requirements/manifest.toml`.

`python -m docs.guarantees` writes it. A test compares the two, and the manifest with the tests.
"""

import sys
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

PAGE = Path(__file__).with_name("guarantees.md")
MANIFEST = PAGE.parents[1] / "tests" / "requirements" / "manifest.toml"
HEAD = """\
# Guarantees

<!-- made by docs/guarantees.py from tests/requirements/manifest.toml: change it there -->

What is promised, and the tests that show it. `make test` runs all but those of `make test-long`. Each row is checked
both ways: its tests exist, and a test that says that it shows a row stands in it.
"""
TITLES = {
    "P": "Persistent background subagents",
    "A": "Asynchronous task tools",
    "O": "Agents that lead others",
    "B": "What was wrong with the original, and cannot happen here",
    "D": "The design",
    "T": "Threats (docs/security.md)",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One promise. `later` is the issue that brings it; then it has no tests."""

    id: str
    says: str
    tests: tuple[str, ...] = ()
    later: int | None = None


def manifest() -> list[Row]:
    """Return all rows in their order."""
    rows = tomllib.loads(MANIFEST.read_text(encoding="utf-8"))["row"]
    return [Row(**{**row, "tests": tuple(row.get("tests", ()))}) for row in rows]


def page() -> str:
    """Return the page."""
    rows = sorted(manifest(), key=_place)
    sections = groupby(rows, key=lambda row: row.id[0])
    return "\n".join([HEAD, *(_section(letter, rows) for letter, rows in sections)])


def _place(row: Row) -> tuple[int, int]:
    """Return what puts the sections in their order, and the threats in theirs; the others stay as they stand."""
    return list(TITLES).index(row.id[0]), int(row.id[1:]) if row.id[0] == "T" else 0


def _section(letter: str, rows: Iterable[Row]) -> str:
    lines = [f"| {row.id} | {row.says} | {_shown(row)} |" for row in rows]
    return "\n".join([f"## {TITLES[letter]}\n", "| row | promise | shown by |", "|---|---|---|", *lines, ""])


def _shown(row: Row) -> str:
    if row.later is not None:
        return f"not yet: issue {row.later}"
    return "<br>".join(f"`{test.removeprefix('tests/')}`" for test in row.tests)


def main() -> int:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
