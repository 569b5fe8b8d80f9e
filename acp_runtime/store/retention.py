"""What is deleted, and when: whole logs of subagents some time after their end, once nothing of them is to be told.

A log is deleted with everything that was made from it; what stays is one fact in its parent's stream, so that a cursor
into it is answered. Turns go when no nudge that they told is left. Works on what the log says, so that `rebuild` gives
the same afterwards.
"""

import sqlite3
from dataclasses import dataclass
from typing import Final

from acp_runtime.core.errors import Rejected
from acp_runtime.core.ids import OPERATORS_OWN
from acp_runtime.core.lineage import PREFIX
from acp_runtime.core.turns import SubagentForgotten
from acp_runtime.store import books
from acp_runtime.store.parents import resolve
from acp_runtime.store.search import forget_tasks

MAX_AT_ONCE: Final = 1_000
PAGES_AT_ONCE: Final = 2_048
# After every event: what is dead may be removed by name.
NEVER: Final = 2**63 - 1
_OVER: Final = "subagent.lifecycle IN ('stopped', 'failed')"
# A dead letter stays visible as long as what was told.
_NOTHING_TO_TELL: Final = (
    "NOT EXISTS (SELECT 1 FROM nudge WHERE nudge.subagent = subagent.id "
    "AND (nudge.state IN ('pending', 'claimed') OR nudge.state = 'dead' AND nudge.dead_seq >= ?))"
)
# What the operator spawned has no parent that could be told: whoever prunes it is who may know of its end.
_NOBODYS: Final = f"subagent.parent = '{OPERATORS_OWN}'"
# Who led it has ended too, so that it may never be told; by name it can be removed all the same.
_NOBODY_TO_TELL: Final = (
    f"NOT EXISTS (SELECT 1 FROM subagent AS lead WHERE subagent.parent = '{PREFIX}' || lead.id "  # noqa: S608 - constants
    f"AND lead.lifecycle NOT IN ('stopped', 'failed')) AND subagent.parent LIKE '{PREFIX}%'"
)


@dataclass(frozen=True, slots=True)
class Ended:
    """A subagent that has ended. `kept` says that volumes of it may be left; `size` is that of its log in bytes."""

    id: str
    parent: str
    name: str
    kept: bool
    last_seq: int
    events: int
    size: int


@dataclass(frozen=True, slots=True)
class Figures:
    """What a store holds. Counts are of the caller's own, sizes in bytes of the whole store; `free` is reusable."""

    subagents: int
    open_subagents: int
    events: int
    nudges_open: int
    nudges_dead: int
    size: int
    free: int


def deletable(
    connection: sqlite3.Connection, parent: str | None, before: int, *, only: str | None = None
) -> tuple[str, ...]:
    """Return what ended before a cursor and has nobody to tell anything any more, oldest first, at most `MAX_AT_ONCE`.

    What could not be exported stays: its volume is all that there is of its work. `only` asks for one alone.
    """
    owner = None if parent is None else resolve(connection, parent)
    rows = connection.execute(
        f"SELECT id FROM subagent WHERE {_OVER} AND updated_seq < ? AND exported AND (? IS NULL OR id = ?) "  # noqa: S608
        "AND (? IS NULL OR id IN (SELECT subagent FROM kin WHERE above = ?)) "
        f"AND ({_NOTHING_TO_TELL} OR {_NOBODYS}) ORDER BY updated_seq LIMIT ?",
        (before, only, only, owner, owner, before, MAX_AT_ONCE),
    ).fetchall()
    return tuple(row["id"] for row in rows)


def removable(connection: sqlite3.Connection, subagent: str, *, by: str) -> Ended:
    """Return a subagent that a caller may delete now.

    Raises `Rejected`: still_open, and not_acknowledged where anybody but its parent would delete what its parent was
    not told yet, unless that is a subagent that has ended.
    """
    row = connection.execute(
        f"SELECT name, parent, {_OVER} AS over, {_NOTHING_TO_TELL} OR {_NOBODY_TO_TELL} AS told "  # noqa: S608 - constants
        "FROM subagent WHERE id = ?",
        (NEVER, subagent),
    ).fetchone()
    if row is None:
        raise Rejected("unknown_subagent", f"Unknown background subagent: {subagent}")
    if not row["over"]:
        raise Rejected("still_open", f"{row['name']} has not ended; stop it first")
    if by != "parent" and not row["told"]:
        untold = f"{row['name']} has nudges that its parent has not acknowledged"
        sentence = f"{untold}; remove it as that parent (--parent {row['parent']!r}), or let that take a turn first"
        raise Rejected("not_acknowledged", sentence)
    return ended(connection, subagent)


def ended(connection: sqlite3.Connection, subagent: str) -> Ended:
    """Return what is known of a subagent that has ended. Reads its whole log."""
    row = connection.execute(
        "SELECT id, parent, name, keep OR NOT exported AS kept, updated_seq FROM subagent WHERE id = ?",
        (subagent,),
    ).fetchone()
    count, size = connection.execute(
        "SELECT count(*), coalesce(sum(length(data)), 0) FROM event WHERE stream IN (?, ?)", _streams(subagent)
    ).fetchone()
    return Ended(row["id"], row["parent"], row["name"], bool(row["kept"]), row["updated_seq"], count, size)


def _streams(subagent: str) -> tuple[str, str]:
    return subagent, books.stream_of(subagent)


def forget(connection: sqlite3.Connection, ended: Ended, *, by: str, now: int) -> SubagentForgotten:
    """Delete a subagent's log and all that was made from it; return the fact to be stored instead."""
    parents = connection.execute("SELECT above FROM kin WHERE subagent = ? ORDER BY up", (ended.id,)).fetchall()
    fact = SubagentForgotten(
        at=now,
        parent=ended.parent,
        subagent=ended.id,
        name=ended.name,
        seq=ended.last_seq,
        by=by,
        above=tuple(str(row["above"]) for row in parents),
        used=books.used_by(connection, ended.id),
    )
    forget_tasks(connection, ended.id)
    connection.execute("DELETE FROM event WHERE stream IN (?, ?)", _streams(ended.id))
    for table in ("kin", "task", "request", "nudge", "cursor", "spent"):
        connection.execute(f"DELETE FROM {table} WHERE subagent = ?", (ended.id,))  # noqa: S608 - names of this line
    connection.execute("DELETE FROM subagent WHERE id = ?", (ended.id,))
    return fact


def forget_turns(connection: sqlite3.Connection, before: int) -> None:
    """Delete turns begun before a cursor that no nudge names, and marks of reading that say nothing any more.

    A turn after which its parent's user began none stays: it says when the parent was last seen, and who began it.
    """
    rows = connection.execute(
        "SELECT token, begun_seq, committed_seq FROM turn WHERE begun_seq < ? "
        "AND NOT EXISTS (SELECT 1 FROM nudge WHERE nudge.turn = turn.token) "
        "AND EXISTS (SELECT 1 FROM turn AS later WHERE later.parent = turn.parent AND later.origin = 'user' "
        "AND later.begun_seq > turn.begun_seq) LIMIT ?",
        (before, 10 * MAX_AT_ONCE),
    ).fetchall()
    for row in rows:
        connection.execute("DELETE FROM event WHERE seq IN (?, ?)", (row["begun_seq"], row["committed_seq"]))
        connection.execute("DELETE FROM turn WHERE token = ?", (row["token"],))
    connection.execute(
        "DELETE FROM event WHERE kind = 'turn_committed' AND seq < ? "
        "AND NOT EXISTS (SELECT 1 FROM turn WHERE turn.token = json_extract(data, '$.token'))",
        (before,),
    )
    connection.execute(
        "DELETE FROM event WHERE kind = 'subagent_read' AND seq < ? AND NOT EXISTS (SELECT 1 FROM cursor "
        "WHERE cursor.subagent = json_extract(data, '$.subagent') AND cursor.read_seq = json_extract(data, '$.seq'))",
        (before,),
    )


def give_back(connection: sqlite3.Connection) -> bool:
    """Give some of the free pages back to the disk. Return whether there are more that can be given."""
    before = _free(connection)
    # As a script: a statement would be stepped once, which frees one page.
    connection.executescript(f"PRAGMA incremental_vacuum({PAGES_AT_ONCE})")
    return 0 < _free(connection) < before


def _free(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA freelist_count").fetchone()[0])


def figures(connection: sqlite3.Connection, parent: str | None) -> Figures:
    """Return what the store holds of a parent, or of all, and how large it is."""
    owner = None if parent is None else resolve(connection, parent)
    mine = (owner, owner)
    subagents, still_open = connection.execute(
        f"SELECT count(*), coalesce(sum(NOT {_OVER}), 0) FROM subagent WHERE ? IS NULL OR parent = ?",  # noqa: S608
        mine,
    ).fetchone()
    waiting, dead = connection.execute(
        "SELECT coalesce(sum(state IN ('pending', 'claimed')), 0), coalesce(sum(state = 'dead'), 0) FROM nudge "
        "WHERE ? IS NULL OR parent = ?",
        mine,
    ).fetchone()
    (events,) = connection.execute(
        "SELECT count(*) FROM event WHERE ? IS NULL OR stream IN (SELECT id FROM subagent WHERE parent = ?)", mine
    ).fetchone()
    page, pages, free = (
        connection.execute(f"PRAGMA {each}").fetchone()[0] for each in ("page_size", "page_count", "freelist_count")
    )
    return Figures(subagents, still_open, events, waiting, dead, page * pages, page * free)
