"""Versions of the container runtime and of the engine with holes that are known and that an agent could use.

A distribution may have mended an older version without a new number: the sentences say so.
"""

import re
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Escape:
    """Some known holes, and the first version of each line of releases without them."""

    names: str
    mended: tuple[tuple[int, int, int], ...]


# Not here: what only a network, a plugin or the engine's socket opens, for a sandbox has none of them.
ESCAPES: Final = {
    "runc": (
        Escape("CVE-2024-21626", ((1, 1, 12),)),
        Escape("CVE-2025-31133, CVE-2025-52565, CVE-2025-52881", ((1, 2, 8), (1, 3, 3), (1, 4, 0))),
        Escape("CVE-2026-41579", ((1, 3, 6), (1, 4, 3), (1, 5, 0))),
    ),
    "Docker": (
        Escape("CVE-2021-41089 (archives), CVE-2021-41091", ((20, 10, 9),)),
        Escape("CVE-2022-24769 (capabilities)", ((20, 10, 14),)),
        Escape("CVE-2022-36109 (groups)", ((20, 10, 18),)),
        Escape("CVE-2024-24557 (builds from images of others)", ((24, 0, 9), (25, 0, 2))),
    ),
}


def open_escapes(program: str, version: str) -> list[str]:
    """Return the holes of a version of `runc` or `Docker`, unless its distribution mended them; none for no version."""
    found = re.match(r"v?(\d+)\.(\d+)\.(\d+)", version)
    if found is None:
        return []
    number = (int(found[1]), int(found[2]), int(found[3]))
    return [each.names for each in ESCAPES[program] if not _is_mended(number, each.mended)]


def _is_mended(number: tuple[int, int, int], mended: tuple[tuple[int, int, int], ...]) -> bool:
    """Compare within the line of releases; a line older than all that were mended was not."""
    line = [each for each in mended if each[:2] == number[:2]]
    return number >= line[0] if line else number > mended[-1]
