"""What readers see: tables that follow from the log alone, written in the same transaction as the events.

Each function here is a fold step. `rebuild` empties the tables and folds the whole log again; the result is equal to
what the live writes left (tested), so a projection may be changed at any time.
"""

import json
import sqlite3
from dataclasses import asdict, dataclass
from typing import Final

from acp_runtime.core.events import Event, RequestClosed, RequestOpened, TaskEnded, TaskQueued
from acp_runtime.core.evolve import evolve
from acp_runtime.core.model import Subagent, Task
from acp_runtime.core.nudge import Nudge, nudge_for
from acp_runtime.core.status import status
from acp_runtime.core.turns import SubagentRead, TurnBegun, TurnCommitted
from acp_runtime.store.codec import decode

TABLES: Final = ("subagent", "task", "request", "nudge", "turn", "cursor")


@dataclass(frozen=True, slots=True)
class Row:
    """One stored event with its envelope."""

    seq: int
    stream: str
    version: int
    event: Event
    wall: str
    boot: str


def fold(connection: sqlite3.Connection, before: Subagent | None, rows: list[Row]) -> Subagent:
    """Project events of one subagent's stream; return its state after them. `rows` is not empty and in order."""
    state = before
    touched: dict[str, None] = {}
    for row in rows:
        state = evolve(state, row.event)
        _project(connection, state, row)
        touched[getattr(row.event, "task_id", None) or ""] = None
    if state is None:  # pragma: no cover - rows is never empty
        raise ValueError("no events to fold")
    _put_subagent(connection, state, rows)
    for task_id in touched:
        if task := state.task(task_id):
            _put_task(connection, task)
    return state


def _project(connection: sqlite3.Connection, state: Subagent, row: Row) -> None:
    match row.event:
        case TaskQueued():
            _insert_task(connection, state, row.event, row)
        case TaskEnded():
            _end_task(connection, state, row.event, row)
        case RequestOpened(request_id=request, task_id=task, kind=kind, title=title, options=options):
            connection.execute(
                "INSERT INTO request (subagent, id, task, kind, title, options, opened_seq) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                (state.id, request, task, kind, title, json.dumps([asdict(option) for option in options]), row.seq),
            )
        case RequestClosed(request_id=request, answer=answer, by=by):
            connection.execute(
                "UPDATE request SET answer = ?, answered_by = ?, closed_seq = ? WHERE subagent = ? AND id = ?",
                (answer, by, row.seq, state.id, request),
            )
        case _:
            pass


def _put_subagent(connection: sqlite3.Connection, state: Subagent, rows: list[Row]) -> None:
    first, last = rows[0], rows[-1]
    stop = state.stop
    connection.execute(
        "INSERT INTO subagent VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
        "ON CONFLICT (id) DO UPDATE SET "
        "lifecycle = excluded.lifecycle, status = excluded.status, attempt = excluded.attempt, step = excluded.step, "
        "session_id = excluded.session_id, reason = excluded.reason, error_kind = excluded.error_kind, "
        "cause = excluded.cause, "
        "confirmed = excluded.confirmed, shown = excluded.shown, "
        "updated_seq = excluded.updated_seq, updated_wall = excluded.updated_wall",
        (
            state.id, state.parent, state.name, state.purpose, state.order.agent, state.order.workspace,
            state.lifecycle, status(state), state.attempt, state.step, state.session_id,
            stop.reason if stop else None, stop.kind if stop else None, stop.cause if stop else "", state.confirmed,
            _shown(state), first.seq, first.wall, last.seq, last.wall,
        ),
    )  # fmt: skip


def _shown(state: Subagent) -> str:
    """Return what readers see beside the columns, as JSON."""
    order = state.order
    facts = {
        "cwd": order.cwd,
        "preset": order.preset,
        "model": order.model,
        "keep": order.keep,
        "one_shot": order.one_shot,
        "output_file": order.output_file,
        "container": state.container,
        "pid": state.pid,
        "steering": state.steering,
        "opening": state.opening,
        "exported": state.exported,
    }
    return json.dumps(facts)


def _insert_task(connection: sqlite3.Connection, state: Subagent, event: TaskQueued, row: Row) -> None:
    connection.execute(
        "INSERT INTO task (id, subagent, number, text, state, cause, result, tools_completed, tools_failed, "
        "stderr_tail, queued_seq, queued_wall) VALUES (?, ?, ?, ?, 'queued', '', '', 0, 0, '', ?, ?)",
        (event.task_id, state.id, event.number, event.text, row.seq, row.wall),
    )


def _put_task(connection: sqlite3.Connection, task: Task) -> None:
    evidence = task.evidence
    connection.execute(
        "UPDATE task SET state = ?, verdict = ?, cause = ?, result = ?, tools_completed = ?, tools_failed = ?, "
        "files_changed = ?, stderr_tail = ? WHERE id = ?",
        (
            task.state, task.verdict, task.cause, evidence.text, evidence.count("completed"), evidence.count("failed"),
            evidence.files_changed, evidence.stderr_tail, task.id,
        ),
    )  # fmt: skip


def _end_task(connection: sqlite3.Connection, state: Subagent, event: TaskEnded, row: Row) -> None:
    if task := state.task(event.task_id):
        _put_task(connection, task)
    connection.execute(
        "UPDATE task SET stop_reason = ?, ended_seq = ?, ended_wall = ? WHERE id = ?",
        (event.stop_reason, row.seq, row.wall, event.task_id),
    )
    connection.execute(
        "UPDATE request INDEXED BY request_open SET answer = '', answered_by = 'task', closed_seq = ? "
        "WHERE subagent = ? AND task = ? AND closed_seq IS NULL",
        (row.seq, state.id, event.task_id),
    )
    if nudge := nudge_for(state, event):
        _insert_nudge(connection, nudge, row)


def _insert_nudge(connection: sqlite3.Connection, nudge: Nudge, row: Row) -> None:
    connection.execute(
        "INSERT INTO nudge (id, kind, parent, subagent, subject, name, headline, cause, result, state, created_seq, "
        "created_wall) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 'pending', ?, ?)",
        (
            nudge.id, nudge.kind, nudge.parent, nudge.subagent, nudge.task_id, nudge.name, nudge.headline,
            nudge.cause, nudge.result, row.seq, row.wall,
        ),
    )  # fmt: skip


def fold_parent(connection: sqlite3.Connection, row: Row) -> None:
    """Project one event of a parent's stream."""
    match row.event:
        case TurnBegun():
            _begin(connection, row.event, row)
        case TurnCommitted(token=token):
            connection.execute("UPDATE turn SET committed_seq = ? WHERE token = ?", (row.seq, token))
            connection.execute(
                "UPDATE nudge SET state = 'committed', turn = ?, closed_seq = ? WHERE state IN ('pending', 'claimed') "
                "AND id IN (SELECT value FROM json_each((SELECT nudges FROM turn WHERE token = ?)))",
                (token, row.seq, token),
            )
        case SubagentRead(parent=parent, subagent=subagent, seq=seq):
            connection.execute(
                "INSERT INTO cursor VALUES (?, ?, ?) "
                "ON CONFLICT DO UPDATE SET read_seq = max(read_seq, excluded.read_seq)",
                (parent, subagent, seq),
            )
        case _:
            pass


def _begin(connection: sqlite3.Connection, event: TurnBegun, row: Row) -> None:
    connection.execute(
        "INSERT INTO turn (token, parent, door, turn_id, text, nudges, boot, expires, begun_seq) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            event.token, event.parent, event.door, event.turn_id, event.text, json.dumps(event.nudges), row.boot,
            event.expires, row.seq,
        ),
    )  # fmt: skip
    connection.executemany(
        "UPDATE nudge SET state = 'claimed', turn = ? WHERE id = ? AND state IN ('pending', 'claimed')",
        [(event.token, nudge) for nudge in event.nudges],
    )


def rebuild(connection: sqlite3.Connection) -> None:
    """Empty every projection and fold the whole log again. Runs inside the caller's transaction."""
    for table in TABLES:
        connection.execute(f"DELETE FROM {table}")  # noqa: S608 - names from the constant above
    states: dict[str, Subagent] = {}
    for raw in connection.execute("SELECT seq, stream, version, kind, data, wall, boot FROM event ORDER BY seq"):
        row = Row(raw[0], raw[1], raw[2], decode(raw[3], raw[4]), raw[5], raw[6])
        if row.stream.startswith("parent:"):
            fold_parent(connection, row)
        else:
            states[row.stream] = fold(connection, states.get(row.stream), [row])
