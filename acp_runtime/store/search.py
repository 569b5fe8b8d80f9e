"""The words of tasks, to be found again: purposes, tasks, results, and what was said in tasks that have ended.

The index (SQLite FTS5) is a projection like the others. It holds words only: the texts are read from the tables.
Any text is a query: what is no word in it is left out, so no query is an error.
"""

import json
import re
import sqlite3
from dataclasses import dataclass
from typing import Final

from acp_runtime.core.plaintext import one_line
from acp_runtime.store.parents import resolve
from acp_runtime.store.search_query import match_all, match_any

MAX_TRANSCRIPT_CHARS: Final = 65_536
MAX_TRANSCRIPT_EVENTS: Final = 2_000
MAX_HITS: Final = 100
MAX_SNIPPET: Final = 300
_ADD: Final = "INSERT INTO search (rowid, name, text, result, transcript) VALUES (?, ?, ?, ?, ?)"
_ID: Final = re.compile(r"(?:bg-(?P<id>[0-9a-f]{1,10})(?:\.t(?P<task>\d{1,9}))?|(?P<bare>[0-9a-f]{4,10}))\Z")
# Columns of the index with their weights and the words for a place, in the order in which a hit is told.
_PLACES: Final = ((2, "result"), (1, "task"), (3, "transcript"), (0, "name"))
_RANK: Final = "bm25(search, 2.0, 4.0, 4.0, 1.0)"
_BEGIN, _END = "\x02", "\x03"
_BELOW: Final = "EXISTS (SELECT 1 FROM kin WHERE kin.subagent = subagent.id AND kin.above = ?)"
# Not `snippet`: its time grows with the square of how often a word stands in a text, which a child decides.
_MARKED: Final = ", ".join(f"highlight(search, {column}, char(2), char(3)) AS {place}" for column, place in _PLACES)


@dataclass(frozen=True, slots=True)
class Found:
    """One task in which the words stand. `where` is `result`, `task`, `transcript`, `name`, or `id` for an id.

    `snippet` is one line; the words stand between `>>>` and `<<<` in it. `seq` is the event that queued the task.
    """

    subagent: str
    parent: str
    name: str
    task: str
    state: str
    where: str
    snippet: str
    seq: int
    wall: str


def search(connection: sqlite3.Connection, parent: str | None, query: str, limit: int) -> list[Found]:
    """Return tasks in which all words of a query stand, best first; where there is none, those with any of them.

    A query that begins an id finds that subagent's tasks first. None as the parent finds those of all parents.
    """
    limit = max(1, min(limit, MAX_HITS))
    owner = None if parent is None else resolve(connection, parent)
    found = _by_id(connection, owner, query.strip(), limit)
    for expression in (match_all(query), match_any(query)):
        if expression and len(found) < limit:
            known = {each.task for each in found}
            words = _by_words(connection, owner, expression, limit)
            found += [each for each in words if each.task not in known]
        if found:
            break
    return found[:limit]


def _by_words(connection: sqlite3.Connection, owner: str | None, expression: str, limit: int) -> list[Found]:
    rows = connection.execute(
        f"SELECT task.id AS task_id, task.state, task.queued_seq, task.queued_wall, subagent.id, subagent.parent, "  # noqa: S608
        f"subagent.name AS shown, {_MARKED} FROM search CROSS JOIN task ON task.queued_seq = search.rowid "
        "CROSS JOIN subagent ON subagent.id = task.subagent "
        f"WHERE search MATCH ? AND (? IS NULL OR {_BELOW}) ORDER BY {_RANK} LIMIT ?",
        (expression, owner, owner, limit),
    ).fetchall()
    terms = expression.count('"') // 2
    return [_found(row, *_best_place(row, terms)) for row in rows]


def _best_place(row: sqlite3.Row, terms: int) -> tuple[str, str]:
    """Return the place in which most of the words stand, and its text around the first of them."""
    places = [(place, str(row[place] or "")) for _, place in _PLACES]
    place, text = max(places, key=lambda each: min(each[1].count(_BEGIN), terms))
    start = max(0, text.find(_BEGIN) - MAX_SNIPPET // 3)
    return place, f"{'…' if start else ''}{text[start : start + 2 * MAX_SNIPPET]}"


def _by_id(connection: sqlite3.Connection, owner: str | None, wanted: str, limit: int) -> list[Found]:
    kept = _ID.match(wanted)
    if kept is None:
        return []
    begin = f"bg-{kept['id'] or kept['bare']}"
    rows = connection.execute(
        "SELECT task.id AS task_id, task.state, task.queued_seq, task.queued_wall, subagent.id, subagent.parent, "  # noqa: S608
        "subagent.name AS shown, task.text AS task FROM subagent CROSS JOIN task ON task.subagent = subagent.id "
        f"WHERE subagent.id >= ? AND subagent.id < ? AND (? IS NULL OR {_BELOW}) "
        "AND (? IS NULL OR task.number = ?) ORDER BY task.subagent, task.number LIMIT ?",
        (begin, begin + "g", owner, owner, kept["task"], kept["task"], limit),
    ).fetchall()
    return [_found(row, "id", row["task"]) for row in rows]


def _found(row: sqlite3.Row, where: str, snippet: str) -> Found:
    marked = snippet.replace(_BEGIN, ">>>").replace(_END, "<<<")
    return Found(
        subagent=row["id"],
        parent=row["parent"],
        name=row["shown"],
        task=row["task_id"],
        state=row["state"],
        where=where,
        snippet=one_line(marked, MAX_SNIPPET),
        seq=row["queued_seq"],
        wall=row["queued_wall"],
    )


def add_task(connection: sqlite3.Connection, ident: int, name: str, text: str) -> None:
    """Make a queued task findable. `ident` is the number of the event that queued it."""
    connection.execute(_ADD, (ident, name, text, "", ""))


def end_task(connection: sqlite3.Connection, task: str) -> None:
    """Make what came out of an ended task findable: its result, and what was said in it up to a bound."""
    said = _transcript(connection, task)
    connection.execute("UPDATE task SET transcript = ? WHERE id = ?", (said, task))
    now = connection.execute(
        "SELECT document.* FROM task CROSS JOIN document ON document.id = task.queued_seq WHERE task.id = ?", (task,)
    ).fetchone()
    _remove(connection, (now["id"], now["name"], now["text"], "", ""))
    connection.execute(_ADD, tuple(now))


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
