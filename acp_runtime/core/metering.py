"""What calls of models used: tokens and cost of one call, and of many. Pure.

Money is counted in whole nano-dollars (10^-9 USD), so that no sum depends on its order.
"""

from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Final

from acp_runtime.core.budget import Used
from acp_runtime.core.events import Event

MAX_TOKENS: Final = 2**40  # of one call; what is beyond is no count


class CallEnd(StrEnum):
    """How a call ended. `FAILED`: with an error, or no answer; `BROKEN`: in the middle of one; `REFUSED`: by us.

    `OVER_BUDGET`: refused by us, since the budget is used up.
    """

    ANSWERED = "answered"
    FAILED = "failed"
    BROKEN = "broken"
    REFUSED = "refused"
    OVER_BUDGET = "over_budget"


@dataclass(frozen=True, slots=True)
class Usage:
    """The tokens of one answer, as its provider counts them.

    The four parts add up: `input` is what was read anew, `cached_input` what came from a cache, `cache_write` what was
    put into one. `cache_write_hour` is the part of `cache_write` that is kept for an hour, `reasoning` the part of
    `output` that is not shown.
    """

    input: int = 0
    cached_input: int = 0
    cache_write: int = 0
    output: int = 0
    reasoning: int = 0
    cache_write_hour: int = 0

    @property
    def prompt(self) -> int:
        """All that was sent, however it was counted."""
        return self.input + self.cached_input + self.cache_write

    @property
    def total(self) -> int:
        return self.prompt + self.output

    def plus(self, other: "Usage") -> "Usage":
        return Usage(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a model, when it was over. `began` is how far the clock of `boot` had come then, in milliseconds.

    `usage` is None where the answer did not tell it, and a lower bound where that broke off. `estimate` is what a
    budget counts for what was not told, by the sizes of request and answer. `cost` and `estimate_cost` are those of
    `usage` and `estimate`; `cost` is None where nobody knows the price of `model`. `why` says what went wrong.
    `times`: it stands for so many calls, which are summed in it.
    """

    subagent: str
    began: int
    model: str
    end: CallEnd
    usage: Usage | None = None
    estimate: int = 0
    cost: int | None = None
    estimate_cost: int = 0
    why: str = ""
    times: int = 1
    boot: str = ""

    @property
    def charged(self) -> bool:
        """Whether its provider heard of it and may charge for it."""
        return self.end in (CallEnd.ANSWERED, CallEnd.BROKEN)

    @property
    def sort(self) -> tuple[str, str, CallEnd, bool, bool]:
        """What calls that may be summed have in common."""
        return self.subagent, self.model, self.end, self.usage is None, self.cost is None

    def with_another(self, other: "Call") -> "Call":
        """Return the sum with a call of the same sort, as of this one's time."""
        usage = self.usage
        if usage is not None and other.usage is not None:
            usage = usage.plus(other.usage)
        return replace(
            self,
            usage=usage,
            estimate=self.estimate + other.estimate,
            cost=None if self.cost is None else self.cost + (other.cost or 0),
            estimate_cost=self.estimate_cost + other.estimate_cost,
            times=self.times + other.times,
        )

    def on_top_of(self, used: Used) -> Used:
        """Return what was used with it."""
        if not self.charged:
            return used
        tokens = self.estimate + (self.usage.total if self.usage is not None else 0)
        unpriced = (self.model or "?") if self.cost is None else used.unpriced
        return Used(used.tokens + tokens, used.cost + (self.cost or 0) + self.estimate_cost, unpriced)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCalled(Event):
    """A call of a model was over; `task_id` is the task that it was made for, None where none was running then."""

    call: Call
    task_id: str | None


METER_EVENTS: tuple[type[Event], ...] = (ModelCalled,)


@dataclass(frozen=True, slots=True)
class Spent:
    """The sum of calls. `refused` ones never left this machine, `failed` ones got no answer but an error.

    `unknown` did not tell all of their tokens; `estimate` and `estimate_cost` are what a budget counts for the rest.
    `unpriced` used a model whose price is not known; `cost` does not hold theirs.
    """

    calls: int = 0
    refused: int = 0
    failed: int = 0
    unknown: int = 0
    unpriced: int = 0
    input: int = 0
    cached_input: int = 0
    cache_write: int = 0
    output: int = 0
    reasoning: int = 0
    estimate: int = 0
    cost: int = 0
    estimate_cost: int = 0
