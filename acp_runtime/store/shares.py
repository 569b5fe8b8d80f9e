"""What a tree of subagents, and all below an outer parent, have come to: how many, since when, and what they used.

Those whose logs were deleted count as they did before.
"""

import sqlite3
from typing import Final

from acp_runtime.core.admission import Share, Taken
from acp_runtime.core.budget import Scope, Used
from acp_runtime.core.lineage import chain, leader_of, name_of
from acp_runtime.core.model import Subagent
from acp_runtime.store.awake import seconds_since
from acp_runtime.store.books import AS_USED
from acp_runtime.store.codec import storable
from acp_runtime.store.outbox import Moment
from acp_runtime.store.parents import resolve

_MEMBERS: Final = "SELECT id FROM subagent WHERE id = ? UNION SELECT subagent FROM kin WHERE above = ?"
_LIVING: Final = (
    f"SELECT (SELECT count(*) FROM ({_MEMBERS})) AS agents, {AS_USED} FROM spent WHERE subagent IN ({_MEMBERS})"  # noqa: S608
)
_BYGONE: Final = (
    "SELECT count(*) AS agents, coalesce(sum(tokens), 0) AS tokens, coalesce(sum(cost), 0) AS cost, "
    "coalesce(max(unpriced), '') AS unpriced FROM bygone WHERE above = ?"
)


def above(connection: sqlite3.Connection, state: Subagent) -> tuple[str, ...]:
    """Return the parents of a subagent by their own names, the nearest first and the root last."""
    return tuple(resolve(connection, storable(each)) for each in chain(state.parent, state.order.lineage))


def top_of(subagent: str, parents: tuple[str, ...]) -> str:
    """Return the subagent at the top of the tree of one with these parents."""
    return subagent if len(parents) == 1 else leader_of(parents[-2]) or subagent


def taken(connection: sqlite3.Connection, share: Share, subagent: str, parents: tuple[str, ...], now: Moment) -> Taken:
    """Return how far a scope of a subagent with these parents has come. It need not be stored itself."""
    top = top_of(subagent, parents)
    tree = share.scope is Scope.TREE
    own, name, key = (top, name_of(top), top) if tree else ("", parents[-1], parents[-1])
    living = connection.execute(_LIVING, (own, name, own, name)).fetchone()
    bygone = connection.execute(_BYGONE, (name,)).fetchone()
    used = _used(living).plus(_used(bygone))
    timed = tree and share.extent.wall is not None
    seconds = seconds_since(connection, top, now.boot, now.now) if timed else 0.0
    return Taken(key, living["agents"] + bygone["agents"], seconds, used)


def _used(row: sqlite3.Row) -> Used:
    return Used(row["tokens"] or 0, row["cost"] or 0, row["unpriced"] or "")
