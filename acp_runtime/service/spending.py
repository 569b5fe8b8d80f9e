"""Sums of calls as callers get them, and what the newest one says of its model."""

from collections.abc import Mapping
from typing import Any, Final

from acp_runtime.core.budget import NANOS
from acp_runtime.core.metering import CallEnd, ModelCalled
from acp_runtime.store.books import COUNTS, PREFIX
from acp_runtime.store.codec import decode, kind_of
from acp_runtime.views import Spending

SUMS: Final = ", ".join(f"coalesce(sum(spent.{each}), 0) AS {each}" for each in COUNTS)

NEWEST_CALL: Final = (
    f"iif(task.state = 'running', (SELECT data FROM event WHERE stream = '{PREFIX}' || task.subagent "  # noqa: S608
    "ORDER BY seq DESC LIMIT 1), NULL) AS newest_call"
)


def trouble(task: Mapping[str, Any], spent: Spending) -> str:
    """Say why its model does not answer a task that runs, by its row with `NEWEST_CALL`; empty where it does.

    An agent asks again for a minute and more before it says so itself.
    """
    event = decode(kind_of(ModelCalled), task["newest_call"]) if task["newest_call"] else None
    if not isinstance(event, ModelCalled) or event.task_id != task["id"] or event.call.end is not CallEnd.FAILED:
        return ""
    return (
        f"{event.call.why.rstrip('.') or 'The model answers with an error'} (calls that failed: {spent.failed_calls})"
    )


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
