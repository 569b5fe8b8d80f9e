"""What readers see of parents: turns, the state of their nudges, aliases, cursors. Fold steps of a parent's stream.

A parent's other names are resolved wherever a name comes in, so that every row names the parent itself.
"""

import json
import sqlite3
from typing import Final

from acp_runtime.core.events import Event
from acp_runtime.core.turns import (
    NudgesDied,
    NudgesRevived,
    Origin,
    ParentAliased,
    SubagentForgotten,
    SubagentRead,
    TurnBegun,
    TurnCommitted,
)

PREFIX: Final = "parent:"
# The parent that a name belongs to, inside a statement; the name stands for both marks.
OWNER: Final = "coalesce((SELECT alias.parent FROM alias WHERE alias.alias = ?), ?)"


def stream_of(parent: str) -> str:
    """Return the name of a parent's stream in the log."""
    return PREFIX + parent


def resolve(connection: sqlite3.Connection, name: str) -> str:
    """Return the parent that a name belongs to: the name itself where it is no alias."""
    row = connection.execute("SELECT parent FROM alias WHERE alias = ?", (name,)).fetchone()
    return str(row[0]) if row is not None else name


def forgotten(connection: sqlite3.Connection, parent: str | None, subagent: str) -> bool:
    """Return whether the log of a subagent of a parent, or of any for None, was deleted."""
    row = connection.execute("SELECT parent FROM forgotten WHERE subagent = ?", (subagent,)).fetchone()
    return row is not None and (parent is None or resolve(connection, parent) == row[0])


def read_up_to(connection: sqlite3.Connection, parent: str, subagent: str) -> int:
    """Return how far a parent has read a subagent's log."""
    row = connection.execute(
        "SELECT read_seq FROM cursor WHERE parent = ? AND subagent = ?", (resolve(connection, parent), subagent)
    ).fetchone()
    return int(row[0]) if row is not None else 0


def fold_parent(connection: sqlite3.Connection, event: Event, *, seq: int, wall: str, boot: str) -> None:
    """Project one event of a parent's stream."""
    match event:
        case TurnBegun():
            _begin(connection, event, seq=seq, boot=boot)
        case TurnCommitted():
            _commit(connection, event, seq)
        case SubagentRead():
            _read(connection, event)
        case ParentAliased():
            _alias(connection, event)
        case NudgesDied(nudges=nudges, reason=reason):
            connection.executemany(
                "UPDATE nudge SET state = 'dead', dead = ?, dead_seq = ? WHERE id = ? "
                "AND state IN ('pending', 'claimed')",
                [(reason, seq, nudge) for nudge in nudges],
            )
        case NudgesRevived(nudges=nudges):
            connection.executemany(
                "UPDATE nudge SET state = 'pending', dead = '', dead_seq = NULL, offers = 0, turn = NULL "
                "WHERE id = ? AND state = 'dead'",
                [(nudge,) for nudge in nudges],
            )
        case SubagentForgotten():
            connection.execute(
                "INSERT INTO forgotten VALUES (?, ?, ?, ?, ?)",
                (event.subagent, event.parent, event.name, event.seq, wall),
            )
            used = event.used
            connection.executemany(
                "INSERT INTO bygone VALUES (?, ?, ?, ?, ?)",
                [
                    (above, event.subagent, used.tokens, used.cost, used.unpriced)
                    for above in event.above or (event.parent,)
                ],
            )
        case _:
            pass


def _begin(connection: sqlite3.Connection, event: TurnBegun, *, seq: int, boot: str) -> None:
    connection.execute(
        "INSERT INTO turn (token, parent, door, turn_id, origin, text, nudges, boot, expires, begun_seq) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            event.token, event.parent, event.door, event.turn_id, event.origin, event.text, json.dumps(event.nudges),
            boot, event.expires, seq,
        ),
    )  # fmt: skip
    connection.executemany(
        "UPDATE nudge SET state = 'claimed', turn = ?, offers = offers + 1 WHERE id = ? "
        "AND state IN ('pending', 'claimed')",
        [(event.token, nudge) for nudge in event.nudges],
    )
    woken = int(event.origin is Origin.WAKE)
    connection.execute(
        "INSERT INTO parent VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET turn_seq = excluded.turn_seq, "
        "wakes = CASE WHEN ? THEN wakes WHEN excluded.wakes THEN wakes + 1 ELSE 0 END",
        (event.parent, woken, seq, event.origin is Origin.ANSWER),
    )


def _commit(connection: sqlite3.Connection, event: TurnCommitted, seq: int) -> None:
    """Close what the turn told. A dead letter that was seen after all is seen."""
    if event.only is None:
        connection.execute("UPDATE turn SET committed_seq = ? WHERE token = ?", (seq, event.token))
    only = None if event.only is None else json.dumps(event.only)
    connection.execute(
        "UPDATE nudge SET state = 'committed', turn = ?, dead = '', dead_seq = NULL, closed_seq = ? "
        "WHERE state IN ('pending', 'claimed', 'dead') "
        "AND id IN (SELECT value FROM json_each((SELECT nudges FROM turn WHERE token = ?))) "
        "AND (? IS NULL OR id IN (SELECT value FROM json_each(?)))",
        (event.token, seq, event.token, only, only),
    )


def _read(connection: sqlite3.Connection, event: SubagentRead) -> None:
    # A subagent that was forgotten has no cursor: a rebuild, which does not know it, must make none either.
    connection.execute(
        "INSERT INTO cursor SELECT ?, id, ? FROM subagent WHERE id = ? "
        "ON CONFLICT DO UPDATE SET read_seq = max(read_seq, excluded.read_seq)",
        (event.parent, event.seq, event.subagent),
    )


def _alias(connection: sqlite3.Connection, event: ParentAliased) -> None:
    """Make a name an alias; what it had as a parent of its own goes over. Turns of equal ids stay where they are."""
    both = (event.parent, event.alias)
    connection.execute("UPDATE alias SET parent = ? WHERE parent = ?", both)
    connection.execute(
        "INSERT INTO alias VALUES (?, ?) ON CONFLICT DO UPDATE SET parent = excluded.parent",
        (event.alias, event.parent),
    )
    for table in ("subagent", "nudge", "forgotten"):
        connection.execute(f"UPDATE {table} SET parent = ? WHERE parent = ?", both)  # noqa: S608 - a constant
    for table in ("kin", "bygone"):
        connection.execute(f"UPDATE {table} SET above = ? WHERE above = ?", both)  # noqa: S608 - a constant
    connection.execute("UPDATE OR IGNORE turn SET parent = ? WHERE parent = ?", both)
    connection.execute(
        "INSERT INTO cursor SELECT ?, subagent, read_seq FROM cursor WHERE parent = ? "
        "ON CONFLICT DO UPDATE SET read_seq = max(read_seq, excluded.read_seq)",
        both,
    )
    connection.execute("DELETE FROM cursor WHERE parent = ?", (event.alias,))
    connection.execute(
        "INSERT INTO parent SELECT ?, wakes, turn_seq FROM parent WHERE id = ? ON CONFLICT DO UPDATE SET "
        "wakes = min(wakes, excluded.wakes), turn_seq = max(turn_seq, excluded.turn_seq)",
        both,
    )
    connection.execute("DELETE FROM parent WHERE id = ?", (event.alias,))
