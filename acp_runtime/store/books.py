"""What calls of models used: who is charged with a call, and the sums.

Calls have a stream of their own beside that of their subagent, so that they are no news for its readers; it is deleted
with the subagent's.
"""

import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import fields, replace
from typing import Final

from acp_runtime.core.budget import Used
from acp_runtime.core.events import Event
from acp_runtime.core.metering import Call, CallEnd, ModelCalled, Spent
from acp_runtime.store.awake import older
from acp_runtime.store.projections import Row

PREFIX: Final = "calls:"
COUNTS: Final = tuple(each.name for each in fields(Spent))
_PUT: Final = (
    f"INSERT INTO spent (subagent, task, model, {', '.join(COUNTS)}) VALUES ({', '.join('?' * (len(COUNTS) + 3))}) "  # noqa: S608
    f"ON CONFLICT DO UPDATE SET {', '.join(f'{each} = {each} + excluded.{each}' for each in COUNTS)}"
)

# What counts against the budget of each subagent that called a model, in the fields of `Used`.
AS_USED: Final = (
    "sum(input + cached_input + cache_write + output + estimate) AS tokens, sum(cost + estimate_cost) AS cost, "
    "max(iif(unpriced, iif(model = '', '?', model), '')) AS unpriced"
)
USED: Final = f"SELECT subagent, {AS_USED} FROM spent GROUP BY subagent"  # noqa: S608 - a constant
PLACE: Final = "SELECT value FROM meta WHERE key = 'ledger'"

# Who is above each of some subagents, the nearest first.
ABOVE: Final = (
    "SELECT subagent, above FROM kin WHERE subagent IN (SELECT value FROM json_each(?)) ORDER BY subagent, up"
)

# What counts against budgets of what those used whose logs were deleted.
BYGONE: Final = (
    "SELECT above, sum(tokens) AS tokens, sum(cost) AS cost, max(unpriced) AS unpriced FROM bygone GROUP BY above"
)

# The names of models under which each subagent has calls.
MODELS: Final = "SELECT DISTINCT subagent, model FROM spent"

Append = Callable[[sqlite3.Connection, str, ModelCalled], Row]


def stream_of(subagent: str) -> str:
    """Return the name of the stream of a subagent's calls."""
    return PREFIX + subagent


def used_by(connection: sqlite3.Connection, subagent: str) -> Used:
    """Return what counts against the budget of one subagent."""
    row = connection.execute(f"SELECT {AS_USED} FROM spent WHERE subagent = ?", (subagent,)).fetchone()  # noqa: S608
    return Used(row["tokens"] or 0, row["cost"] or 0, row["unpriced"] or "")


def book(connection: sqlite3.Connection, calls: Iterable[Call], place: str, append: Append, now: int) -> None:
    """Charge tasks and subagents with calls. One of a subagent that the store does not know any more is dropped.

    `place` is how far the ledger was read for them; it is what `PLACE` finds.
    """
    connection.execute("INSERT OR REPLACE INTO meta (key, value) VALUES ('ledger', ?)", (place,))
    for call in calls:
        known = connection.execute("SELECT 1 FROM subagent WHERE id = ?", (call.subagent,)).fetchone()
        if known is not None:
            event = ModelCalled(at=now, call=call, task_id=_task_at(connection, call))
            fold_call(connection, append(connection, stream_of(call.subagent), event).event)


def _task_at(connection: sqlite3.Connection, call: Call) -> str | None:
    """Return the task that was with the agent when a call began: tasks are worked on one after the other.

    By its place in the log: a date may have been set meanwhile. A task that was put back and started again is told by
    its newest start only, so it counts from when it was queued.
    """
    behind = older(connection, call.boot, call.began + 1, 0)
    row = connection.execute(
        "SELECT id FROM task WHERE subagent = ? AND started_seq IS NOT NULL AND (ended_seq IS NULL OR ended_seq >= ?) "
        "AND (started_seq < ? OR retries > 0 AND queued_seq < ?) ORDER BY number LIMIT 1",
        (call.subagent, behind, behind, behind),
    ).fetchone()
    return None if row is None else str(row["id"])


def fold_call(connection: sqlite3.Connection, event: Event) -> None:
    """Project one event of a stream of calls."""
    if not isinstance(event, ModelCalled):
        return
    call, spent = event.call, spent_by(event.call)
    values = [getattr(spent, each) for each in COUNTS]
    connection.execute(_PUT, (call.subagent, event.task_id or "", call.model, *values))


def spent_by(call: Call) -> Spent:
    """Return one call as a sum."""
    usage = call.usage
    known = usage is not None and call.end is not CallEnd.BROKEN
    counts = Spent(
        calls=call.times,
        refused=call.times if call.end in (CallEnd.REFUSED, CallEnd.OVER_BUDGET) else 0,
        failed=call.times if call.end is CallEnd.FAILED else 0,
        unknown=call.times if call.charged and not known else 0,
        unpriced=call.times if call.charged and call.cost is None else 0,
        estimate=call.estimate,
        cost=call.cost or 0,
        estimate_cost=call.estimate_cost,
    )
    if usage is None:
        return counts
    return replace(
        counts,
        input=usage.input,
        cached_input=usage.cached_input,
        cache_write=usage.cache_write,
        output=usage.output,
        reasoning=usage.reasoning,
    )
