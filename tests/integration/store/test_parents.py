"""A parent keeps its children when its host gives it another name; the new name is resolved wherever it is given."""

import pytest

from acp_runtime.clock import ManualClock
from acp_runtime.core.errors import Rejected
from acp_runtime.core.inputs import PromptAnswered, Send, SessionReady
from acp_runtime.store.store import Store
from tests.histories import spawn
from tests.integration.store.conftest import Line, dump

READY = SessionReady(1, "s", "agent", "1")


async def answered(store: Store, clock: ManualClock, ident: str, parent: str) -> Line:
    line = await Line.begin(store, clock, spawn(ident, parent=parent))
    await line.take(READY, PromptAnswered(1, f"{ident}.t1", "end_turn", 1))
    return line


@pytest.mark.requirement("B14")
async def test_what_happened_under_the_old_name_is_told_under_the_new_one(store: Store, clock: ManualClock) -> None:
    line = await answered(store, clock, "bg-0000000001", "old")
    await store.alias("old", "new")
    turn = await store.begin_turn("new", "mcp", "t1")
    assert len(turn.nudges) == 1
    assert line.id in turn.text
    assert await store.begin_turn("old", "mcp", "t1") == turn, "one turn, whatever the parent is called"
    await store.commit_turn(turn.token)
    assert (await store.begin_turn("old", "hook", "t2")).nudges == ()


@pytest.mark.requirement("B14")
async def test_what_happens_later_belongs_to_the_parent_under_every_name(store: Store, clock: ManualClock) -> None:
    await store.alias("old", "new")
    line = await answered(store, clock, "bg-0000000001", "new")
    assert await store.resolve("new") == await store.resolve("old") == "old"
    assert [
        row["parent"] for row in await store.query("SELECT parent FROM subagent UNION ALL SELECT parent FROM nudge")
    ] == ["old"] * 2
    await store.mark_read("new", line.id, 3)
    assert await store.read_up_to("old", line.id) == await store.read_up_to("new", line.id) == 3


async def test_a_host_that_rotates_again_and_again_stays_one_parent(store: Store, clock: ManualClock) -> None:
    await answered(store, clock, "bg-0000000001", "s1")
    for number in range(1, 5):
        await store.alias(f"s{number}", f"s{number + 1}")
    assert {await store.resolve(f"s{number}") for number in range(1, 6)} == {"s1"}
    assert len((await store.begin_turn("s5", "mcp", "t")).nudges) == 1


async def test_a_name_that_had_children_of_its_own_brings_them_along(store: Store, clock: ManualClock) -> None:
    first = await answered(store, clock, "bg-0000000001", "old")
    second = await answered(store, clock, "bg-0000000002", "new")
    await store.mark_read("new", second.id, 2)
    shown = await store.begin_turn("new", "mcp", "t1")
    await store.begin_turn("old", "hook", "t1")
    await store.alias("new", "newer")
    await store.alias("old", "new")
    assert await store.resolve("newer") == "old"
    turn = await store.begin_turn("newer", "mcp", "t2")
    assert (first.id in turn.text, second.id in turn.text) == (True, True)
    assert turn.nudges == shown.nudges, "the other is held by the hook"
    await store.commit_turn(shown.token)
    assert await store.read_up_to("old", second.id) == 2
    await second.take(Send("more"), PromptAnswered(1, f"{second.id}.t2", "end_turn", 1))
    assert len((await store.begin_turn("new", "mcp", "t3")).nudges) == 1
    live = await dump(store)
    await store.rebuild()
    assert await dump(store) == live


async def test_the_same_alias_twice_changes_nothing(store: Store) -> None:
    for _ in range(3):
        await store.alias("old", "new")
        await store.alias("new", "old")
        await store.alias("old", "old")
    assert [row["n"] for row in await store.query("SELECT count(*) AS n FROM event")] == [1]


async def test_a_name_of_another_parent_is_refused(store: Store) -> None:
    await store.alias("one", "name")
    with pytest.raises(Rejected, match="'name' is another name of another parent") as caught:
        await store.alias("two", "name")
    assert caught.value.kind == "alias_taken"
    assert await store.resolve("name") == "one"
