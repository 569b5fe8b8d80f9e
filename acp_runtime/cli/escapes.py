"""Versions of the container runtime from which escapes are known.

A distribution may have mended an older version without a new number: the sentences say so.
"""

import re
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Escape:
    """Some known holes of runc, and the first version of each line of releases without them."""

    names: str
    mended: tuple[tuple[int, int, int], ...]


ESCAPES: Final = (
    Escape("CVE-2024-21626", ((1, 1, 12),)),
    Escape("CVE-2025-31133, CVE-2025-52565, CVE-2025-52881", ((1, 2, 8), (1, 3, 3), (1, 4, 0))),
    Escape("CVE-2026-41579", ((1, 3, 6), (1, 4, 3), (1, 5, 0))),
)


def open_escapes(version: str) -> list[str]:
    """Return the holes that a version of runc has, unless its distribution mended them; none for no version."""
    found = re.match(r"v?(\d+)\.(\d+)\.(\d+)", version)
    if found is None:
        return []
    number = (int(found[1]), int(found[2]), int(found[3]))
    return [each.names for each in ESCAPES if not _is_mended(number, each.mended)]


def _is_mended(number: tuple[int, int, int], mended: tuple[tuple[int, int, int], ...]) -> bool:
    """Compare within the line of releases; a line older than all that were mended was not."""
    line = [each for each in mended if each[:2] == number[:2]]
    return number >= line[0] if line else number > mended[-1]
