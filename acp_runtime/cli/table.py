"""Tables for people: aligned columns, cut to the width of the terminal; the last column takes what is left."""

import os
import shutil
import sys
import unicodedata
from collections.abc import Sequence
from typing import Final

from acp_runtime.core.plaintext import one_line

GAP: Final = "  "
NARROWEST: Final = 12
PIPED: Final = 200


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table with its head. Every cell becomes one line of plain text."""
    plain = [[one_line(cell, PIPED) for cell in row] for row in rows]
    widths = [max(map(_width, column)) for column in zip(heads, *plain, strict=True)]
    taken = sum(widths[:-1]) + len(GAP) * (len(widths) - 1)
    last = max(NARROWEST, _terminal() - taken)
    return [_line([*row[:-1], _cut(row[-1], last)], widths) for row in [list(heads), *plain]]


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [cell + " " * (width - _width(cell)) for cell, width in zip(cells, widths, strict=True)]
    return GAP.join(padded).rstrip()


def _terminal() -> int:
    if sys.stdout is None or not sys.stdout.isatty():
        return PIPED
    return shutil.get_terminal_size(fallback=(int(os.environ.get("COLUMNS") or 80), 24)).columns


def _width(text: str) -> int:
    """Return how many columns a text takes: wide characters take two, combining ones none."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )


def _cut(text: str, columns: int) -> str:
    while _width(text) > columns:
        text = text[: max(0, min(len(text) - 2, columns - 1))].rstrip() + "…"
    return text
