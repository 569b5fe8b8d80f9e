"""Admission where it counts: in the transaction that lets a subagent in, so two at once cannot both be the last."""

import sqlite3
from typing import Final

from acp_runtime.core.admission import Admission, Alive, admit
from acp_runtime.core.errors import Rejected
from acp_runtime.core.lineage import leader_of
from acp_runtime.store.parents import resolve

# What may still hold a sandbox, as the partial index of the schema has it.
ALIVE: Final = "lifecycle NOT IN ('stopped', 'failed')"


def check_admission(connection: sqlite3.Connection, limits: Admission, parent: str, subagent: str) -> None:
    """Let a subagent of a parent in, or raise `Rejected`: limit_reached, parent_ended."""
    _check_leader(connection, leader_of(parent))
    rows = connection.execute(
        "SELECT id, name, status, purpose, agent AS agent_kind, created_wall || 'Z' AS started_at FROM subagent "  # noqa: S608
        f"WHERE parent = ? AND {ALIVE} AND id <> ? AND one_shot = ? ORDER BY created_seq",
        (resolve(connection, parent), subagent, limits.one_shot),
    ).fetchall()
    counted = f"SELECT count(*) FROM subagent WHERE {ALIVE} AND id <> ? AND one_shot = ?"  # noqa: S608 - a constant
    total = connection.execute(counted, (subagent, limits.one_shot)).fetchone()[0]
    admit(limits, own=[Alive(**dict(row)) for row in rows], total=total)


def _check_leader(connection: sqlite3.Connection, leader: str | None) -> None:
    """Let nobody in below a subagent that is being stopped: who stops those that it leads would miss it."""
    if leader is None:
        return
    row = connection.execute("SELECT reason IS NOT NULL AS ending FROM subagent WHERE id = ?", (leader,)).fetchone()
    if row is None or row["ending"]:
        raise Rejected("parent_ended", f"{leader}, whose subagent this is, has ended or is being stopped")
