"""`subagents reload`: has the daemon read its configuration again, for what runs too."""

import argparse

from acp_runtime.cli.asking import Asking
from acp_runtime.cli.codes import Exit
from acp_runtime.cli.stdout import put, put_json
from acp_runtime.cli.talk import Talk


def reload(options: argparse.Namespace) -> int:
    """Print what each subagent that runs gains, loses and keeps; with `--json` one object for all."""
    found = Asking(options).call("reload")
    if options.json:
        put_json(found)
        return Exit.DONE
    for each in found["subagents"]:
        told = (
            *(f"gains {name}" for name in each["gained"]),
            *(f"loses {name}" for name in each["lost"]),
            *(f"keeps its {name} until it ends" for name in each["kept"]),
        )
        for line in told:
            put(f"{each['name']} ({each['subagent']}) {line}")
    if found["restart"]:
        keys = ", ".join(found["restart"])
        Talk().tell(f"only a new start of the daemon reads {keys}: subagents serve --replace")
    if not options.quiet:
        Talk().tell("the configuration was read again")
    return Exit.DONE
