"""Sums of calls as callers get them."""

from collections.abc import Mapping
from typing import Any, Final

from acp_runtime.core.budget import NANOS
from acp_runtime.store.books import COUNTS
from acp_runtime.views import Spending

SUMS: Final = ", ".join(f"coalesce(sum(spent.{each}), 0) AS {each}" for each in COUNTS)


def spending(*rows: Mapping[str, Any]) -> Spending:
    """Return the sum of rows that hold `SUMS`."""
    total = {name: sum(row[name] for row in rows) for name in COUNTS}
    kinds = (total["input"], total["cached_input"], total["cache_write"], total["output"])
    unknown_cost = (total["unpriced"] or total["unknown"]) and not total["cost"]
    return Spending(
        calls=total["calls"],
        refused_calls=total["refused"],
        failed_calls=total["failed"],
        unknown_calls=total["unknown"],
        unpriced_calls=total["unpriced"],
        tokens=sum(kinds),
        input_tokens=total["input"],
        cached_input_tokens=total["cached_input"],
        cache_write_tokens=total["cache_write"],
        output_tokens=total["output"],
        reasoning_tokens=total["reasoning"],
        cost_usd=None if unknown_cost else total["cost"] / NANOS,
    )
