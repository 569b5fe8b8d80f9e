# ruff: noqa: INP001 - a script beside the pages it writes, no package
"""The page security.md, made from `security.toml` and the rows of threats in `tests/requirements/manifest.toml`.

`python -m docs.security` writes it. A test compares the two.
"""

import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

from docs.guarantees import Row, manifest

PAGE = Path(__file__).with_name("security.md")
WORDS = PAGE.with_suffix(".toml")
HEAD = """\
# Security

<!-- made by docs/security.py from docs/security.toml and tests/requirements/manifest.toml: change it there -->

What is promised against whom, by which mechanism, shown by which test, and what is not promised. How to report a hole
stands in [SECURITY.md](../SECURITY.md).

**Not trusted:** the agent's program and all that it starts, the model behind it and what it answers, the workspace, the
image that the agent runs in, whoever sends to the daemon's socket as another user.
**Trusted:** the person at the terminal and their configuration, the container engine, the kernel, the model's provider
with what it is asked, and every program that runs as the same user.

`make test-long` takes guards away one by one (`tests/mutants/guards.toml`), and the tests named there must fail then.
A setting whose name begins with `unsafe_` gives up what its name says. Agents that are run with `--unsafe-local` have
the rights of their user: nothing of T1 to T6, T8 and T22 holds then.
"""


@dataclass(frozen=True, slots=True)
class Words:
    """What is said of one threat beside its row. `without` is what is not promised."""

    threat: str
    by: str
    without: str = ""


def words() -> dict[str, Words]:
    """Return the words of each threat by its id, in their order."""
    found = tomllib.loads(WORDS.read_text(encoding="utf-8"))
    return {
        ident: Words(entry["threat"], entry["by"].strip(), entry.get("not", "").strip())
        for ident, entry in found.items()
    }


def page() -> str:
    """Return the page."""
    rows = {row.id: row for row in manifest()}
    return "\n".join([HEAD, *(_section(rows[ident], said) for ident, said in words().items())])


def _section(row: Row, said: Words) -> str:
    tests = "\n".join(f"- `{test.removeprefix('tests/')}`" for test in row.tests)
    parts = [f"## {row.id} {said.threat}", f"**Promised:** {row.says}.", f"**By:** {said.by}"]
    parts += [f"**Not promised:** {said.without}"] if said.without else []
    return "\n\n".join([*parts, f"**Shown by:**\n\n{tests}", ""])


def main() -> int:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
