"""How the host set-up speaks, and the one exception that ends it."""

import sys

ENGINE_UNAVAILABLE = 69  # the same code `subagents` gives when there is no engine


class Stop(Exception):  # noqa: N818 - reads as what it does
    """The set-up cannot go on. The text says what happened, which value, and what to do next."""

    def __init__(self, sentence: str, *, code: int = 1) -> None:
        super().__init__(sentence)
        self.code = code


def say(sentence: str) -> None:
    """One line for the person at the terminal, at once and on stderr: stdout belongs to data."""
    print(sentence, file=sys.stderr, flush=True)
