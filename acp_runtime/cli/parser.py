"""The command line of `subagents`: every verb with its options. Light, since it is made at each start."""

import argparse
import sys
from typing import Any, Final

from acp_runtime.cli.codes import MEANINGS, Exit
from acp_runtime.core.nudge_states import NUDGE_STATES
from acp_runtime.core.plaintext import printable


class Parser(argparse.ArgumentParser):
    """Tells a usage error in one sentence and exits with the documented code."""

    def error(self, message: str) -> None:  # type: ignore[override]
        sys.stderr.write(f"{self.prog}: {printable(message)}\nTry '{self.prog} --help'.\n")
        raise SystemExit(Exit.USAGE)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """See argparse, which takes a word that may be left out for left out where an option stands before it."""
        found, rest = super().parse_known_args(args, namespace)
        for each in self._actions:
            without = each.nargs == "?" and not each.option_strings and getattr(found, each.dest) == each.default
            if without and len(rest) == 1 and not rest[0].startswith("-"):
                setattr(found, each.dest, rest.pop())
        return found, rest


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
    parser.add_argument("-V", "--version", action="store_true", help="print the version and exit")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", parser_class=Parser)
    _add_run(verbs)
    _add_serve(verbs)
    for add in (
        _add_spawn,
        _add_messages,
        _add_looks,
        _add_waits,
        _add_ends,
        _add_turn,
        _add_acp,
        _add_mcp,
        _add_hook,
        _add_helpers,
    ):
        add(verbs)
    return parser


def verbs_of(parser: Parser) -> dict[str, Parser]:
    """Return the parser of each verb."""
    action = next(each for each in parser._actions if each.dest == "verb")  # noqa: SLF001 - argparse has no public way
    return dict(action.choices or {})


Verbs = argparse._SubParsersAction  # noqa: SLF001 - argparse has no public name for what add_subparsers returns


_KEY: Final = (
    "where the API key is: env:NAME, file:PATH, keychain:SERVICE/ACCOUNT, command:PROGRAM ARGUMENTS, login:VENDOR"
)


_ID: Final = "id, the beginning of one, or a name"


def _verb(verbs: "Verbs[Parser]", name: str, about: str) -> Parser:
    """Add a verb. What it is about has one line in the help of all: at most 61 characters."""
    return verbs.add_parser(name, help=about, description=f"{about[0].upper()}{about[1:]}.", allow_abbrev=False)


def _add_run(verbs: "Verbs[Parser]") -> None:
    about = "have one agent do one task in a container, for its work"
    run = _verb(verbs, "run", about)
    run.add_argument("task", help="what the agent is to do")
    run.add_argument("--agent", metavar="KIND", help="agent kind (default: as configured, opencode)")
    run.add_argument("--workspace", default=".", metavar="DIR", help="folder to work on (default: .)")
    run.add_argument("--image", help="image to run the agent in; any glibc image (default: built on first use)")
    _add_model(run.add_argument_group("model"))
    run.add_argument("--permissions", choices=("allow", "deny"), default="allow", help="answer to permission requests")
    _add_sizes(run)
    _add_egress(run)
    _add_budget(run)
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


def _add_model(group: "argparse._ArgumentGroup") -> None:
    group.add_argument("--model", help="name of the model")
    group.add_argument(
        "--model-url", metavar="URL", help="address of the API that the agent speaks, as http(s)://host/v1"
    )
    group.add_argument("--model-key", metavar="SOURCE", help=_KEY)


def _add_sizes(verb: Parser) -> None:
    sandbox = verb.add_argument_group("sandbox", "instead of the preset's")
    sandbox.add_argument("--memory", type=int, metavar="MIB", help="memory, in MiB")
    sandbox.add_argument("--pids", type=int, metavar="N", help="processes at one time")
    sandbox.add_argument(
        "--runtime", metavar="NAME", help="what runs the container, as runsc, by its name on the engine"
    )


def _add_budget(verb: Parser) -> "argparse._ArgumentGroup":
    budget = verb.add_argument_group("budget", "of its calls of models, instead of the configured one")
    budget.add_argument("--budget-tokens", type=int, metavar="N", help="tokens; then the next call is refused")
    budget.add_argument("--budget-cost", type=float, metavar="USD", help="dollars; then the next call is refused")
    return budget


def _add_serve(verbs: "Verbs[Parser]") -> None:
    about = "start the daemon, as other verbs do by themselves"
    serve = _verb(verbs, "serve", about)
    serve.add_argument("--foreground", action="store_true", help="stay on the terminal and log to standard error")
    serve.add_argument("--replace", action="store_true", help="take over from the daemon that runs, with its subagents")
    serve.add_argument(
        "--idle-exit",
        type=float,
        metavar="SECONDS",
        help="end when nothing is open and nobody is connected for so long; 0 for never (default: as configured)",
    )
    serve.add_argument("--config", metavar="FILE", help="configuration file")
    serve.add_argument(
        "--unsafe-local",
        action="store_true",
        help="UNSAFE: run agents as processes of this machine, without containers (tests and development)",
    )


def _add(verbs: "Verbs[Parser]", name: str, about: str, *flags: str) -> Parser:
    """Add a verb that asks the daemon. `flags` names those it has of `json` and `quiet`."""
    verb = _verb(verbs, name, about)
    verb.add_argument("--parent", metavar="NAME", help="act for this parent (default: as the operator)")
    if "json" in flags:
        verb.add_argument("--json", action="store_true", help="one JSON object a line")
    if "quiet" in flags:
        verb.add_argument("-q", "--quiet", action="store_true", help="only what a program needs")
    return verb


def _add_egress(verb: argparse.ArgumentParser) -> None:
    group = verb.add_argument_group("what the sandbox reaches beside its model")
    group.add_argument(
        "--egress",
        action="append",
        default=[],
        metavar="RULE",
        help="a host to allow, as HOST, HOST:PORT or *.DOMAIN:PORT; may be given again",
    )
    group.add_argument(
        "--registry",
        action="append",
        default=[],
        metavar="NAME",
        help="a package registry to give it: apt, cargo, go, npm or pip; may be given again",
    )


def _add_spawn(verbs: "Verbs[Parser]") -> None:
    spawn = _add(verbs, "spawn", "start a background subagent with a task and print its id", "json", "quiet")
    spawn.add_argument("task", help="what the agent is to do first")
    spawn.add_argument("--agent", metavar="KIND", help="agent kind (default: as configured, opencode)")
    spawn.add_argument("--workspace", default=".", metavar="DIR", help="folder to work on (default: .)")
    spawn.add_argument("--cwd", metavar="PATH", help="the agent's folder below the workspace")
    spawn.add_argument("--purpose", help="what it is for, in a few words (default: the task's start)")
    spawn.add_argument("--role", choices=("leaf", "orchestrator"), help="whether it may have subagents (default: leaf)")
    spawn.add_argument("--preset", metavar="NAME", help="restricted, friendly, privileged, or one of your own")
    spawn.add_argument("--permissions", choices=("allow", "deny", "ask"), help="answer to permission requests")
    spawn.add_argument("--questions", choices=("ask", "refuse"), help="whether the agent may ask its parent")
    _add_sizes(spawn)
    _add_egress(spawn)
    budget = _add_budget(spawn)
    budget.add_argument("--soft-budget-tokens", type=int, metavar="N", help="tokens; then its parent is told")
    budget.add_argument("--soft-budget-cost", type=float, metavar="USD", help="dollars; then its parent is told")
    spawn.add_argument("--result-schema", metavar="FILE", help="JSON schema of the result that the agent is to report")
    spawn.add_argument("--one-shot", action="store_true", help="end with the first task, and keep nothing but its work")
    spawn.add_argument("--image", help="image to run the agent in")
    spawn.add_argument("--model", help="name of the model")
    spawn.add_argument("--model-url", metavar="URL", help="address of the model's API, as http(s)://host/v1")
    spawn.add_argument("--model-key", metavar="SOURCE", help=f"{_KEY}; read by the daemon")


def _add_messages(verbs: "Verbs[Parser]") -> None:
    send = _add(verbs, "send", "give a subagent another task", "json", "quiet")
    send.add_argument("id", help=_ID)
    send.add_argument("text", help="the task or message")
    send.add_argument("--steer", action="store_true", help="put it into the running task where the agent can take it")
    resume = _add(verbs, "resume", "start an ended subagent again with another task", "json", "quiet")
    resume.add_argument("id", help=_ID)
    resume.add_argument("text", help="the task")
    answer = _add(verbs, "answer", "answer a subagent's question by an option or in words", "json")
    answer.add_argument("id", help=_ID)
    answer.add_argument("option", nargs="?", default="", help="id of the option; `subagents show` lists them")
    answer.add_argument("--text", default="", help="answer in words, where the question takes them")
    answer.add_argument("--request", metavar="ID", help="which question, when there are several")


def _add_looks(verbs: "Verbs[Parser]") -> None:
    ps = _add(verbs, "ps", "list subagents", "json", "quiet")
    ps.add_argument("-a", "--all", action="store_true", help="ended ones too")
    show = _add(verbs, "show", "show one subagent with its tasks and questions", "json")
    show.add_argument("id", help=_ID)
    poll = _add(verbs, "poll", "print what a subagent said and did since the last poll", "json", "quiet")
    poll.add_argument("id", help=_ID)
    poll.add_argument("--since", type=int, metavar="SEQ", help="from this cursor; 0 is the beginning")
    poll.add_argument("--limit", type=int, default=500, metavar="N", help="at most so many events (default: 500)")
    nudges = _add(verbs, "nudges", "list what parents are to be told, and how far that is", "json")
    nudges.add_argument("--revive", metavar="NUDGE", help="offer this dead one to its parent again")
    nudges.add_argument("--state", choices=NUDGE_STATES, help="only those that are so far")
    nudges.add_argument("--limit", type=int, default=100, metavar="N", help="at most so many (default: 100)")
    work = _add(verbs, "work", "print what an ended subagent changed, as a patch", "json", "quiet")
    work.add_argument("id", help=_ID)
    search = _add(verbs, "search", "search tasks, results and transcripts", "json")
    search.add_argument("query", help="words to look for")
    search.add_argument("--limit", type=int, default=20, metavar="N", help="at most so many (default: 20)")
    usage = _add(verbs, "usage", "show what calls of models used: tokens and cost", "json")
    usage.add_argument("id", nargs="?", help="of this subagent only")
    by = ("task", "agent", "parent", "tree", "model")
    usage.add_argument("--by", choices=by, default="agent", help="default: agent")
    usage.add_argument("--tree", action="store_const", dest="by", const="tree", help="as --by tree: with all below it")
    budget = _add(verbs, "budget", "show what a subagent may use of its models, or change it", "json", "quiet")
    budget.add_argument("id", help=_ID)
    for name, metavar, what in (("tokens", "N", "tokens"), ("cost", "USD", "dollars")):
        then = "then the next call is refused; none: no such bound"
        budget.add_argument(f"--{name}", metavar=metavar, help=f"{what} from its spawn to its end, {then}")
        budget.add_argument(f"--soft-{name}", metavar=metavar, help=f"{what}, then its parent is told; or none")
    reached = _add(verbs, "reached", "show what sandboxes reached, and what was refused them", "json")
    reached.add_argument("id", nargs="?", help="by this subagent")
    reached.add_argument("--all", action="store_true", help="by every subagent, also deleted ones")
    reached.add_argument("--host", metavar="HOST", help="that host and those below it only")
    reached.add_argument("--refused", action="store_true", help="what was refused only")
    reached.add_argument("--limit", type=int, default=500, metavar="N", help="the newest N (default: 500)")
    about = "show or change what a preset's sandboxes may reach for good"
    allowed = _add(verbs, "allowed", about, "json", "quiet")
    change = allowed.add_mutually_exclusive_group()
    change.add_argument("--add", metavar="RULE", help="allow this rule to all subagents of --preset")
    change.add_argument("--revoke", metavar="RULE", help="take this rule back, from --preset or all that have it")
    allowed.add_argument("--preset", metavar="NAME", help="the preset that is meant")
    _add(verbs, "reload", "have the daemon read its configuration again", "json", "quiet")
    tree = _add(verbs, "tree", "show who leads whom", "json", "quiet")
    tree.add_argument("id", nargs="?", help="this one and all below it")
    tree.add_argument("--all", action="store_true", help="ended ones too")
    pause = _add(verbs, "pause", "let no parent spawn for now; what is under way goes on", "quiet")
    pause.add_argument("--off", action="store_true", help="let all go on")
    _add(verbs, "status", "show the daemon, its gateway, and what is not well", "json")
    _add(verbs, "df", "show what the store holds and takes", "json")


def _add_waits(verbs: "Verbs[Parser]") -> None:
    wait = _add(verbs, "wait", "wait until subagents have done their tasks or ask something", "json", "quiet")
    wait.add_argument("ids", nargs="+", metavar="id", help="ids, beginnings of them, or names")
    wait.add_argument("--first", action="store_true", help="return when one of them has")
    wait.add_argument("--change", action="store_true", help="return at any change")
    wait.add_argument("--timeout", type=float, default=3600.0, metavar="SECONDS", help="default: 3600")
    about = "show all subagents and what they do, and act on them by keys"
    _verb(verbs, "top", about)
    attach = _add(verbs, "attach", "show what a subagent does as it happens, and type to it")
    attach.add_argument("id", help=_ID)
    attach.add_argument("--steer", action="store_true", help="a line goes into the running task where that can be")
    logs = _add(verbs, "logs", "print a transcript, or a log", "json")
    logs.add_argument("id", nargs="?", help=_ID)
    logs.add_argument("-f", "--follow", action="store_true", help="go on with what comes")
    which = logs.add_mutually_exclusive_group()
    which.add_argument("--transcript", action="store_true", help="what the agent said and did (the default)")
    which.add_argument("--agent", action="store_true", help="what its program wrote beside the protocol")
    which.add_argument("--daemon", action="store_true", help="the daemon's own log")


def _add_ends(verbs: "Verbs[Parser]") -> None:
    stop = _add(verbs, "stop", "stop subagents and export their work", "json", "quiet")
    stop.add_argument("ids", nargs="+", metavar="id", help="ids, beginnings of them, or names")
    stop.add_argument("--task", action="store_true", help="cancel the running task only")
    stop.add_argument("--reason", default="", help="why, for the log")
    rm = _add(verbs, "rm", "delete the volumes, work and logs of ended subagents", "json", "quiet")
    rm.add_argument("ids", nargs="+", metavar="id", help="ids, beginnings of them, or names")
    rm.add_argument("--force", action="store_true", help="stop them first")
    prune = _add(verbs, "prune", "delete what is left of subagents that ended long ago", "json", "quiet")
    prune.add_argument(
        "--older-than", type=float, default=7.0, metavar="DAYS", help="of a machine that is awake; default: 7"
    )
    prune.add_argument("--dry-run", action="store_true", help="only say what would be deleted")
    about = "remove what dead managers left on the engine"
    reap = _verb(verbs, "reap", about)
    reap.add_argument("--dry-run", action="store_true", help="only say what would be removed, and why")
    reap.add_argument("--all", action="store_true", help="also say what stays since it is in use or wanted")
    reap.add_argument("--json", action="store_true", help="one JSON object a line, for everything that there is")
    reap.add_argument("-q", "--quiet", action="store_true", help="no summary")
    reap.add_argument(
        "--volumes-of",
        action="append",
        default=[],
        metavar="STORE",
        help="UNSAFE for unexported work: also the volumes of this other store, when its manager is dead",
    )


def _add_turn(verbs: "Verbs[Parser]") -> None:
    turn = _add(verbs, "turn", "print a parent's roster and nudges for one of its turns", "json", "quiet")
    turn.add_argument("--door", default="cli", metavar="NAME", help="through which door (default: cli)")
    turn.add_argument("--turn-id", metavar="ID", help="the same id gives the same block (default: a new one)")
    turn.add_argument("--commit", metavar="TOKEN", help="acknowledge a turn: its nudges are never shown again")


def _add_acp(verbs: "Verbs[Parser]") -> None:
    about = "stand between an editor and its agent, which gets subagents"
    proxy = _verb(verbs, "acp", about)
    proxy.add_argument(
        "--wake", action="store_true", help="begin a turn of the agent by itself when a subagent has news for it"
    )
    proxy.add_argument(
        "command",
        nargs=argparse.REMAINDER,
        metavar="-- COMMAND",
        help="the agent's command; without one, be a link of a conductor's chain",
    )
    inside = proxy.add_argument_group("sandbox", "an agent in a sandbox of its own, instead of a command")
    inside.add_argument("--agent", metavar="KIND", help="agent kind, as opencode; it works on a copy of the folder")
    inside.add_argument("--workspace", default=".", metavar="DIR", help="folder to work on (default: .)")
    inside.add_argument("--image", help="image to run the agent in; any glibc image (default: built on first use)")
    _add_model(inside)
    inside.add_argument("--config", metavar="FILE", help="configuration file")


def _add_mcp(verbs: "Verbs[Parser]") -> None:
    about = "be the MCP server of a client, or be installed as one"
    mcp = _verb(verbs, "mcp", about)
    mcp.add_argument(
        "what",
        nargs="?",
        choices=("install", "uninstall"),
        help="write the client's configuration and show how",
    )
    mcp.add_argument("--tools", default="background", metavar="SETS", help="tool sets, with commas between them")
    mcp.add_argument(
        "--client", default="mcp", metavar="NAME", help="what it is called; claude, codex, … to (un)install"
    )
    mcp.add_argument("--workspace", default=".", metavar="DIR", help="folder its subagents work on (default: .)")
    mcp.add_argument("--parent", metavar="NAME", help="be this parent (default: one of its own for each session)")
    mcp.add_argument("--project", action="store_true", help="(un)install in the configuration of the workspace")
    mcp.add_argument("--dry-run", action="store_true", help="(un)install: only show the change")


def _add_hook(verbs: "Verbs[Parser]") -> None:
    about = "install hooks, which tell a host's model what is due"
    hook = _verb(verbs, "hook", about)
    hook.add_argument("what", choices=("install", "uninstall"), help="write the host's settings, and show how")
    hook.add_argument("--client", required=True, metavar="NAME", help="claude, codex or gemini")
    hook.add_argument("--parent", metavar="NAME", help="install: be this parent, as its MCP server")
    hook.add_argument("--within", type=int, metavar="MS", help="install: their bound, on a slow machine (default: 180)")
    hook.add_argument("--project", action="store_true", help="in the settings of the workspace")
    hook.add_argument("--workspace", default=".", metavar="DIR", help="with --project: its folder (default: .)")
    hook.add_argument("--dry-run", action="store_true", help="only show the change")


def _add_helpers(verbs: "Verbs[Parser]") -> None:
    about = "show the configuration: path, init, check, show"
    config = _verb(verbs, "config", about)
    config.add_argument(
        "what",
        choices=("path", "init", "check", "show"),
        help="where the file is; write an example there; look for mistakes; what is in force",
    )
    config.add_argument("--origin", action="store_true", help="with show: where each value comes from")
    config.add_argument("--config", metavar="FILE", help="configuration file")
    about = "say what is missing here, and how to get it"
    doctor = _verb(verbs, "doctor", about)
    doctor.add_argument("--bundle", metavar="FILE", help="write a report without secrets to FILE, to send to others")
    doctor.add_argument("--config", metavar="FILE", help="configuration file")
    about = "print a completion script: bash, zsh, fish"
    completion = _verb(verbs, "completion", about)
    completion.add_argument("shell", choices=("bash", "zsh", "fish"), help="as in: source <(subagents completion bash)")
