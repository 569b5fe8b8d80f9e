"""What a program makes of its log alone, as the checker of the storm compares it with what it had made while it ran."""

import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

NOT_MADE_OF_THE_LOG = frozenset({"event", "meta"})
Rows = Counter[tuple[Any, ...]]


def tables(path: Path) -> dict[str, tuple[list[str], Rows]]:
    """Return the columns and rows of all that is made of the log: the tables, and the words that can be searched."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        made = dict(connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table' AND sql IS NOT NULL"))
        indexes = [name for name, sql in made.items() if sql.upper().startswith("CREATE VIRTUAL")]
        plain = [name for name in made if not any(name == each or name.startswith(f"{each}_") for each in indexes)]
        found = {
            name: rows(connection, name) for name in plain if name not in NOT_MADE_OF_THE_LOG | {"sqlite_sequence"}
        }
        for name in indexes:
            connection.execute(f"CREATE VIRTUAL TABLE temp.words_{name} USING fts5vocab(main, {name}, instance)")
            found[name] = rows(connection, f"words_{name}")
        return found


def rows(connection: sqlite3.Connection, table: str) -> tuple[list[str], Rows]:
    cursor = connection.execute(f"SELECT * FROM {table}")
    return [each[0] for each in cursor.description], Counter(cursor)


def differences(log: Path, rebuilt: Path) -> Iterator[str]:
    """Yield what is made of a log otherwise than the log alone gives it."""
    if not rebuilt.exists():
        yield "nothing could be made of the log alone"
        return
    live, alone = tables(log), tables(rebuilt)
    for name in sorted({*live, *alone}):
        columns, there = live.get(name, ([], Counter()))
        others, made = alone.get(name, ([], Counter()))
        if columns != others:
            yield f"{name} has the columns {columns}, and {others} when it is made of the log alone"
            continue
        wrong, due = list((there - made).elements()), list((made - there).elements())
        for row in wrong:
            like = next((each for each in due if each[0] == row[0]), None)
            yield f"{name} {row[0]}: {difference(columns, row, like)}"
        known = {row[0] for row in wrong}
        yield from (f"{name} {row[0]}: the log gives it, and it is not there" for row in due if row[0] not in known)


def difference(columns: list[str], row: tuple[Any, ...], like: tuple[Any, ...] | None) -> str:
    if like is None:
        return "the log does not give it"
    pairs = zip(columns, row, like, strict=True)
    return ", ".join(f"{name} is {here!r:.80}, not {there!r:.80}" for name, here, there in pairs if here != there)
