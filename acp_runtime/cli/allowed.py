"""`subagents allowed`: what sandboxes of a preset may reach for good; adds to it and takes back."""

import argparse

from acp_runtime.cli.asking import Asking
from acp_runtime.cli.codes import Exit
from acp_runtime.cli.stdout import put, put_json
from acp_runtime.cli.table import table
from acp_runtime.cli.talk import Talk
from acp_runtime.core.errors import Rejected


def allowed(options: argparse.Namespace) -> int:
    """Print what is allowed for good; with `--add` or `--revoke` what was added or taken back."""
    if options.preset is not None and options.add is None and options.revoke is None:
        raise Rejected("invalid", "--preset goes with --add or --revoke")
    if options.add is not None and options.preset is None:
        raise Rejected("invalid", f"name the preset to whose subagents {options.add} is allowed: --preset NAME")
    asking = Asking(options)
    if options.add is not None:
        found = [asking.call("allow", rule=options.add, preset=options.preset)]
    elif options.revoke is not None:
        found = asking.call("disallow", rule=options.revoke, preset=options.preset)
    else:
        found = asking.call("allowed")
    if options.json:
        put_json(*found)
    elif found:
        for line in table(("PRESET", "RULE"), [(each["preset"], each["rule"]) for each in found]):
            put(line)
    else:
        Talk().tell("nothing is allowed for good")
    if not options.quiet and options.revoke is not None:
        Talk().tell("taken back, from what runs too")
    return Exit.DONE
