"""What was asked, said and answered is found again, whatever is typed; nobody finds what is another's."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from acp_runtime.clock import ManualClock
from acp_runtime.core.inputs import Halted, Heard, PromptAnswered, Send, SessionReady, StopSubagent
from acp_runtime.core.model import Limits, Reason
from acp_runtime.core.transcript import MessageEntry, ToolEntry
from acp_runtime.store.search import MAX_HITS, Found
from acp_runtime.store.search_query import match_all, match_any
from acp_runtime.store.store import Store
from tests.histories import spawn
from tests.integration.store.conftest import PARENT, Line

READY = SessionReady(1, "s", "agent", "1")
TASK = "Find security issues in auth.py and in the claude-code client, then review the C++ parser"
ANSWER = "p2 found 3 issues: the tokens are compared with == and task: x was skipped. Schlüssel fehlt."


async def answered(
    store: Store, clock: ManualClock, ident: str = "bg-0123456789", *, parent: str = PARENT, task: str = TASK
) -> Line:
    """Return a subagent whose first task was answered, with something said on the way."""
    line = await Line.begin(store, clock, spawn(ident, parent=parent, task=task))
    await line.take(
        READY,
        Heard(1, (MessageEntry("agent", "Reading the pars"), MessageEntry("agent", "er first."))),
        Heard(1, (ToolEntry("c1", title="grep hmac"), MessageEntry("agent", ANSWER))),
        PromptAnswered(1, f"{ident}.t1", "end_turn", 1),
    )
    return line


async def found(store: Store, query: str, parent: str | None = PARENT, limit: int = 20) -> list[Found]:
    return await store.search(parent, query, limit=limit)


@pytest.mark.parametrize(
    ("query", "where"),
    [
        ("security issues auth.py", "task"),
        ("claude-code", "task"),
        ("C++", "task"),
        ("what did p2 find?", "result"),
        ("task: x", "result"),
        ('"security issues"', "task"),
        ("securi*", "task"),
        ("nothing OR hmac", "transcript"),
        ("parser first", "transcript"),
        ("schlussel", "result"),
        ("amber-fox", "name"),
        ("walk", "name"),
        ("bg-0123", "id"),
        ("bg-0123456789.t1", "id"),
        ("012345", "id"),
        ("tokens AND compared", "result"),
        ('auth.py" OR (NEAR ^name: {-*', "task"),
    ],
)
async def test_what_people_type_is_found(store: Store, clock: ManualClock, query: str, where: str) -> None:
    line = await answered(store, clock)
    hits = await found(store, query)
    assert [(hit.subagent, hit.task, hit.where) for hit in hits] == [(line.id, f"{line.id}.t1", where)]
    assert "\n" not in hits[0].snippet
    assert where == "id" or ">>>" in hits[0].snippet


@pytest.mark.parametrize(
    "query", ["", " ", "++", '"', '""', "?", "OR", "*", "'; DROP TABLE nudge; --", "\ud800", "\0", "bg-ff"]
)
async def test_what_is_no_word_finds_nothing_and_is_no_error(store: Store, clock: ManualClock, query: str) -> None:
    await answered(store, clock)
    assert await found(store, query) == []


async def test_any_text_is_a_query(store: Store, clock: ManualClock) -> None:
    await answered(store, clock)
    chars = st.text(st.characters(exclude_categories=()), max_size=40)

    @given(chars | st.text(st.sampled_from("abcORNEAR \"*():^{}+-,.\\'\0\ud800é"), max_size=30))
    @settings(max_examples=300, suppress_health_check=list(HealthCheck), deadline=None)
    def is_expression(query: str) -> None:
        for expression in (match_all(query), match_any(query)):
            assert expression.count('"') % 2 == 0
            queries.add(expression.encode("utf-8", "replace").decode())

    queries: set[str] = set()
    is_expression()

    for expression in queries - {""}:
        await store.query("SELECT rowid FROM search WHERE search MATCH ?", expression)


async def test_words_stand_for_all_of_them_and_only_without_such_a_task_for_any(
    store: Store, clock: ManualClock
) -> None:
    await answered(store, clock, "bg-0000000001", task="sheep and goats")
    await answered(store, clock, "bg-0000000002", task="sheep alone")
    assert [hit.subagent for hit in await found(store, "sheep goats")] == ["bg-0000000001"]
    assert {hit.subagent for hit in await found(store, "sheep unicorns")} == {"bg-0000000001", "bg-0000000002"}
    assert {hit.subagent for hit in await found(store, "goats OR alone")} == {"bg-0000000001", "bg-0000000002"}
    assert await found(store, '"goats sheep"', limit=5) == []


async def test_a_task_is_found_as_soon_as_it_is_queued(store: Store, clock: ManualClock) -> None:
    line = await Line.begin(store, clock)
    await line.take(Send("count the unicorns"))
    (hit,) = await found(store, "unicorns")
    assert (hit.task, hit.state) == (f"{line.id}.t2", "queued")


async def test_a_parent_finds_its_own_and_the_operator_all(store: Store, clock: ManualClock) -> None:
    await answered(store, clock, "bg-0000000001", parent="one")
    await answered(store, clock, "bg-0000000002", parent="two")
    for query in ("security", "bg-0", "amber-fox"):
        assert [hit.subagent for hit in await found(store, query, "one")] == ["bg-0000000001"]
        assert len(await found(store, query, None)) == 2
    await store.alias("one", "one again")
    assert [hit.subagent for hit in await found(store, "security", "one again")] == ["bg-0000000001"]


async def test_hits_are_bounded_and_what_fits_best_comes_first(store: Store, clock: ManualClock) -> None:
    line = await Line.begin(store, clock, spawn(task="rare", limits=Limits(queue=99)))
    await line.take(*(Send(f"number {number}: common words") for number in range(16)))
    assert len(await found(store, "common", limit=3)) == 3
    assert len(await found(store, "common", limit=10 * MAX_HITS)) == 16
    assert len(await found(store, "common", limit=0)) == 1
    await line.take(Send("common common common common"))
    assert (await found(store, "common", limit=1))[0].task == f"{line.id}.t18"


async def test_what_was_said_is_cut_and_still_rebuilt_alike(store: Store, clock: ManualClock) -> None:
    line = await Line.begin(store, clock)
    await line.take(READY, Heard(1, tuple(MessageEntry("agent", "word " * 3_000) for _ in range(6))))
    await line.take(PromptAnswered(1, f"{line.id}.t1", "end_turn", 1))
    ((length,),) = [tuple(row.values()) for row in await store.query("SELECT length(transcript) AS n FROM task")]
    assert length == 65_536
    stop = StopSubagent(Reason.FINISHED, "parent", "done")
    await line.take(stop, Halted(1, confirmed=True))
    before = await found(store, "word")
    await store.rebuild()
    assert await found(store, "word") == before != []
