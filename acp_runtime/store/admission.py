"""Admission where it counts: in the transaction that lets a subagent in, so two at once cannot both be the last."""

import sqlite3
from typing import Final

from acp_runtime.core.admission import Admission, Alive, admit, admit_within, check_wall
from acp_runtime.core.errors import Rejected
from acp_runtime.core.lineage import leader_of
from acp_runtime.core.model import Subagent
from acp_runtime.store.outbox import Moment
from acp_runtime.store.shares import above, taken

# What may still hold a sandbox, as the partial index of the schema has it.
ALIVE: Final = "lifecycle NOT IN ('stopped', 'failed')"


def check_admission(
    connection: sqlite3.Connection, limits: Admission, asking: Subagent, now: Moment, *, born: bool
) -> None:
    """Let a subagent in, one that is `born` or one that is started again.

    Raises `Rejected`: limit_reached, parent_ended, budget_reached; one that is started again brings no agent, and what
    it may use is asked at its calls, but for the time of its tree.
    """
    parents, subagent = above(connection, asking), asking.id
    leader = leader_of(parents[0])
    _check_leader(connection, leader)
    for share in limits.shares:
        (admit_within if born else check_wall)(share, taken(connection, share, subagent, parents, now))
    rows = connection.execute(
        "SELECT id, name, status, purpose, agent AS agent_kind, created_wall || 'Z' AS started_at FROM subagent "  # noqa: S608
        f"WHERE parent = ? AND {ALIVE} AND id <> ? AND one_shot IN (?, ?) ORDER BY created_seq",
        (parents[0], subagent, limits.one_shot, limits.one_shot if leader is None else not limits.one_shot),
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
