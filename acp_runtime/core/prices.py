"""What models cost. A price that is not known is None, never 0.

Amounts are exact: decimal in a table, whole nano-dollars in a result.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Final

from acp_runtime.core.metering import Usage

_NANOS_PER_TOKEN: Final = 1_000  # of one dollar per million tokens
# `-2026-01-31`, `-20260131`, `@20260131`, and the word for the newest one.
_DATE: Final = re.compile(r"(?:[-@]\d{4}-?\d{2}-?\d{2}|[-@]latest)$")


@dataclass(frozen=True, slots=True)
class Price:
    """USD per million tokens of a model, for calls with a prompt of more than `prompt_over` tokens."""

    model: str
    input: Decimal
    output: Decimal
    cached_input: Decimal
    cache_write: Decimal
    cache_write_hour: Decimal
    prompt_over: int = 0

    @classmethod
    def of(
        cls,
        model: str,
        *,
        input: Decimal,  # noqa: A002 - the word of the table
        output: Decimal,
        cached_input: Decimal | None = None,
        cache_write: Decimal | None = None,
        cache_write_hour: Decimal | None = None,
        prompt_over: int = 0,
    ) -> "Price":
        """Return a price; what is left out costs what is sent anew, an hour in a cache what a cache costs."""
        write = input if cache_write is None else cache_write
        hour = write if cache_write_hour is None else cache_write_hour
        return cls(model, input, output, input if cached_input is None else cached_input, write, hour, prompt_over)

    def cost(self, usage: Usage) -> int:
        """Return what an answer cost, in nano-dollars, rounded to the nearest."""
        dollars = (
            self.input * usage.input
            + self.cached_input * usage.cached_input
            + self.cache_write * (usage.cache_write - usage.cache_write_hour)
            + self.cache_write_hour * usage.cache_write_hour
            + self.output * usage.output
        )
        return int((dollars * _NANOS_PER_TOKEN).to_integral_value(ROUND_HALF_UP))


class Prices:
    """Finds the price of a model. Rows that are given later go before equal ones of before."""

    def __init__(self, rows: Iterable[Price]) -> None:
        self._rows: dict[str, dict[int, Price]] = {}
        for row in rows:
            self._rows.setdefault(row.model.lower(), {})[row.prompt_over] = row

    def with_own(self, rows: Iterable[Price]) -> "Prices":
        """Return these prices with those of a user, whose models have no others."""
        both = Prices(rows)
        both._rows = self._rows | both._rows
        return both

    def cost(self, model: str, usage: Usage) -> int | None:
        """Return what an answer of a model cost in nano-dollars, None where its price is not known."""
        rows = next((self._rows[name] for name in _names(model) if name in self._rows), {})
        fitting = [over for over in rows if over == 0 or usage.prompt > over]
        return rows[max(fitting)].cost(usage) if fitting else None


def _names(model: str) -> Iterator[str]:
    """Yield the names under which a model may be listed: as it is, without a date, without its provider."""
    plain = model.lower()
    for name in (plain, plain.rpartition("/")[2]):
        yield name
        yield _DATE.sub("", name)
