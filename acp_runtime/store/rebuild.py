"""The projections made again from the log: the proof that the log is the only truth."""

import sqlite3
from itertools import groupby, islice
from typing import Final

from acp_runtime.core.model import Subagent
from acp_runtime.store import books
from acp_runtime.store.codec import decode
from acp_runtime.store.parents import PREFIX, fold_parent
from acp_runtime.store.projections import Row, fold

TABLES: Final = (
    "subagent", "kin", "task", "request", "nudge", "turn", "parent", "alias", "cursor", "forgotten", "bygone",
    "spent",
)  # fmt: skip
MAX_FOLDED: Final = 256


def rebuild(connection: sqlite3.Connection) -> None:
    """Empty every projection and fold the whole log again. Runs inside the caller's transaction."""
    for table in TABLES:
        connection.execute(f"DELETE FROM {table}")  # noqa: S608 - names from the constant above
    connection.execute("INSERT INTO search(search) VALUES ('delete-all')")
    states: dict[str, Subagent] = {}
    raws = connection.execute("SELECT seq, stream, version, kind, data, wall, boot FROM event ORDER BY seq")
    rows = (Row(raw[0], raw[1], raw[2], decode(raw[3], raw[4]), raw[5], raw[6]) for raw in raws)
    for stream, group in groupby(rows, key=lambda row: row.stream):
        if stream.startswith(PREFIX):
            for row in group:
                fold_parent(connection, row.event, seq=row.seq, wall=row.wall, boot=row.boot)
        elif stream.startswith(books.PREFIX):
            for row in group:
                books.fold_call(connection, row.event)
        else:
            while some := list(islice(group, MAX_FOLDED)):
                states[stream] = fold(connection, states.get(stream), some)
