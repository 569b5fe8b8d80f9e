# ruff: noqa: INP001 - a script beside the pages it writes, no package
"""The page troubleshooting.md, made from the table in `acp_runtime/troubles`.

`python -m docs.troubles` writes it. A test compares the two.
"""

import sys
from pathlib import Path

from acp_runtime.troubles import AREAS, Area

PAGE = Path(__file__).with_name("troubleshooting.md")
HEAD = """\
# Troubleshooting

<!-- made by docs/troubles.py from acp_runtime/troubles: change it there -->

Every error is one sentence that says what happened, which value, and what to do next, and a *kind*, which is what
programs branch on. Kinds do not change; sentences do. Here is every kind. `subagents doctor` looks for what is missing
on this machine.
"""


def page() -> str:
    """Return the page."""
    return "\n".join([HEAD, *(_section(area) for area in AREAS)])


def _section(area: Area) -> str:
    rows = [f"| `{row.kind}` | {row.meaning} | {row.cause} | {row.remedy} |" for row in area.rows]
    table = "\n".join(["| kind | means | why | what to do |", "|---|---|---|---|", *rows])
    return f"## {area.title}\n\n{area.where}\n\n{table}\n"


def main() -> int:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
