"""Turns of parents: the outbox of nudges, claimed by one door at a time and told until acknowledged.

Promise: a nudge is recorded once, acknowledged once, and shown again only while it is unacknowledged. What can not be
told is a dead letter: it stays visible with its reason and can be revived.
"""

import json
import logging
import sqlite3
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from acp_runtime.core.ids import turn_token
from acp_runtime.core.legacy_text import LegacyLine, LegacyNudge, folder, render_text
from acp_runtime.core.nudge import About, Nudge, NudgeKind
from acp_runtime.core.nudge_line import age
from acp_runtime.core.roster import RosterLine, render_block
from acp_runtime.core.timers import milliseconds
from acp_runtime.core.turns import MAX_NUDGES, Form, NudgesDied, Origin, OutboxRules, TurnBegun
from acp_runtime.store.awake import older

log = logging.getLogger(__name__)

MAX_LINES: Final = 50
# The ends of `Status`, as the partial index of the schema has them.
OPEN: Final = "status NOT IN ('completed', 'stopped', 'timed_out', 'error')"
_CLAIMABLE: Final = (
    "SELECT nudge.*, subagent.output_file FROM nudge LEFT JOIN turn ON turn.token = nudge.turn "
    "LEFT JOIN subagent ON subagent.id = nudge.subagent AND subagent.one_shot WHERE nudge.parent = ? AND "
    "nudge.state IN ('pending', 'claimed') AND (nudge.state = 'pending' OR "
    "turn.expires <= ? OR turn.boot <> ? OR turn.door = ?)"
)


# The token of a turn that is not stored: it told no nudge, so there is nothing to acknowledge.
UNTOLD: Final = "untold"


@dataclass(frozen=True, slots=True)
class TurnContext:
    """What one turn of a parent shows. `token` acknowledges it; `nudges` are the ids it tells."""

    token: str
    text: str
    nudges: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Moment:
    """One moment on each clock, and the boot that the monotonic one belongs to."""

    now: int
    boot: str
    wall: datetime


@dataclass(frozen=True, slots=True)
class Asking:
    """Who begins a turn, and how its text is to read."""

    parent: str
    door: str
    turn_id: str
    origin: Origin = Origin.USER
    form: Form = Form.BLOCK


@dataclass(frozen=True, slots=True)
class Wakeable:
    """What would wake a parent now; `again` is the monotonic moment when a claim runs out, None without one."""

    nudges: tuple[str, ...]
    again: int | None


def wall_text(moment: datetime) -> str:
    """Return a time of day as every table has it."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "")


def known_turn(connection: sqlite3.Connection, parent: str, turn_id: str) -> TurnContext | None:
    """Return the turn as it was begun, so that beginning it again gives the same bytes."""
    row = connection.execute(
        "SELECT token, text, nudges FROM turn WHERE parent = ? AND turn_id = ?", (parent, turn_id)
    ).fetchone()
    return TurnContext(row["token"], row["text"], tuple(json.loads(row["nudges"]))) if row else None


def draft_turn(connection: sqlite3.Connection, asking: Asking, at: Moment, rules: OutboxRules) -> TurnBegun:
    """Return the fact of a new turn: the nudges this door may claim now, and the text that tells them."""
    rows = connection.execute(
        f"{_CLAIMABLE} ORDER BY nudge.created_seq LIMIT ?",
        (asking.parent, at.now, at.boot, asking.door, MAX_NUDGES),
    ).fetchall()
    try:
        ages = tuple(_age(row, at.wall, rules) for row in rows)
        quiet = older(connection, at.boot, at.now, rules.quiet) if asking.form is Form.LEGACY else 0
        text = _text(connection, asking, rows, ages, quiet=quiet)
    except Exception:
        # A parent's turn is never broken by what we have to say; what could not be told now stays to be told.
        log.exception("the turn %s of %s could not be rendered", asking.turn_id, asking.parent)
        text, rows = "", []
    return TurnBegun(
        at=at.now,
        token=turn_token(asking.parent, asking.turn_id),
        parent=asking.parent,
        door=asking.door,
        turn_id=asking.turn_id,
        text=text,
        nudges=tuple(row["id"] for row in rows),
        expires=at.now + milliseconds(rules.claim),
        origin=asking.origin,
    )


def worn_out(connection: sqlite3.Connection, asking: Asking, at: Moment, rules: OutboxRules) -> NudgesDied | None:
    """Return the fact that nudges were offered too often: this door could claim them, but nobody acknowledges them."""
    rows = connection.execute(
        f"{_CLAIMABLE} AND nudge.offers >= ?", (asking.parent, at.now, at.boot, asking.door, max(1, rules.offers))
    ).fetchall()
    reason = f"shown in {max(1, rules.offers)} turns, and none of them was acknowledged"
    nudges = tuple(row["id"] for row in rows)
    return NudgesDied(at=at.now, parent=asking.parent, nudges=nudges, reason=reason) if nudges else None


def abandoned(connection: sqlite3.Connection, at: Moment, rules: OutboxRules) -> list[NudgesDied]:
    """Return the facts that nudges wait for parents that took no turn for too long, one for each parent."""
    since = older(connection, at.boot, at.now, rules.absent)
    rows = connection.execute(
        "SELECT nudge.id, nudge.parent FROM nudge LEFT JOIN parent ON parent.id = nudge.parent "
        "WHERE nudge.state IN ('pending', 'claimed') AND nudge.created_seq < ? "
        "AND coalesce(parent.turn_seq, 0) < ? ORDER BY nudge.created_seq",
        (since, since),
    ).fetchall()
    waiting: dict[str, list[str]] = {}
    for row in rows:
        waiting.setdefault(row["parent"], []).append(row["id"])
    reason = f"its parent took no turn for {age(rules.absent, 0) or 'a moment'}"
    return [NudgesDied(at=at.now, parent=each, nudges=tuple(ids), reason=reason) for each, ids in waiting.items()]


def wakeable(connection: sqlite3.Connection, parent: str, at: Moment, rules: OutboxRules, *, held: bool) -> Wakeable:
    """Return what would wake a parent: with `held` what no door holds; nothing after too many turns of wake-ups."""
    guard = connection.execute("SELECT wakes FROM parent WHERE id = ?", (parent,)).fetchone()
    if guard is not None and guard["wakes"] >= max(1, rules.wakes):
        return Wakeable((), None)
    rows = connection.execute(
        "SELECT nudge.id, nudge.state, turn.expires, turn.boot FROM nudge LEFT JOIN turn ON turn.token = nudge.turn "
        "WHERE nudge.parent = ? AND nudge.state IN ('pending', 'claimed') ORDER BY nudge.created_seq",
        (parent,),
    ).fetchall()
    kept = {
        row["id"]: row["expires"]
        for row in rows
        if held and row["state"] == "claimed" and row["boot"] == at.boot and row["expires"] > at.now
    }
    free = tuple(row["id"] for row in rows if row["id"] not in kept)
    return Wakeable(free, min(kept.values(), default=None))


def _nudge(row: sqlite3.Row) -> Nudge:
    return Nudge(
        id=row["id"],
        kind=NudgeKind(row["kind"]),
        parent=row["parent"],
        subagent=row["subagent"],
        name=row["name"],
        about=About(row["about"]),
        subject=row["subject"],
        headline=row["headline"],
        cause=row["cause"],
        result=row["result"],
        reason=row["reason"],
    )


def _age(row: sqlite3.Row, wall: datetime, rules: OutboxRules) -> str:
    created = datetime.fromisoformat(row["created_wall"] + "+00:00")
    return age((wall - created).total_seconds(), rules.aged)


def _text(
    connection: sqlite3.Connection, asking: Asking, told: list[sqlite3.Row], ages: tuple[str, ...], *, quiet: int
) -> str:
    """Return what a turn says. A one-shot subagent of which nothing stands behind the cursor `quiet` is called idle."""
    rows = connection.execute(
        "SELECT subagent.*, coalesce(cursor.read_seq, 0) AS read_seq FROM subagent LEFT JOIN cursor "  # noqa: S608 - OPEN
        "ON cursor.subagent = subagent.id AND cursor.parent = subagent.parent "
        f"WHERE subagent.parent = ? AND subagent.{OPEN} ORDER BY created_seq LIMIT ?",
        (asking.parent, MAX_LINES),
    ).fetchall()
    if asking.form is Form.LEGACY:
        updates = tuple(LegacyNudge(_nudge(row), row["output_file"] or "") for row in told)
        return render_text(tuple(_legacy_line(connection, row, quiet) for row in rows), updates)
    more = 0
    if len(rows) == MAX_LINES:
        counted = f"SELECT count(*) FROM subagent WHERE parent = ? AND {OPEN}"  # noqa: S608 - a constant
        more = connection.execute(counted, (asking.parent,)).fetchone()[0] - MAX_LINES
    nudges = tuple((_nudge(row), old) for row, old in zip(told, ages, strict=True))
    return render_block(tuple(_line(connection, row) for row in rows), nudges, more=more)


def _line(connection: sqlite3.Connection, row: sqlite3.Row) -> RosterLine:
    newest = connection.execute("SELECT max(ended_seq) FROM task WHERE subagent = ?", (row["id"],)).fetchone()[0]
    return RosterLine(
        id=row["id"],
        name=row["name"],
        status=row["status"],
        agent=row["agent"],
        unread=row["read_seq"] < (newest or 0),
        purpose=row["purpose"],
        started=row["created_wall"][5:16] + "Z",
    )


def _legacy_line(connection: sqlite3.Connection, row: sqlite3.Row, quiet: int) -> LegacyLine:
    task = current_task(connection, row["id"]) or ""
    output_file = (row["output_file"] or "") if row["one_shot"] else ""
    return LegacyLine(
        id=row["id"],
        name=row["name"],
        status="idle" if output_file and row["updated_seq"] < quiet else row["status"],
        agent=row["agent"],
        cwd=folder(row["cwd"]),
        unread=unread(connection, row["id"], row["read_seq"]),
        purpose=(task or row["purpose"]) if output_file else row["purpose"],
        current_task=task,
        output_file=output_file,
    )


def unread(connection: sqlite3.Connection, subagent: str, read: int) -> int:
    """Return how many events of a subagent stand after the cursor `read`."""
    values: tuple[Any, ...] = (subagent,)
    newest = connection.execute("SELECT max(version) FROM event WHERE stream = ?", values).fetchone()[0]
    seen = connection.execute(
        "SELECT version FROM event WHERE stream = ? AND seq <= ? ORDER BY seq DESC LIMIT 1", (subagent, read)
    ).fetchone()
    return int(newest or 0) - int(seen[0] if seen is not None else 0)


def current_task(connection: sqlite3.Connection, subagent: str) -> str | None:
    """Return the text of the task that the agent is busy with."""
    row = connection.execute(
        "SELECT text FROM task WHERE subagent = ? AND state IN ('running', 'cancelling')", (subagent,)
    ).fetchone()
    return str(row[0]) if row is not None else None
