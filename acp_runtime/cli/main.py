"""The command `subagents`: reads the command line and hands over to one module per verb.

Standard output carries data only; everything said to a person goes to standard error.
"""

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

from acp_runtime import __version__
from acp_runtime.cli.codes import Exit
from acp_runtime.cli.stdout import OutputError, discard, flush, prepare, write

if TYPE_CHECKING:
    import argparse


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    words = sys.argv[1:] if argv is None else argv
    if words[:1] == ["hook"] and words[1:2] not in [[word] for word in ("install", "uninstall", "--help", "-h")]:
        _hook(words[1:])
    prepare()
    try:
        try:
            return _main(words)
        finally:
            flush()
    except KeyboardInterrupt:
        return Exit.CANCELLED
    except OutputError as error:
        discard()
        if not error.unread:
            from acp_runtime.cli.talk import Talk  # noqa: PLC0415 - a verb loads only what it needs

            Talk().tell(f"subagents: {error}")
        return Exit.FAILED


def _hook(words: Sequence[str]) -> NoReturn:
    """Answer an event of a host, which waits for it: its time is bounded, and the interpreter's own end left out."""
    from acp_runtime.hooks import bound  # noqa: PLC0415 - a verb loads only what it needs

    bound.begin(words)
    from acp_runtime.places import environment, runtime_dir  # noqa: PLC0415

    folder = runtime_dir(environment())
    bound.count_in(folder)
    prepare()
    from acp_runtime.hooks.hook import run  # noqa: PLC0415

    run(words, folder)
    os._exit(Exit.DONE)


def _main(words: Sequence[str]) -> int:
    if words[:1] == ["__complete"]:
        from acp_runtime.cli.completion import complete  # noqa: PLC0415 - a verb loads only what it needs

        return complete(words[1:])
    from acp_runtime.cli.parser import build_parser, verbs_of  # noqa: PLC0415

    parser = build_parser()
    verbs = verbs_of(parser)
    if words and words[0] not in verbs and not words[0].startswith("-"):
        from acp_runtime.cli.mistaken import unknown_verb  # noqa: PLC0415

        parser.error(unknown_verb(words[0], verbs))
    if words and words[0].startswith("-"):
        from acp_runtime.cli.mistaken import too_early  # noqa: PLC0415

        if (sentence := too_early(words[0], parser)) is not None:
            parser.error(sentence)
    options, rest = parser.parse_known_args(words)
    if rest:
        from acp_runtime.cli.mistaken import left_over  # noqa: PLC0415

        verb = verbs.get(options.verb, parser)
        verb.error(left_over(rest, verb))
    if options.version:
        write(f"subagents {__version__}\n")
        return Exit.DONE
    if options.verb is None:
        parser.print_help(sys.stderr)
        return Exit.USAGE
    return _run(options.verb, options)


def _run(verb: str, options: "argparse.Namespace") -> int:
    """Hand over to the verb; an error of the daemon or of what was asked of it is told in its sentence."""
    from acp_runtime.cli.verbs import function_of  # noqa: PLC0415 - a wrong command line is told without loading a verb

    function = function_of(verb)
    from acp_runtime.api.errors import DaemonError  # noqa: PLC0415
    from acp_runtime.core.errors import Rejected  # noqa: PLC0415

    try:
        return function(options)
    except (Rejected, DaemonError) as error:
        from acp_runtime.cli.asking import exit_of  # noqa: PLC0415
        from acp_runtime.cli.talk import Talk  # noqa: PLC0415

        Talk().tell(f"subagents {verb}: {error}")
        return exit_of(error)


if __name__ == "__main__":
    raise SystemExit(main())
