"""What cannot be told becomes a dead letter with its reason: visible, kept, and told after all when it is revived.

And the loop guard: completions alone cannot keep a parent in turns for ever.
"""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from acp_runtime.clock import ManualClock
from acp_runtime.core.errors import Rejected
from acp_runtime.core.inputs import PromptAnswered, Send, SessionReady
from acp_runtime.core.turns import Form, Origin, OutboxRules
from acp_runtime.store.store import Store
from tests.histories import spawn
from tests.integration.store.conftest import PARENT, Line, dump

READY = SessionReady(1, "s", "agent", "1")
RULES = OutboxRules(claim=10.0, aged=60.0, offers=3, absent=3_600.0, wakes=2)


@pytest.fixture
async def strict(path: Path, clock: ManualClock) -> AsyncIterator[Store]:
    async with Store.open(path, clock, RULES) as store:
        yield store


async def answered(store: Store, clock: ManualClock, ident: str = "bg-0000000000") -> Line:
    line = await Line.begin(store, clock, spawn(ident))
    await line.take(READY, PromptAnswered(1, f"{ident}.t1", "end_turn", 1))
    return line


async def letters(store: Store) -> list[tuple[str, str]]:
    return [(row["state"], row["dead"]) for row in await store.query("SELECT state, dead FROM nudge")]


async def same_after_rebuild(store: Store) -> None:
    live = await dump(store)
    await store.rebuild()
    assert await dump(store) == live


async def test_what_is_offered_again_and_again_without_an_acknowledgement_dies(
    strict: Store, clock: ManualClock
) -> None:
    await answered(strict, clock)
    turns = [await strict.begin_turn(PARENT, "mcp", f"t{number}") for number in range(4)]
    assert [len(turn.nudges) for turn in turns] == [1, 1, 1, 0]
    assert await letters(strict) == [("dead", "shown in 3 turns, and none of them was acknowledged")]
    assert (await strict.figures(PARENT)).nudges_dead == 1
    await same_after_rebuild(strict)


async def test_the_same_turn_asked_for_again_is_one_offer(strict: Store, clock: ManualClock) -> None:
    await answered(strict, clock)
    for _ in range(10):
        assert len((await strict.begin_turn(PARENT, "mcp", "t1")).nudges) == 1
    assert [row["offers"] for row in await strict.query("SELECT offers FROM nudge")] == [1]


async def test_a_dead_letter_that_was_seen_after_all_is_acknowledged(strict: Store, clock: ManualClock) -> None:
    await answered(strict, clock)
    turns = [await strict.begin_turn(PARENT, "mcp", f"t{number}") for number in range(4)]
    await strict.commit_turn(turns[1].token)
    assert await letters(strict) == [("committed", "")]
    await same_after_rebuild(strict)


async def test_a_parent_that_takes_no_turn_leaves_dead_letters(strict: Store, clock: ManualClock) -> None:
    await answered(strict, clock)
    clock.advance(3_600_000)
    assert await strict.bury() == ()
    clock.advance(1)
    (dead,) = await strict.bury()
    assert await letters(strict) == [("dead", "its parent took no turn for 1 h")]
    assert await strict.bury() == ()
    await same_after_rebuild(strict)
    with pytest.raises(Rejected, match="is unknown; only a dead one"):
        await strict.revive("another", dead)
    await strict.revive(None, dead)
    assert await letters(strict) == [("pending", "")]
    turn = await strict.begin_turn(PARENT, "mcp", "t1")
    assert turn.nudges == (dead,)
    assert "(1 h ago)" in turn.text
    await same_after_rebuild(strict)


async def test_a_new_owner_looks_for_parents_that_are_gone(path: Path, clock: ManualClock) -> None:
    async with Store.open(path, clock, RULES) as store:
        await answered(store, clock)
    clock.advance(3_600_001)
    async with Store.open(path, clock, RULES) as store:
        assert await letters(store) == [("dead", "its parent took no turn for 1 h")]


async def test_a_parent_that_takes_turns_is_not_absent(strict: Store, clock: ManualClock) -> None:
    await answered(strict, clock)
    for number in range(2):
        clock.advance(3_000_000)
        await strict.begin_turn(PARENT, "mcp", f"t{number}")
    assert await strict.bury() == ()


async def test_only_a_dead_letter_can_be_revived(strict: Store, clock: ManualClock) -> None:
    await answered(strict, clock)
    (row,) = await strict.query("SELECT id FROM nudge")
    with pytest.raises(Rejected, match="is pending; only a dead one can be offered again") as caught:
        await strict.revive(PARENT, row["id"])
    assert caught.value.kind == "not_dead"
    with pytest.raises(Rejected, match="'n-made-up' is unknown"):
        await strict.revive(PARENT, "n-made-up")


async def test_an_old_nudge_shows_its_age_and_the_turn_keeps_its_bytes(strict: Store, clock: ManualClock) -> None:
    await answered(strict, clock)
    clock.advance(60_000)
    assert " ago)" not in (await strict.begin_turn(PARENT, "mcp", "t1")).text
    clock.advance(14 * 60_000)
    turn = await strict.begin_turn(PARENT, "mcp", "t2")
    assert " completed (15 min ago)" in turn.text
    clock.advance(10 * 3_600_000)
    assert await strict.begin_turn(PARENT, "mcp", "t2") == turn


@pytest.mark.requirement("B26")
async def test_what_no_door_holds_wakes_a_parent(strict: Store, clock: ManualClock) -> None:
    assert (await strict.wakeable(PARENT)).nudges == ()
    await answered(strict, clock)
    pending = await strict.wakeable(PARENT)
    assert len(pending.nudges) == 1
    assert pending.again is None
    turn = await strict.begin_turn(PARENT, "mcp", "t1")
    held = await strict.wakeable(PARENT)
    assert (held.nudges, held.again) == ((), clock.now() + 10_000)
    clock.advance(10_000)
    assert (await strict.wakeable(PARENT)).nudges == pending.nudges
    await strict.commit_turn(turn.token)
    assert (await strict.wakeable(PARENT)).nudges == ()


async def test_wake_ups_in_a_row_end_until_a_user_begins_a_turn(strict: Store, clock: ManualClock) -> None:
    line = await answered(strict, clock)
    for number in range(2, 4):
        assert len((await strict.wakeable(PARENT)).nudges) == 1
        turn = await strict.begin_turn(PARENT, "mcp", f"wake {number}", origin=Origin.WAKE)
        await strict.begin_turn(PARENT, "mcp", f"wake {number}", origin=Origin.WAKE)
        await strict.commit_turn(turn.token)
        await line.take(Send("more"), PromptAnswered(1, f"{line.id}.t{number}", "end_turn", 1))
    assert (await strict.wakeable(PARENT)).nudges == (), "the loop guard holds"
    await same_after_rebuild(strict)
    turn = await strict.begin_turn(PARENT, "mcp", "user")
    assert len(turn.nudges) == 1, "nothing is lost by it"
    await strict.commit_turn(turn.token)
    await line.take(Send("more"), PromptAnswered(1, f"{line.id}.t4", "end_turn", 1))
    assert len((await strict.wakeable(PARENT)).nudges) == 1


async def test_readers_are_woken_by_turns_too(strict: Store) -> None:
    tick = strict.tick
    turn = await strict.begin_turn(PARENT, "mcp", "t1")
    await strict.commit_turn(turn.token)
    assert strict.tick == tick + 2


async def test_more_than_fifty_open_subagents_are_counted_and_told_where_to_find(
    strict: Store, clock: ManualClock
) -> None:
    for number in range(53):
        await Line.begin(strict, clock, spawn(f"bg-{number:010d}"))
    text = (await strict.begin_turn(PARENT, "mcp", "t1")).text
    assert text.count("(bg-") == 50
    assert "- and 3 more: list_background_subagents shows them" in text


@pytest.mark.requirement("P14", "P15")
async def test_a_host_of_the_original_gets_its_text(strict: Store, clock: ManualClock) -> None:
    line = await answered(strict, clock)
    await line.take(Send("count\n  sheep"))
    turn = await strict.begin_turn(PARENT, "python", "t1", form=Form.LEGACY)
    version = line.committed.version
    assert turn.text == (
        "Background subagent updates since your last turn:\n"
        "- amber-fox (bg-0000000000) finished its latest task.\n\n"
        "Open background ACP subagents you can manage with spawn_background_subagent/list_background_subagents/"
        "send_background_subagent/poll_background_subagent/get_background_subagent_status/stop_background_subagent:\n"
        f"- amber-fox (bg-0000000000) [running] agent=scripted cwd=/workspace unread={version} purpose=walk "
        "current_task=count sheep"
    )


@pytest.mark.requirement("D06.10")
@pytest.mark.parametrize("days", [400, -400])
async def test_a_wall_clock_that_jumps_makes_no_dead_letters(path: Path, clock: ManualClock, days: int) -> None:
    async with Store.open(path, clock, RULES) as store:
        await answered(store, clock)
        clock.jump(days * 86_400_000)
        assert await store.bury() == ()
    async with Store.open(path, clock, RULES) as store:
        turn = await store.begin_turn(PARENT, "mcp", "t1")
        assert len(turn.nudges) == 1
        clock.advance(3_600_000)
        assert await store.bury() == ()
        clock.advance(1)
        assert await store.bury() == turn.nudges, "time that passes counts all the same"
        await same_after_rebuild(store)


@pytest.mark.requirement("D06.10")
async def test_what_no_boot_saw_pass_makes_no_dead_letters(path: Path, clock: ManualClock) -> None:
    """A machine that is off for a year: its parents could not take a turn."""
    async with Store.open(path, clock, RULES) as store:
        await answered(store, clock)
        clock.advance(3_000_000)
        await store.renew_lease(30)
    booted = ManualClock(now=5, wall=clock.wall() + timedelta(days=365))
    booted.boot = "another"
    async with Store.open(path, booted, RULES) as store:
        assert await letters(store) == [("pending", "")]
        booted.advance(599_995)
        assert await store.bury() == ()
        booted.advance(1)
        assert len(await store.bury()) == 1, "50 minutes of the first boot and 10 of the second are an hour"
