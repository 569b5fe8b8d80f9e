"""How old things are: in time for which the machine was awake, read from the order of the log.

Neither a jump of the wall clock nor a long sleep makes anything old. Every event has a reading of its boot's clock;
here is kept what had passed on all boots before, so that readings of two boots can be compared. What nobody saw pass
(the machine was off, or asleep, or the end of a boot was not noted) does not count: things are younger, never older.
"""

import sqlite3
from typing import Final

from acp_runtime.core.timers import milliseconds

_KEY: Final = "awake "
_AT: Final = "SELECT seq, boot, json_extract(data, '$.at') AS at FROM event"


def note(connection: sqlite3.Connection, boot: str, now: int) -> None:
    """Keep that the clock of a boot has come to `now`, inside of a transaction. Comes before the boot's first event."""
    spans = _spans(connection)
    newest = connection.execute(f"{_AT} ORDER BY seq DESC LIMIT 1").fetchone()
    for seen, reading in ((newest["boot"], newest["at"]), (boot, now)) if newest else ((boot, now),):
        before, last = spans.get(seen, (max((sum(each) for each in spans.values()), default=0), reading))
        spans[seen] = before, max(last, reading)
        connection.execute(
            "INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (_KEY + seen, f"{before} {max(last, reading)}")
        )


def older(connection: sqlite3.Connection, boot: str, now: int, seconds: float) -> int:
    """Return the cursor below which every event is more than `seconds` old."""
    spans = _spans(connection)
    edge = _lived(spans, boot, now) - milliseconds(seconds)
    # One statement for both would read the whole log.
    low = connection.execute("SELECT coalesce(min(seq), 1) FROM event").fetchone()[0]
    high = connection.execute("SELECT coalesce(max(seq), 0) + 1 FROM event").fetchone()[0]
    while low < high:
        middle = (low + high) // 2
        row = connection.execute(f"{_AT} WHERE seq >= ? ORDER BY seq LIMIT 1", (middle,)).fetchone()
        if _lived(spans, row["boot"], row["at"]) < edge:
            low = int(row["seq"]) + 1
        else:
            high = middle
    return int(low)


def seconds_since(connection: sqlite3.Connection, stream: str, boot: str, now: int) -> float:
    """Return for how long the machine was awake since a stream began; 0 for one that has not."""
    row = connection.execute(f"{_AT} WHERE stream = ? ORDER BY seq LIMIT 1", (stream,)).fetchone()
    if row is None:
        return 0.0
    spans = _spans(connection)
    return max(0, _lived(spans, boot, now) - _lived(spans, row["boot"], row["at"])) / 1000


def left_at(connection: sqlite3.Connection, stream: str, boot: str) -> int | None:
    """Return how far the clock came of the boot of a stream's newest event, or None when that is `boot`."""
    row = connection.execute(f"{_AT} WHERE stream = ? ORDER BY seq DESC LIMIT 1", (stream,)).fetchone()
    if row is None or row["boot"] == boot:
        return None
    return max(int(row["at"]), _spans(connection).get(row["boot"], (0, 0))[1])


def _lived(spans: dict[str, tuple[int, int]], boot: str, reading: int) -> int:
    """Return a reading as milliseconds of all boots that were noted; one of a boot that was not is from before them."""
    return spans[boot][0] + reading if boot in spans else 0


def _spans(connection: sqlite3.Connection) -> dict[str, tuple[int, int]]:
    """Return for each boot what had passed before it, and how far its own clock has come."""
    rows = connection.execute("SELECT key, value FROM meta WHERE key GLOB ?", (_KEY + "*",))
    return {str(row["key"])[len(_KEY) :]: _pair(str(row["value"])) for row in rows}


def _pair(value: str) -> tuple[int, int]:
    before, _, last = value.partition(" ")
    return int(before), int(last)
