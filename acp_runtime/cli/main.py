"""The command `subagents`: reads the command line and hands over to one module per verb.

Standard output carries data only; everything said to a person goes to standard error.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import suppress

from acp_runtime import __version__
from acp_runtime.cli.exit_codes import MEANINGS, Exit
from acp_runtime.core.plaintext import one_line, printable


class Parser(argparse.ArgumentParser):
    """Tells a usage error in one sentence and exits with the documented code."""

    def error(self, message: str) -> None:  # type: ignore[override]
        sys.stderr.write(f"{self.prog}: {printable(message)}\nTry '{self.prog} --help'.\n")
        raise SystemExit(Exit.USAGE)


def build_parser() -> Parser:
    """Return the whole command line as a parser."""
    codes = "\n".join(f"  {code.value:>3}  {meaning}" for code, meaning in MEANINGS.items())
    parser = Parser(
        prog="subagents",
        allow_abbrev=False,
        description="Run coding agents (ACP) in hardened containers and never lose what they did.",
        epilog=f"exit codes:\n{codes}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", parser_class=Parser)
    _add_run(verbs)
    _add_serve(verbs)
    return parser


def _add_run(verbs: "argparse._SubParsersAction[Parser]") -> None:
    about = "give one task to one agent in a container and take its work out"
    run = verbs.add_parser("run", help=about, description=about.capitalize() + ".", allow_abbrev=False)
    run.add_argument("task", help="what the agent is to do")
    run.add_argument("--agent", default="opencode", help="agent kind (default: opencode)")
    run.add_argument("--workspace", default=".", metavar="DIR", help="folder to work on (default: .)")
    run.add_argument("--image", help="image to run the agent in; any glibc image (default: built on first use)")
    model = run.add_argument_group("model")
    model.add_argument("--model", help="name of the model")
    model.add_argument("--model-url", metavar="URL", help="address of an OpenAI-compatible API, as http(s)://host/v1")
    model.add_argument("--model-key-env", metavar="NAME", help="variable that holds the API key; it stays on this side")
    run.add_argument("--permissions", choices=("allow", "deny"), default="allow", help="answer to permission requests")
    run.add_argument("--check", metavar="CMD", help="shell command to run in the sandbox after the task")
    run.add_argument("--timeout", type=float, metavar="SECONDS", help="deadline of the task (default: 3600)")
    run.add_argument("--check-timeout", type=float, default=600.0, metavar="SECONDS", help="default: 600")
    out = run.add_argument_group("output")
    out.add_argument("--output", choices=("patch", "text", "json"), help="default: text on a terminal, else patch")
    out.add_argument("--out", metavar="FILE", help="write the output to FILE (as a patch by default)")
    out.add_argument("--allow-empty", action="store_true", help="exit 0 also when the work is empty or suspect")
    out.add_argument("-q", "--quiet", action="store_true", help="no progress")
    run.add_argument("--config", metavar="FILE", help="configuration file")
    run.add_argument(
        "--unsafe-local",
        action="store_true",
        help="UNSAFE: run the agent as a process of this machine, without a container (tests and development)",
    )


def _add_serve(verbs: "argparse._SubParsersAction[Parser]") -> None:
    about = "start the daemon that owns this user's subagents; other verbs start it by themselves"
    serve = verbs.add_parser("serve", help=about, description=about.capitalize() + ".", allow_abbrev=False)
    serve.add_argument("--foreground", action="store_true", help="stay on the terminal and log to standard error")
    serve.add_argument("--replace", action="store_true", help="take over from the daemon that runs, with its subagents")
    serve.add_argument(
        "--idle-exit",
        type=float,
        default=3600.0,
        metavar="SECONDS",
        help="end when nothing is open and nobody is connected for so long; 0 for never (default: 3600)",
    )
    serve.add_argument("--config", metavar="FILE", help="configuration file")
    serve.add_argument(
        "--unsafe-local",
        action="store_true",
        help="UNSAFE: run agents as processes of this machine, without containers (tests and development)",
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    try:
        return _main(argv)
    except KeyboardInterrupt:
        return Exit.CANCELLED
    finally:
        _flush()


def _main(argv: Sequence[str] | None) -> int:
    parser = build_parser()
    options, rest = parser.parse_known_args(argv)
    if rest:
        parser.error(_not_understood(rest))
    if options.version:
        sys.stdout.write(f"subagents {__version__}\n")
        return Exit.DONE
    if options.verb is None:
        parser.print_help(sys.stderr)
        return Exit.USAGE
    if options.verb == "serve":
        from acp_runtime.cli.serve import serve  # noqa: PLC0415 - a verb loads only what it needs

        return serve(options)
    from acp_runtime.cli.run import run  # noqa: PLC0415 - a wrong command line is told without loading the runtime

    return run(options)


def _not_understood(rest: list[str]) -> str:
    """Name options without their values: one of them may be a key."""
    unknown = [word.partition("=")[0] for word in rest if word.startswith("-")]
    if unknown:
        return f"unknown option {one_line(', '.join(unknown), 200)}"
    return "the task is one argument; put it in quotes"


def _flush() -> None:
    """Write what is buffered; a reader that went away is no error worth a traceback."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    raise SystemExit(main())
