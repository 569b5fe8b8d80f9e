"""Completion of the command line in bash, zsh and fish. The scripts ask `subagents __complete`.

Promises: a candidate is printed for each thing that may stand next and nothing else; an error prints none; no daemon
is started for it, and one that does not answer is not waited for.
"""

import argparse
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from acp_runtime.cli.codes import Exit
from acp_runtime.cli.parser import build_parser, verbs_of
from acp_runtime.cli.stdout import write

LIVE_SECONDS: Final = 1.0  # a person waits at the keyboard
HIDDEN: Final = "__complete"
SCRIPTS: Final = {
    "bash": """_subagents() {
    local words
    words=$(subagents __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "${COMP_WORDS[COMP_CWORD]}")
}
complete -o default -F _subagents subagents
""",
    "zsh": """#compdef subagents
_subagents() {
    local -a found
    found=(${(f)"$(subagents __complete "${(@)words[2,CURRENT]}" 2>/dev/null)"})
    compadd -a found
}
compdef _subagents subagents
""",
    "fish": """function __subagents_complete
    subagents __complete (commandline -opc)[2..-1] (commandline -ct) 2>/dev/null
end
complete -c subagents -a '(__subagents_complete)'
""",
}


def completion(options: argparse.Namespace) -> int:
    """Print the script of a shell."""
    write(SCRIPTS[options.shell])
    return Exit.DONE


def complete(words: Sequence[str]) -> int:
    """Print what may stand where the last of `words` is being typed, one candidate a line."""
    *before, typed = words or ("",)
    for candidate in _candidates(before, typed):
        if candidate.startswith(typed):
            write(f"{candidate}\n")
    return Exit.DONE


def _candidates(before: Sequence[str], typed: str) -> Iterator[str]:
    verbs = verbs_of(build_parser())
    if not before:
        yield from verbs
        return
    verb = verbs.get(before[0])
    if verb is None:
        return
    actions = verb._actions  # noqa: SLF001 - argparse has no public list of what a parser takes
    waiting = next((each for each in actions if before[-1] in each.option_strings and each.nargs != 0), None)
    if typed.startswith("-") and waiting is None:
        yield from (name for each in actions for name in each.option_strings if name.startswith("--"))
        return
    for action in [waiting] if waiting is not None else [each for each in actions if not each.option_strings]:
        yield from map(str, action.choices or ())
        yield from _values(before[0], action.dest)


def _values(verb: str, dest: str) -> Iterable[str]:
    """Return what an option or argument may be that the command line itself does not list."""
    if dest in ("id", "ids"):
        return _live()
    if dest == "client":
        return _clients(verb)
    return _kinds() if dest == "agent" else ()


def _clients(verb: str) -> Iterable[str]:
    """Return the clients whose configuration `verb` can write."""
    from acp_runtime.hooks.hosts import HOSTS  # noqa: PLC0415 - most words need none of these
    from acp_runtime.mcp.clients import CLIENTS  # noqa: PLC0415

    return HOSTS if verb == "hook" else CLIENTS


def _kinds() -> Iterable[str]:
    """Return the agent kinds of the program and of the user's configuration; none where that has a mistake."""
    from acp_runtime.config import ConfigError, load  # noqa: PLC0415 - most words need no configuration
    from acp_runtime.places import environment  # noqa: PLC0415

    try:
        return load(None, environment()).catalogue.kinds
    except ConfigError:
        return ()


def _live() -> Iterator[str]:
    """Yield the ids and names of all subagents of the daemon that runs."""
    from acp_runtime.api.errors import DaemonError  # noqa: PLC0415 - most words need no daemon
    from acp_runtime.api.unix_client import UnixClient  # noqa: PLC0415
    from acp_runtime.callers import OPERATOR  # noqa: PLC0415
    from acp_runtime.core.errors import Rejected  # noqa: PLC0415

    try:
        views = UnixClient(start=False, bound=LIVE_SECONDS).call("list_subagents", OPERATOR, ended=True)
    except (DaemonError, Rejected):
        return
    for view in views:
        yield view["id"]
        yield view["name"]
