"""`subagents usage`: what calls of models used. What nobody knows is shown as `?`, never as 0."""

import argparse
from typing import Any, Final

from acp_runtime.cli.asking import Asking
from acp_runtime.cli.codes import Exit
from acp_runtime.cli.stdout import put, put_json
from acp_runtime.cli.table import table
from acp_runtime.cli.talk import Talk

_HEADS: Final = {
    "task": ("NAME", "TASK"),
    "agent": ("NAME", "ID"),
    "parent": ("PARENT",),
    "tree": ("NAME", "ID", "AGENTS", "TIME"),
    "model": ("MODEL",),
}
_COUNTS: Final = ("calls", "input_tokens", "cached_input_tokens", "cache_write_tokens", "output_tokens")


def usage(options: argparse.Namespace) -> int:
    """Print a line for each task, subagent, parent, tree or model; with `--json` an object each."""
    asking = Asking(options)
    given = {} if options.id is None else {"subagent": asking.find(options.id)}
    found = asking.call("usage", by="subagent" if options.by == "agent" else options.by, **given)
    if options.json:
        put_json(*found)
    elif found:
        heads = (*_HEADS[options.by], "CALLS", "INPUT", "CACHED", "CACHE WRITES", "OUTPUT", "TOKENS", "COST")
        for line in table(heads, [(*_names(options.by, each), *_numbers(each["spent"])) for each in found]):
            put(line)
    else:
        Talk().tell("no calls of models")
    return Exit.DONE


def _names(by: str, row: dict[str, Any]) -> tuple[str, ...]:
    match by:
        case "task":
            return row["name"], row["task"] or "outside of tasks"
        case "agent":
            return row["name"], row["subagent"]
        case "tree":
            return row["name"] or "?", row["subagent"], str(row["agents"]), f"{row['seconds']:.0f} s"
        case _:
            return (row[by] or "?",)


def _numbers(spent: dict[str, Any]) -> tuple[str, ...]:
    return *(str(spent[name]) for name in _COUNTS), tokens(spent), cost(spent)


def tokens(spent: dict[str, Any]) -> str:
    """Return the sum of tokens, as far as it is known."""
    if not spent["unknown_calls"]:
        return str(spent["tokens"])
    return f"{spent['tokens']} + ?" if spent["tokens"] else "?"


def cost(spent: dict[str, Any]) -> str:
    """Return the sum of costs, as far as it is known."""
    if spent["cost_usd"] is None:
        return "?"
    dollars = f"${spent['cost_usd']:.4f}"
    return f"{dollars} + ?" if spent["unpriced_calls"] or spent["unknown_calls"] else dollars


def told(spent: dict[str, Any]) -> str:
    """Return a sum in one line."""
    calls = spent["calls"]
    return f"{calls} call{'' if calls == 1 else 's'}, {tokens(spent)} tokens, {cost(spent)}"
