"""Verbs for trees of subagents: `tree` shows who leads whom, `pause` keeps them from growing."""

import argparse
from typing import Any

from acp_runtime.cli.asking import Asking
from acp_runtime.cli.codes import Exit
from acp_runtime.cli.stdout import put, put_json
from acp_runtime.cli.table import table
from acp_runtime.cli.talk import Talk

INDENT = "  "


def tree(options: argparse.Namespace) -> int:
    """List subagents, each above those that it leads."""
    asking = Asking(options)
    top = asking.find(options.id) if options.id else None
    views = asking.call("tree", subagent=top, ended=options.all)
    if options.json:
        put_json(*views)
    elif options.quiet:
        for view in views:
            put(view["id"])
    elif views:
        least = min(view["depth"] for view in views)
        heads = ("NAME", "ID", "DEPTH", "ROLE", "STATUS", "MODEL", "TOOLS", "PURPOSE")
        for line in table(heads, [_row(view, view["depth"] - least) for view in views]):
            put(line)
    else:
        Talk().tell("no subagents" if options.all else "no open subagents (ended ones: subagents tree --all)")
    return Exit.DONE


def _row(view: dict[str, Any], level: int) -> tuple[str, ...]:
    facts = str(view["depth"]), view["role"], view["status"], view["model"] or "", str(view["tool_count"])
    return f"{INDENT * level}{view['name']}", view["id"], *facts, view["purpose"]


def pause(options: argparse.Namespace) -> int:
    """Let nobody spawn, or let all go on."""
    paused = Asking(options).call("pause_spawning", on=not options.off)
    Talk(quiet=options.quiet).say("spawning is paused; what is under way goes on" if paused else "spawning goes on")
    return Exit.DONE
