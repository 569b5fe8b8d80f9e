"""Which numbers and words a caller may give: what store and clocks can work with, told by name and value where not."""

from typing import Final

from acp_runtime.core.errors import Rejected
from acp_runtime.core.model import LONGEST_SECONDS
from acp_runtime.core.plaintext import one_line

MAX_CURSOR: Final = 2**63 - 1
MAX_WORD: Final = 200
MAX_REASON: Final = 1_000


def cursor(name: str, value: int) -> int:
    """Return a cursor of the log. Raises `Rejected` (invalid) for a number that the log cannot have."""
    if not 0 <= value <= MAX_CURSOR:
        raise Rejected("invalid", f"{name} is {value}; it must be a cursor of the log, at most {MAX_CURSOR}")
    return value


def word(name: str, value: str) -> str:
    """Return a word by which a caller calls something. Raises `Rejected` (invalid) for a blank or a long one."""
    if not value.strip():
        raise Rejected("invalid", f"{name} is blank; give a word of at most {MAX_WORD} characters")
    if len(value) > MAX_WORD:
        raise Rejected("invalid", f"{name} is {len(value)} characters long; at most {MAX_WORD} are allowed")
    return value


def short_reason(given: str, usual: str) -> str:
    """Return why somebody ends something: on one line, in `MAX_REASON` characters; `usual` where nothing is said."""
    return one_line(given, MAX_REASON) or usual


def duration(name: str, value: float) -> float:
    """Return a number of seconds from 0 on. Raises `Rejected` (invalid), also for what is no number."""
    if not 0 <= value <= LONGEST_SECONDS:
        raise Rejected(
            "invalid", f"{name} is {value:g}; it must be a number of seconds from 0 to {LONGEST_SECONDS:.0f}"
        )
    return value
