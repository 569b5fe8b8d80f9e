"""`subagents budget`: what a subagent may use of its models, and how the operator or its parent changes it."""

import argparse
from dataclasses import asdict
from typing import Final

from acp_runtime.cli.asking import Asking
from acp_runtime.cli.budget import amount_of
from acp_runtime.cli.codes import Exit
from acp_runtime.cli.stdout import put, put_json
from acp_runtime.cli.usage import told
from acp_runtime.core.budget import Bound, Budget

NONE: Final = "none"


def budget(options: argparse.Namespace) -> int:
    """Change the bounds that were given, and print the budget."""
    asking = Asking(options)
    bounds, without = wanted(options)
    view = asking.status(options.id)
    if without or str(bounds):
        view = asking.call("set_budget", subagent=view["id"], bounds=asdict(bounds), without=without)
    if options.json:
        put_json({"id": view["id"], "budget": view["budget"], "spent": view["spent"]})
    elif not options.quiet:
        put(f"{view['name']}: {str(Budget(**view['budget'])) or 'no budget'}; used: {told(view['spent'])}")
    return Exit.DONE


def wanted(options: argparse.Namespace) -> tuple[Budget, list[str]]:
    """Return the bounds that were given, and those that are to be none. Raises `Rejected` (invalid)."""
    given = {bound: getattr(options, bound) for bound in Bound if getattr(options, bound) is not None}
    without = [str(bound) for bound, text in given.items() if text == NONE]
    bounds = {str(bound): amount_of(bound, text) for bound, text in given.items() if text != NONE}
    return Budget(**bounds), without
