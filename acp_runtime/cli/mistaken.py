"""What a person is told whose command line cannot be understood, with the word that was probably meant."""

from collections.abc import Iterable
from difflib import get_close_matches

from acp_runtime.cli.parser import Parser
from acp_runtime.core.plaintext import one_line


def unknown_verb(word: str, verbs: Iterable[str]) -> str:
    """Return the sentence for a first word that is no verb."""
    return f"there is no verb {one_line(word, 60)!r}{_meant(word, verbs)}"


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
