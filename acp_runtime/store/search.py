"""The words of tasks, to be found again: purposes, tasks, results, and what was said in tasks that have ended.

The index (SQLite FTS5) is a projection like the others. It holds words only: the texts are read from the tables.
"""

import json
import sqlite3
from typing import Final

MAX_TRANSCRIPT_CHARS: Final = 65_536
MAX_TRANSCRIPT_EVENTS: Final = 2_000


def add_task(connection: sqlite3.Connection, ident: int, name: str, text: str) -> None:
    """Make a queued task findable. `ident` is the number of the event that queued it."""
    connection.execute(
        "INSERT INTO search (rowid, name, text, result, transcript) VALUES (?, ?, ?, '', '')", (ident, name, text)
    )


def end_task(connection: sqlite3.Connection, task: str) -> None:
    """Make what came out of an ended task findable: its result, and what was said in it up to a bound."""
    said = _transcript(connection, task)
    connection.execute("UPDATE task SET transcript = ? WHERE id = ?", (said, task))
    now = connection.execute(
        "SELECT document.* FROM task CROSS JOIN document ON document.id = task.queued_seq WHERE task.id = ?", (task,)
    ).fetchone()
    if now is None:
        return
    _remove(connection, (now["id"], now["name"], now["text"], "", ""))
    connection.execute("INSERT INTO search (rowid, name, text, result, transcript) VALUES (?, ?, ?, ?, ?)", tuple(now))


def forget_tasks(connection: sqlite3.Connection, subagent: str) -> None:
    """Take an ended subagent's tasks out of the index; their rows must still be there."""
    rows = connection.execute(
        "SELECT document.* FROM task CROSS JOIN document ON document.id = task.queued_seq WHERE task.subagent = ?",
        (subagent,),
    ).fetchall()
    for row in rows:
        _remove(connection, tuple(row))


def _remove(connection: sqlite3.Connection, indexed: tuple[object, ...]) -> None:
    # An index without texts of its own must be told what it was given.
    connection.execute(
        "INSERT INTO search (search, rowid, name, text, result, transcript) VALUES ('delete', ?, ?, ?, ?, ?)", indexed
    )


def _transcript(connection: sqlite3.Connection, task: str) -> str:
    """Return what was said in a task, its messages as they were and one line for each tool call."""
    rows = connection.execute(
        "SELECT event.data FROM task CROSS JOIN event ON event.stream = task.subagent AND event.seq > task.started_seq "
        "AND event.seq < task.ended_seq WHERE task.id = ? AND event.kind = 'transcript_added' "
        "ORDER BY event.seq LIMIT ?",
        (task, MAX_TRANSCRIPT_EVENTS),
    ).fetchall()
    parts: list[str] = []
    role = ""
    for row in rows:
        entry = json.loads(row["data"])["entry"]
        said, who = entry.get("text") or entry.get("title") or "", entry.get("role", "tool")
        parts.append(said if who == role == "agent" else f"\n{said}")
        role = who
    return "".join(parts).strip()[:MAX_TRANSCRIPT_CHARS]
