"""Measures what is carried to a model: one observer for each exchange, one `Call` at its end.

Promises that it never disturbs the carrying, and that whatever is posted to a model and may be charged is counted: with
its tokens where the answer tells them, with an estimate where it does not.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import h11

from acp_runtime.carrying.observer import Ending
from acp_runtime.clock import Clock
from acp_runtime.core.metering import Call, CallEnd, Usage
from acp_runtime.core.prices import Prices
from acp_runtime.models.formats import Answer, Asked, no_batches, over_budget
from acp_runtime.models.purse import Purse

__all__ = ["Meter", "Metering"]

_BYTES_PER_TOKEN: Final = 4  # of plain text about; documents around it make an estimate too high, never too low


@dataclass(frozen=True, slots=True)
class Metering:
    """What the calls of one subagent are measured with, and the purses that pay each of them.

    `tell` gets each call when it is over.
    """

    subagent: str
    prices: Prices
    purses: tuple[Purse, ...]
    clock: Clock
    tell: Callable[[Call], None]


class Meter:
    """An observer of one exchange. Only what counts as a call is told."""

    def __init__(self, metering: Metering) -> None:
        self._metering = metering
        self._began = metering.clock.now()
        self._asked = Asked(b"", b"")
        self._answer: Answer | None = None
        self._up = self._down = 0
        self._over_budget = ""

    def admit(self, target: bytes) -> None:
        """Raise Refusal, in the form of the API at `target`, for what is beyond the budget or cannot be counted."""
        if self._asked.later:
            raise no_batches(target)
        why = next((each.refusal for each in self._metering.purses if each.refusal is not None), None)
        if why is not None and self._asked.charged:
            self._over_budget = why
            raise over_budget(target, why)

    def on_request(self, request: h11.Request) -> None:
        self._asked = Asked(request.method, request.target)

    def on_request_body(self, data: bytes) -> None:
        self._up += len(data)
        self._asked.feed(data)

    def on_answer(self, head: h11.Response) -> None:
        if head.status_code < 400:
            self._answer = Answer()

    def on_answer_body(self, data: bytes) -> None:
        self._down += len(data)
        if self._answer is not None:
            self._answer.feed(data)

    def on_end(self, ending: Ending) -> None:
        if self._asked.charged:
            call = self._call(ending)
            for purse in self._metering.purses:
                purse.take(call)
            self._metering.tell(call)

    def _call(self, ending: Ending) -> Call:
        metering, answer = self._metering, self._answer
        model, usage, final = self._asked.model, None, False
        if answer is not None:
            answer.finish()
            model, usage, final = answer.model or model, answer.usage, answer.final
        end = CallEnd.OVER_BUDGET if self._over_budget else _end(ending, final=final)
        untold = self._untold(end, usage)
        return Call(
            subagent=metering.subagent,
            began=self._began,
            model=model,
            end=end,
            usage=usage,
            estimate=untold.total,
            cost=self._cost(model, usage or Usage()),
            estimate_cost=self._cost(model, untold) or 0,
            why=self._over_budget or ending.why or "",
            boot=metering.clock.boot,
        )

    def _cost(self, model: str, usage: Usage) -> int | None:
        """Return the cost by the model that answered, or else by the one that was asked for."""
        cost = self._metering.prices.cost(model, usage)
        return self._metering.prices.cost(self._asked.model, usage) if cost is None else cost

    def _untold(self, end: CallEnd, usage: Usage | None) -> Usage:
        """Return an estimate of what the answer did not tell."""
        if end is CallEnd.BROKEN or (end is CallEnd.ANSWERED and usage is None):
            return Usage(input=_tokens(self._up) if usage is None else 0, output=_tokens(self._down))
        return Usage()


def _tokens(size: int) -> int:
    return -(-size // _BYTES_PER_TOKEN)


def _end(ending: Ending, *, final: bool) -> CallEnd:
    """Return how a call ended. A client may leave as soon as it has what it wanted."""
    if (ending.status or 0) >= 500:
        return CallEnd.FAILED
    if ending.how == "refused":
        return CallEnd.REFUSED
    if (ending.status or 0) >= 400:
        return CallEnd.FAILED
    return CallEnd.ANSWERED if final or ending.how == "answered" else CallEnd.BROKEN
