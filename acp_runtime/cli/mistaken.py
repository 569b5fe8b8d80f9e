"""What a person is told whose command line cannot be understood, with the word that was probably meant."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Final

from acp_runtime.cli.parser import Parser
from acp_runtime.core.plaintext import one_line

# What other programs call what a verb of ours does.
_ELSEWHERE: Final = {
    "cancel": "stop", "clean": "prune", "cost": "usage", "daemon": "serve", "delete": "rm", "diff": "work",
    "kill": "stop", "list": "ps", "ls": "ps", "patch": "work", "remove": "rm", "start": "spawn", "version": "--version",
}  # fmt: skip


def unknown_verb(word: str, verbs: Iterable[str]) -> str:
    """Return the sentence for a first word that is no verb."""
    sentence = f"there is no verb {one_line(word, 60)!r}"
    return f"{sentence}; did you mean {_ELSEWHERE[word]}?" if word in _ELSEWHERE else sentence + _meant(word, verbs)


def too_early(word: str, parser: Parser) -> str | None:
    """Return the sentence for an option that stands before the verb and does not belong there, else None."""
    option = word.partition("=")[0]  # what follows may be a key
    if any(known.startswith(option) for each in parser._actions for known in each.option_strings):  # noqa: SLF001
        return None
    return f"option {one_line(option, 60)} stands before the verb; options come after it: subagents VERB OPTIONS"


def left_over(rest: list[str], verb: Parser) -> str:
    """Return the sentence for what a verb does not take. Options are named without values: one of them may be a key."""
    actions = verb._actions  # noqa: SLF001 - argparse has no public list of what a parser takes
    unknown = [word.partition("=")[0] for word in rest if word.startswith("-")]
    if unknown:
        known = [name for each in actions for name in each.option_strings]
        return f"unknown option {one_line(', '.join(unknown), 200)}{_meant(unknown[0], known)}"
    if any(each.dest in ("task", "text") and not each.option_strings for each in actions):
        return "the task is one argument; put it in quotes"
    return f"{one_line(rest[0], 60)!r} is one argument too many"


def _meant(word: str, known: Iterable[str]) -> str:
    near = get_close_matches(word, known, 1)
    return f"; did you mean {near[0]}?" if near else ""
