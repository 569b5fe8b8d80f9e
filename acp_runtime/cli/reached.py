"""`subagents reached`: what went in and out of sandboxes, and what was refused."""

import argparse
from typing import Any

from acp_runtime.cli.asking import Asking
from acp_runtime.cli.codes import Exit
from acp_runtime.cli.stdout import put, put_json
from acp_runtime.cli.table import table
from acp_runtime.cli.talk import Talk
from acp_runtime.core.errors import Rejected


def reached(options: argparse.Namespace) -> int:
    """Print a line for each exchange, tunnel and refusal, the newest last; with `--json` an object each."""
    if (options.id is None) != options.all:
        raise Rejected("invalid", "name one subagent, or give --all")
    asking = Asking(options)
    given = {} if options.id is None else {"subagent": asking.find(options.id)}
    given |= {} if options.host is None else {"host": options.host}
    found = asking.call("reached", refused=options.refused, limit=options.limit, **given)
    if options.json:
        put_json(*found)
    elif found:
        for line in table(("AT", "ID", "WAY", "HOST", "UP", "DOWN", "WHAT"), [_row(each) for each in found]):
            put(line)
    else:
        Talk().tell("nothing was reached, and nothing refused")
    return Exit.DONE


def _row(each: dict[str, Any]) -> tuple[str, ...]:
    where = f"{each['host']}:{each['port']}" if each["host"] else "?"
    at = each["at"][:19].replace("T", " ")
    return at, each["subagent"], each["way"], where, str(each["bytes_up"]), str(each["bytes_down"]), _what(each)


def _what(each: dict[str, Any]) -> str:
    asked = " ".join(part for part in (each["method"], each["path"]) if part)
    if each["end"] == "refused":
        return f"REFUSED ({each['code'] or '?'}): {asked}: {each['why']}"
    status = f" -> {each['status']}" if each["status"] else ""
    allowed = f" by {each['allowed_by']}" if each["allowed_by"] else ""
    return f"{asked}{status}{allowed}" + (f" ({each['why']})" if each["why"] else "")
