"""What a task wanted to reach and was refused: asked of its parent once, while the agent goes on without it. Pure.

A wish is the narrowest rule that would have let it through: one host and one port. Its answer holds for the task alone;
`ALWAYS`, which only the operator may choose, is kept by whoever takes the answer.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from acp_runtime.core.model import Task

__all__ = ["ALLOW", "ALWAYS", "MOST_UNMET", "REFUSE", "Verdict", "Wish", "answered", "granted", "may_ask", "title"]

MOST_UNMET: Final = 16
"""So many wishes of one task may be open or refused: an agent cannot keep its parent busy with ever new ones."""
ALLOW: Final = "allow"
ALWAYS: Final = "always"
REFUSE: Final = "refuse"


class Verdict(StrEnum):
    """What became of a wish."""

    OPEN = "open"
    ALLOWED = "allowed"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Wish:
    """One rule that a task lacked, and the request by which it was asked for."""

    request_id: str
    rule: str
    verdict: Verdict = Verdict.OPEN


def may_ask(wishes: Iterable[Wish], rule: str) -> bool:
    """Tell whether a rule may be asked for: not twice in a task, and not beside too many that were not met."""
    found = tuple(wishes)
    unmet = sum(each.verdict is not Verdict.ALLOWED for each in found)
    return unmet < MOST_UNMET and all(each.rule != rule for each in found)


def answered(wishes: Iterable[Wish], request_id: str, answer: str) -> tuple[Wish, ...]:
    """Return the wishes after one was answered. One that nobody answered may be asked for again."""
    met = Verdict.ALLOWED if answer in (ALLOW, ALWAYS) else Verdict.REFUSED
    return tuple(
        replace(each, verdict=met) if each.request_id == request_id else each
        for each in wishes
        if answer or each.request_id != request_id
    )


def granted(task: "Task | None") -> tuple[str, ...]:
    """Return the rules that were allowed for the task that is with the agent."""
    wishes = () if task is None else task.wishes
    return tuple(each.rule for each in wishes if each.verdict is Verdict.ALLOWED)


def title(rule: str) -> str:
    """Return what is asked."""
    return f"reach {rule}, which no egress rule allows; it goes on without it meanwhile"
