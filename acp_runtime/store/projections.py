"""What readers see of subagents: tables that follow from the log alone, written in the same transaction as the events.

Each function here is a fold step of a subagent's stream; `parents` holds those of a parent's. `rebuild` folds the whole
log again; the result is equal to what the live writes left (tested), so a projection may be changed at any time.
"""

import json
import sqlite3
from dataclasses import asdict, dataclass
from typing import Any

from acp_runtime.core.events import (
    BudgetChanged,
    Event,
    RequestClosed,
    RequestOpened,
    SubagentRequested,
    TaskEnded,
    TaskQueued,
    TaskStarted,
)
from acp_runtime.core.evolve import evolve
from acp_runtime.core.lineage import chain
from acp_runtime.core.model import Subagent, Task
from acp_runtime.core.nudge import Nudge, nudges_for, superseded
from acp_runtime.core.status import status
from acp_runtime.store.parents import resolve
from acp_runtime.store.search import add_task, end_task


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
        previous, state = state, evolve(state, row.event)
        _project(connection, previous, state, row)
        touched[getattr(row.event, "task_id", None) or ""] = None
    if state is None:  # pragma: no cover - rows is never empty
        raise ValueError("no events to fold")
    _put_subagent(connection, state, rows[-1])
    for task_id in touched:
        if task := state.task(task_id):
            _put_task(connection, task)
    return state


def _project(connection: sqlite3.Connection, before: Subagent | None, state: Subagent, row: Row) -> None:
    event = row.event
    match event:
        case SubagentRequested():
            _insert_subagent(connection, state, row)
        case TaskQueued():
            _insert_task(connection, state, event, row)
        case TaskStarted():
            connection.execute(
                "UPDATE task SET started_seq = ?, started_wall = ? WHERE id = ?", (row.seq, row.wall, event.task_id)
            )
        case TaskEnded():
            _end_task(connection, state, event, row)
        case BudgetChanged(budget=budget):
            connection.execute("UPDATE subagent SET budget = ? WHERE id = ?", (json.dumps(asdict(budget)), state.id))
        case RequestOpened():
            _insert_request(connection, state, event, row)
        case _:
            pass
    if before is not None:
        _close_requests(connection, before, state, row)
    for ident in superseded(before, state, event):
        connection.execute(
            "UPDATE nudge SET state = 'superseded', closed_seq = ? WHERE id = ? AND state IN "
            "('pending', 'claimed', 'dead')",
            (row.seq, ident),
        )
    for nudge in nudges_for(before, state, event):
        _insert_nudge(connection, nudge, row)


def _insert_subagent(connection: sqlite3.Connection, state: Subagent, row: Row) -> None:
    order = state.order
    _insert(
        connection,
        "subagent",
        {
            "id": state.id, "parent": resolve(connection, state.parent), "name": state.name, "purpose": state.purpose,
            "agent": order.agent, "model": order.model, "workspace": order.workspace, "cwd": order.cwd,
            "preset": order.preset, "budget": json.dumps(asdict(order.budget)), "runtime": order.confinement.runtime,
            "unsafe": json.dumps(order.unsafe), "keep": order.keep, "one_shot": order.one_shot,
            "output_file": order.output_file,
            "lifecycle": state.lifecycle, "status": status(state), "attempt": 0, "container": "", "steering": 0,
            "cause": "", "confirmed": 1, "exported": 1, "queued": 0, "created_seq": row.seq,
            "created_wall": row.wall, "updated_seq": row.seq, "updated_wall": row.wall, "role": order.lineage.role,
            "role_note": order.lineage.note, "depth": order.lineage.depth,
        },
    )  # fmt: skip
    above = [resolve(connection, each) for each in chain(state.parent, order.lineage)]
    kin = [(state.id, each, up) for up, each in enumerate(above, start=1)]
    connection.executemany("INSERT INTO kin VALUES (?, ?, ?)", kin)


def _put_subagent(connection: sqlite3.Connection, state: Subagent, last: Row) -> None:
    stop = state.stop
    connection.execute(
        "UPDATE subagent SET lifecycle = ?, status = ?, attempt = ?, step = ?, session_id = ?, container = ?, pid = ?, "
        "opening = ?, steering = ?, reason = ?, error_kind = ?, cause = ?, confirmed = ?, exported = ?, queued = ?, "
        "unsafe = ?, updated_seq = ?, updated_wall = ? WHERE id = ?",
        (
            state.lifecycle, status(state), state.attempt, state.step, state.session_id, state.container, state.pid,
            state.opening, state.steering, stop.reason if stop else None, stop.kind if stop else None,
            stop.cause if stop else "", state.confirmed, state.exported, len(state.queued),
            json.dumps(state.order.unsafe), last.seq, last.wall, state.id,
        ),
    )  # fmt: skip


def _insert_task(connection: sqlite3.Connection, state: Subagent, event: TaskQueued, row: Row) -> None:
    _insert(
        connection,
        "task",
        {
            "id": event.task_id, "subagent": state.id, "number": event.number, "text": event.text, "state": "queued",
            "cause": "", "result": "", "tools_completed": 0, "tools_failed": 0, "stderr_tail": "", "retries": 0,
            "transcript": "", "queued_seq": row.seq, "queued_wall": row.wall,
        },
    )  # fmt: skip
    add_task(connection, row.seq, f"{state.name} {state.purpose}", event.text)


def _put_task(connection: sqlite3.Connection, task: Task) -> None:
    evidence = task.evidence
    connection.execute(
        "UPDATE task SET state = ?, verdict = ?, cause = ?, result = ?, tools_completed = ?, tools_failed = ?, "
        "files_changed = ?, stderr_tail = ?, retries = ?, report = ? WHERE id = ?",
        (
            task.state, task.verdict, task.cause, evidence.text, evidence.count("completed"), evidence.count("failed"),
            evidence.files_changed, evidence.stderr_tail, task.retries, evidence.report, task.id,
        ),
    )  # fmt: skip


def _end_task(connection: sqlite3.Connection, state: Subagent, event: TaskEnded, row: Row) -> None:
    if task := state.task(event.task_id):
        _put_task(connection, task)
    connection.execute(
        "UPDATE task SET stop_reason = ?, ended_seq = ?, ended_wall = ? WHERE id = ?",
        (event.stop_reason, row.seq, row.wall, event.task_id),
    )
    end_task(connection, event.task_id)


def _insert_request(connection: sqlite3.Connection, state: Subagent, event: RequestOpened, row: Row) -> None:
    _insert(
        connection,
        "request",
        {
            "subagent": state.id, "id": event.request_id, "task": event.task_id, "kind": event.kind,
            "title": event.title, "options": json.dumps([asdict(option) for option in event.options]),
            "writing": event.writing, "fields": json.dumps([asdict(field) for field in event.fields]),
            "opened_seq": row.seq, "opened_wall": row.wall,
        },
    )  # fmt: skip


def _close_requests(connection: sqlite3.Connection, before: Subagent, state: Subagent, row: Row) -> None:
    """Close what the event closed: by an answer, or because what asked it has ended."""
    still_open = {request.id for request in state.open_requests}
    answer, by, text = "", "task", ""
    if isinstance(row.event, RequestClosed):
        answer, by, text = row.event.answer, row.event.by, row.event.text
    for request in before.open_requests:
        if request.id not in still_open:
            connection.execute(
                "UPDATE request SET answer = ?, answered_by = ?, text = ?, closed_seq = ? "
                "WHERE subagent = ? AND id = ?",
                (answer, by, text, row.seq, state.id, request.id),
            )


def _insert_nudge(connection: sqlite3.Connection, nudge: Nudge, row: Row) -> None:
    """Record a fact once: the same fact has the same id."""
    values = asdict(nudge) | {"parent": resolve(connection, nudge.parent), "state": "pending", "offers": 0, "dead": ""}
    _insert(connection, "nudge", values | {"created_seq": row.seq, "created_wall": row.wall}, "ON CONFLICT DO NOTHING")


def _insert(connection: sqlite3.Connection, table: str, values: dict[str, Any], conflict: str = "") -> None:
    names, marks = ", ".join(values), ", ".join("?" * len(values))
    sql = f"INSERT INTO {table} ({names}) VALUES ({marks}) {conflict}"  # noqa: S608 - names of this file
    connection.execute(sql, tuple(values.values()))
