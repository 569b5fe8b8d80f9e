"""The schema: what the migrations make is written down, and every hot query finds what it wants by an index."""

import hashlib
import re
import sqlite3
from importlib.resources import files
from pathlib import Path

import pytest

from acp_runtime.clock import ManualClock
from acp_runtime.core.admission import Admission
from acp_runtime.core.decide import decide
from acp_runtime.core.inputs import AnswerRequest, Asked, PromptAnswered, SessionReady
from acp_runtime.core.model import Order
from acp_runtime.core.status import Status
from acp_runtime.core.turns import Form
from acp_runtime.store.db import SCHEMA_VERSION, migrate, migrations
from acp_runtime.store.outbox import OPEN
from acp_runtime.store.store import Store
from tests.histories import REJECT, spawn
from tests.integration.store.conftest import Line, look

SCHEMA = (files("acp_runtime.store") / "schema.sql").read_text(encoding="utf-8")
FIRST = "ca15dc58a4a0cd348321f81804de454207e52ffc44b348b39d3c80f7a46b38bc"
LIST = "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name"


def plain(sql: str) -> str:
    """Return SQL without its comments and its layout."""
    lines = (line for line in sql.splitlines() if not line.lstrip().startswith("--"))
    return re.sub(r" ?([,()]) ?", r"\1", " ".join(" ".join(lines).split()))


def test_the_migrations_in_order_make_the_schema_that_is_written_down() -> None:
    migrated, written = sqlite3.connect(":memory:"), sqlite3.connect(":memory:")
    migrate(migrated)
    written.executescript(SCHEMA)
    made, told = ([(name, plain(sql)) for name, sql in each.execute(LIST)] for each in (migrated, written))
    migrated.close()
    written.close()
    assert made == told


async def test_a_new_store_has_that_schema(store: Store, path: Path) -> None:
    written = sqlite3.connect(":memory:")
    written.executescript(SCHEMA)
    names = [name for name, _ in written.execute(LIST)]
    written.close()
    assert [name for name, _ in look(path, LIST)] == names
    assert look(path, "PRAGMA user_version") == [(SCHEMA_VERSION,)]


def test_migrations_are_numbered_without_a_gap_up_to_the_version() -> None:
    assert [version for version, _ in migrations()] == list(range(1, SCHEMA_VERSION + 1))


def test_the_first_migration_is_as_it_was_when_the_first_stores_were_made() -> None:
    """A store that has it never gets what is changed in it: whatever comes later is a migration of its own."""
    first = (files("acp_runtime.store") / "migrations" / "0001_initial.sql").read_bytes()
    assert hashlib.sha256(first).hexdigest() == FIRST


async def test_what_a_later_migration_gives_to_rows_of_before_is_what_their_log_gives(store: Store, path: Path) -> None:
    given = spawn("bg-0000000001", order=Order(agent="scripted", workspace="/w"))
    await store.commit(given.id, None, 0, decide(None, given, 0)[0])
    defaults = {name: value for _, name, _, _, value, _ in look(path, "PRAGMA table_info(subagent)") if value}
    assert defaults
    assert look(path, f"SELECT {', '.join(defaults)} FROM subagent") == look(
        path, f"SELECT {', '.join(defaults.values())}"
    )


def test_a_migration_that_fails_leaves_the_store_as_it_was(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
    connection.execute("CREATE TABLE turn (this_is TEXT)")
    with pytest.raises(sqlite3.OperationalError, match="already exists"):
        migrate(connection)
    connection.close()
    assert look(tmp_path / "store.db", "SELECT name FROM sqlite_master") == [("turn",)]
    assert look(tmp_path / "store.db", "PRAGMA user_version") == [(0,)]


def test_the_words_for_open_are_those_of_the_status() -> None:
    over = ", ".join(f"'{status}'" for status in Status if status.over)
    assert f"status NOT IN ({over})" == OPEN


async def test_no_statement_reads_rows_that_it_does_not_want(store: Store, clock: ManualClock, path: Path) -> None:
    """All that runs for events, polls and turns seeks by an index; a page of the log is not sorted out of a stream."""
    seen: list[str] = []
    await store.search("p", "word")  # its index reads its settings at the first use
    await store._database.read(lambda connection: connection.set_trace_callback(seen.append))
    line = await Line.begin(store, clock)
    await line.take(
        SessionReady(1, "s", "agent", "1"),
        Asked(1, "1-1", "may I", (REJECT,)),
        Asked(1, "1-2", "may I", (REJECT,)),
        AnswerRequest("1-1", "r", "operator"),
        PromptAnswered(1, f"{line.id}.t1", "end_turn", 1),
    )
    other = spawn("bg-0000000001", order=Order(agent="scripted", workspace="/w"))
    await store.commit(other.id, None, 0, decide(None, other, 0)[0], admit=Admission())
    await store.alias("p", "p again")
    await store.wakeable("p")
    await store.begin_turn("p", "hook", "t0", form=Form.LEGACY)
    turn = await store.begin_turn("p", "python", "t1")
    await store.commit_turn(turn.token)
    await store.mark_read("p", line.id, 1)
    await store.events(line.id, 1, 10)
    for query in (OPEN_REQUESTS, OPEN_SUBAGENTS):
        await store.query(query)
    connection = sqlite3.connect(path)
    for statement in {each for each in seen if each.split()[0] in ("SELECT", "INSERT", "UPDATE", "DELETE")}:
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}")]
        scans = [step for step in plan if step.startswith("SCAN") and "VIRTUAL TABLE" not in step]
        assert [step for step in scans if not step.endswith(NARROW)] == [], statement
        assert not any("TEMP B-TREE" in step for step in plan if "nudge" not in statement), f"{statement}: {plan}"
        assert not any(step in TOO_WIDE for step in plan), f"{statement}: {plan}"
    connection.close()
    assert len(seen) > 30


# What the facade asks for, and seeks that read a whole history to find what is open in it.
OPEN_REQUESTS = "SELECT * FROM request WHERE subagent = 'a' AND closed_seq IS NULL ORDER BY opened_seq"
OPEN_SUBAGENTS = f"SELECT * FROM subagent WHERE parent = 'p' AND {OPEN} ORDER BY created_seq"
TOO_WIDE = (
    "SEARCH nudge USING INDEX nudge_parent (parent=?)",
    "SEARCH subagent USING INDEX subagent_parent (parent=?)",
    "SEARCH task USING INDEX task_subagent (subagent=?)",
    "SEARCH request USING PRIMARY KEY (subagent=?)",
)
# What is alive is all that this index holds, and there are few.
NARROW = "INDEX subagent_alive"
