"""What every wire format reads from a request, and what it is given to write. No I/O, no script language."""

from collections.abc import Sequence
from dataclasses import dataclass

from .script import Pause, Say
from .tools import Offer


class BadRequestError(ValueError):
    """A body that is no request of its format; the text says what is missing."""


@dataclass(frozen=True)
class Ask:
    """What matters of a request: the script it carries (or ""), and the texts of the tool results after it."""

    model: str
    script: str
    outputs: Sequence[str]
    offers: Sequence[Offer]
    streaming: bool
    wants_usage: bool
    prompt_tokens: int

    @property
    def results(self) -> int:
        return len(self.outputs)


@dataclass(frozen=True)
class Answer:
    """What is said, then the tool that is called (name, arguments) or None."""

    items: Sequence[Pause | Say]
    call: tuple[str, dict[str, object]] | None = None

    @property
    def text(self) -> str:
        return "".join(item.text for item in self.items if isinstance(item, Say))


def tokens(text: str) -> int:
    """Return a count of tokens that is the same for the same text, and never 0."""
    return len(text) // 4 + 1
