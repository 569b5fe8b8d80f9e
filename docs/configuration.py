# ruff: noqa: INP001 - a script beside the pages it writes, no package
"""The page configuration.md, made from the models in `acp_runtime/config/tables.py` and the presets of the program.

`python -m docs.configuration` writes it. A test compares the two.
"""

import sys
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

from acp_runtime.config.original import ROOT
from acp_runtime.config.reference import NAMED, Key, all_keys
from acp_runtime.presets import builtin_presets

PAGE = Path(__file__).with_name("configuration.md")
HEAD = """\
# Configuration

<!-- made by docs/configuration.py from acp_runtime/config/tables.py: change it there -->

All of it is optional. What is read, the strongest first:

1. options of the command line;
2. variables, one for each plain key: `SUBAGENTS_` and its path in capitals. An empty one counts as unset;
3. the file: `--config FILE`, else the one that `SUBAGENTS_CONFIG` names, else `~/.config/acp-subagents/config.toml`;
4. the defaults below.

The whole is checked before anything starts. A mistake is told with file and line, or with the variable's name, with the
key, and with what is allowed. Unknown keys are mistakes; a file that everybody may change is refused.
`subagents config check` does only that,
`subagents config show --origin` says where each value comes from, `subagents config init` writes an example.
A duration may be `"none"` where the table says so.
"""
PRESETS = """\
## Presets

A preset says what a subagent's sandbox may use, what it reaches, and what the agent's permission requests are answered
with. How the container is hardened is the same in all of them, but for keys that begin with `unsafe_`; `subagents show`
and `subagents doctor` name these. A parent gets nothing beyond the preset that `ceiling` names: a wider wish is refused
by name, on every axis, and never cut down in silence. Folders of the host and `unsafe_` keys are in a preset only when
`[presets.NAME]` says so, and so only the operator can give them.

| preset | memory | processors | processes | /tmp | network | permissions | is |
|---|---|---|---|---|---|---|---|
"""
ORIGINAL = """\
## The original's keys

For hosts that were configured for the original proposal. A table that is there brings its own defaults, which a native
key beside it overrules. The same thing said by both is a mistake. They have no variables, but
for `DELEGATION_MAX_CONCURRENT_CHILDREN`, which counts where neither a file nor another variable has the number.
"""
TITLES = {
    "": "Outside of any table",
    "agents": "Agent kinds: `[agents.NAME]`",
    "models": "Models of agent kinds: `[models.KIND]`",
    "presets": "Presets of yours: `[presets.NAME]`",
    "prices": 'Prices of models: `[prices."MODEL"]`',
    "registries": "Package registries: `[registries.NAME]`",
}


def page() -> str:
    """Return the page."""
    keys = all_keys()
    native = [key for key in keys if key.path[0] != ROOT]
    parts = [HEAD]
    for table, group in groupby(native, key=lambda key: key.path[0] if len(key.path) > 1 else ""):
        parts.append(
            f"## {TITLES.get(table, f'`[{table}]`')}\n\n{_rows(group, variables=table not in TITLES or not table)}"
        )
    parts.append(PRESETS + "".join(_presets()))
    parts.append(ORIGINAL)
    theirs = [key for key in keys if key.path[0] == ROOT]
    for section, group in groupby(theirs, key=lambda key: key.path[1]):
        parts.append(f"### `[{ROOT}.{section}]`\n\n{_rows(group, variables=False, cut=2)}")
    return "\n".join(parts)


def _rows(keys: Iterable[Key], *, variables: bool, cut: int = 0) -> str:
    head = "| key | unit | default | allowed | is |" + (" variable |" if variables else "")
    lines = [head, "|---" * head.count(" |") + "|"]
    for key in keys:
        name = ".".join(key.path[cut:] if NAMED not in key.path or cut else key.path[2:])
        line = f"| `{name}` | {key.unit} | {_code(key.default)} | {key.allowed} | {key.sentence} |"
        lines.append(line + (f" `{key.variable}` |" if variables else ""))
    return "\n".join(lines) + "\n"


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def _presets() -> Iterable[str]:
    for preset in builtin_presets().values():
        has = preset.confinement
        sizes = f"{has.memory} MiB | {has.cpus:g} | {has.pids} | {has.tmp} MiB"
        yield f"| `{preset.name}` | {sizes} | {preset.network} | {preset.permissions} | {preset.about} |\n"


def main() -> int:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
