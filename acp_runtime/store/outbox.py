"""Turns of parents: the outbox of nudges, claimed by one door at a time and told until acknowledged.

Promise: a nudge is recorded once, acknowledged once, and shown again only while it is unacknowledged.
"""

import json
import sqlite3
from dataclasses import dataclass
from typing import Final

from acp_runtime.core.ids import turn_token
from acp_runtime.core.nudge import Nudge, NudgeKind
from acp_runtime.core.roster import RosterLine, render_block
from acp_runtime.core.turns import TurnBegun

CLAIM_MS: Final = 10 * 60 * 1000
MAX_NUDGES: Final = 20
MAX_LINES: Final = 50
# The ends of `Status`, as the partial index of the schema has them.
OPEN: Final = "status NOT IN ('completed', 'stopped', 'timed_out', 'error')"


@dataclass(frozen=True, slots=True)
class TurnContext:
    """What one turn of a parent shows. `token` acknowledges it; `nudges` are the ids it tells."""

    token: str
    text: str
    nudges: tuple[str, ...]


def known_turn(connection: sqlite3.Connection, parent: str, turn_id: str) -> TurnContext | None:
    """Return the turn as it was begun, so that beginning it again gives the same bytes."""
    row = connection.execute(
        "SELECT token, text, nudges FROM turn WHERE parent = ? AND turn_id = ?", (parent, turn_id)
    ).fetchone()
    return TurnContext(row["token"], row["text"], tuple(json.loads(row["nudges"]))) if row else None


def draft_turn(
    connection: sqlite3.Connection, *, parent: str, door: str, turn_id: str, now: int, boot: str
) -> TurnBegun:
    """Return the fact of a new turn: the nudges this door may claim now, and the block that tells them."""
    nudges = _claimable(connection, parent=parent, door=door, now=now, boot=boot)
    text = render_block(_lines(connection, parent), tuple((nudge, "") for nudge in nudges))
    return TurnBegun(
        at=now,
        token=turn_token(parent, turn_id),
        parent=parent,
        door=door,
        turn_id=turn_id,
        text=text,
        nudges=tuple(nudge.id for nudge in nudges),
        expires=now + CLAIM_MS,
    )


def _claimable(connection: sqlite3.Connection, *, parent: str, door: str, now: int, boot: str) -> list[Nudge]:
    """Return what may be told now. A claim ends when it or its boot is over, or when its door begins another turn."""
    rows = connection.execute(
        "SELECT nudge.* FROM nudge LEFT JOIN turn ON turn.token = nudge.turn WHERE nudge.parent = ? AND "
        "nudge.state IN ('pending', 'claimed') AND (nudge.state = 'pending' OR "
        "turn.expires <= ? OR turn.boot <> ? OR turn.door = ?) ORDER BY nudge.created_seq LIMIT ?",
        (parent, now, boot, door, MAX_NUDGES),
    ).fetchall()
    return [
        Nudge(
            id=row["id"],
            kind=NudgeKind(row["kind"]),
            parent=row["parent"],
            subagent=row["subagent"],
            name=row["name"],
            task_id=row["subject"],
            headline=row["headline"],
            cause=row["cause"],
            result=row["result"],
        )
        for row in rows
    ]


def _lines(connection: sqlite3.Connection, parent: str) -> tuple[RosterLine, ...]:
    rows = connection.execute(
        "SELECT subagent.*, coalesce(cursor.read_seq, 0) < (SELECT coalesce(max(ended_seq), 0) FROM task "  # noqa: S608 - OPEN
        "WHERE task.subagent = subagent.id) AS unread FROM subagent LEFT JOIN cursor "
        "ON cursor.subagent = subagent.id AND cursor.parent = subagent.parent "
        f"WHERE subagent.parent = ? AND subagent.{OPEN} ORDER BY created_seq LIMIT ?",
        (parent, MAX_LINES),
    ).fetchall()
    return tuple(
        RosterLine(
            id=row["id"],
            name=row["name"],
            status=row["status"],
            agent=row["agent"],
            unread=bool(row["unread"]),
            purpose=row["purpose"],
            started=row["created_wall"][5:16] + "Z",
        )
        for row in rows
    )
