"""`subagents hook install|uninstall`: the hooks in a host's settings. The events themselves are `acp_runtime.hooks`."""

import argparse

from acp_runtime.callers import admitted
from acp_runtime.cli.client_file import carry_out, folder, program, unknown_client
from acp_runtime.cli.codes import Exit
from acp_runtime.cli.talk import Talk
from acp_runtime.core.errors import Rejected
from acp_runtime.hooks.bound import LONGEST
from acp_runtime.hooks.settings import SETTINGS, HookEntries
from acp_runtime.mcp import config_file
from acp_runtime.places import environment


def hook(options: argparse.Namespace) -> int:
    """Put our hooks into a host's settings or take them out, and put out the change; a dry run does only that."""
    settings = SETTINGS.get(options.client)
    if settings is None:
        raise unknown_client(options.client, tuple(SETTINGS))
    path = settings.file(environment(), folder(options.workspace) if options.project else None)
    if options.what == "uninstall":
        carry_out(config_file.uninstalling(HookEntries(), path), options.what, dry_run=options.dry_run)
        return Exit.DONE
    if options.within is not None and not 0 < options.within <= LONGEST * 1000:
        raise Rejected("invalid", f"--within is {options.within}; it is 1 to {LONGEST * 1000:.0f} ms")
    parent = None if options.parent is None else admitted(options.parent)
    change = config_file.installing(HookEntries(), path, settings.handlers(program(), parent, options.within))
    if carry_out(change, options.what, dry_run=options.dry_run) and settings.word:
        Talk().tell(settings.word)
    return Exit.DONE
