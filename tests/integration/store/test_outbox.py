"""Nudges: recorded once, acknowledged once, shown again only while unacknowledged, by one door at a time."""

import asyncio
from pathlib import Path
from random import Random

import pytest

from acp_runtime.clock import ManualClock
from acp_runtime.core.errors import Rejected
from acp_runtime.core.inputs import CancelTask, Halted, PromptAnswered, Send, SessionReady, StopSubagent
from acp_runtime.core.model import Reason
from acp_runtime.core.timers import milliseconds
from acp_runtime.core.turns import MAX_NUDGES, Origin, OutboxRules
from acp_runtime.store.store import Store
from tests.histories import spawn
from tests.integration.store.conftest import PARENT, Line, dump, look

CLAIM_MS = milliseconds(OutboxRules().claim)
READY = SessionReady(1, "s", "agent", "1")


async def ended(store: Store, clock: ManualClock, ident: str = "bg-0000000000", parent: str = PARENT) -> Line:
    """Return a subagent whose first task has ended: one nudge."""
    line = await Line.begin(store, clock, spawn(ident, parent=parent))
    await line.take(READY, PromptAnswered(1, f"{ident}.t1", "end_turn", 1))
    return line


async def test_a_nudge_is_made_in_the_transaction_of_its_fact(store: Store, clock: ManualClock) -> None:
    line = await ended(store, clock)
    (nudge,) = await store.query("SELECT * FROM nudge")
    (fact,) = [row for row in await store.events(line.id, 0, None) if type(row.event).__name__ == "TaskEnded"]
    assert (nudge["created_seq"], nudge["subject"], nudge["state"]) == (fact.seq, f"{line.id}.t1", "pending")


async def test_a_fact_that_could_not_be_stored_leaves_no_nudge(store: Store, clock: ManualClock) -> None:
    line = await Line.begin(store, clock)
    await line.take(READY)
    await store.query("CREATE TRIGGER full BEFORE INSERT ON nudge BEGIN SELECT raise(ABORT, 'full'); END")
    with pytest.raises(Exception, match="full"):
        await line.take(PromptAnswered(1, f"{line.id}.t1", "end_turn", 1))
    assert await store.query("SELECT * FROM nudge") == []
    assert await store.load(line.id) == line.committed
    await store.query("DROP TRIGGER full")
    await line.take(PromptAnswered(1, f"{line.id}.t1", "end_turn", 1))
    assert len(await store.query("SELECT * FROM nudge")) == 1


@pytest.mark.requirement("B07")
async def test_the_same_turn_has_the_same_bytes_whatever_happens_meanwhile(store: Store, clock: ManualClock) -> None:
    await ended(store, clock)
    turn = await store.begin_turn(PARENT, "mcp", "t1")
    await ended(store, clock, "bg-0000000001")
    clock.advance(CLAIM_MS + 1)
    assert await store.begin_turn(PARENT, "mcp", "t1") == turn
    assert await store.begin_turn(PARENT, "hook", "t1") == turn
    await store.commit_turn(turn.token)
    assert await store.begin_turn(PARENT, "mcp", "t1") == turn
    assert len(turn.nudges) == 1
    assert turn.text.count("completed") == 1


async def test_an_answer_that_tells_no_nudge_stores_nothing_and_the_next_fact_is_claimed(
    store: Store, clock: ManualClock
) -> None:
    line = await Line.begin(store, clock)
    await line.take(READY)
    stored = await store.query("SELECT max(seq) AS newest FROM event")
    turn = await store.begin_turn(PARENT, "mcp", "t1", origin=Origin.ANSWER)
    assert (line.id in turn.text, turn.nudges) == (True, ())
    await store.commit_turn(turn.token)
    assert await store.query("SELECT max(seq) AS newest FROM event") == stored
    await line.take(PromptAnswered(1, f"{line.id}.t1", "end_turn", 1))
    told = await store.begin_turn(PARENT, "mcp", "t2", origin=Origin.ANSWER)
    assert len(told.nudges) == 1
    await store.commit_turn(told.token)
    assert (await store.begin_turn(PARENT, "mcp", "t3", origin=Origin.ANSWER)).nudges == ()


async def test_of_one_turn_some_nudges_are_acknowledged_and_the_others_told_again(
    store: Store, clock: ManualClock
) -> None:
    for number in range(3):
        await ended(store, clock, f"bg-{number:010}")
    turn = await store.begin_turn(PARENT, "mcp", "t1")
    first, second, third = turn.nudges
    for _ in range(2):
        await store.commit_turn(turn.token, only=(second, "a nudge of nobody"))
    assert (await store.begin_turn(PARENT, "mcp", "t2")).nudges == (first, third)
    live = await dump(store)
    await store.rebuild()
    assert await dump(store) == live
    await store.commit_turn(turn.token)
    assert (await store.begin_turn(PARENT, "mcp", "t3")).nudges == ()
    for number in range(3):
        await store.commit_turn(turn.token, only=(turn.nudges[number],))
    assert {row["state"] for row in await store.query("SELECT state FROM nudge")} == {"committed"}


async def test_what_one_door_shows_no_other_door_shows_before_the_claim_expires(
    store: Store, clock: ManualClock
) -> None:
    await ended(store, clock)
    first = await store.begin_turn(PARENT, "mcp", "t1")
    assert len(first.nudges) == 1
    clock.advance(CLAIM_MS - 1)
    assert (await store.begin_turn(PARENT, "hook", "t2")).nudges == ()
    clock.advance(1)
    assert (await store.begin_turn(PARENT, "hook", "t3")).nudges == first.nudges
    assert (await store.begin_turn(PARENT, "mcp", "t4")).nudges == (), "the claim is the hook's now"


async def test_a_new_turn_of_the_same_door_shows_again_what_was_not_acknowledged(
    store: Store, clock: ManualClock
) -> None:
    await ended(store, clock)
    first = await store.begin_turn(PARENT, "mcp", "t1")
    again = await store.begin_turn(PARENT, "mcp", "t2")
    assert again.nudges == first.nudges != ()
    await store.commit_turn(again.token)
    assert (await store.begin_turn(PARENT, "mcp", "t3")).nudges == ()


async def test_a_claim_of_an_earlier_boot_is_over(path: Path, clock: ManualClock) -> None:
    async with Store.open(path, clock) as store:
        await ended(store, clock)
        claimed = await store.begin_turn(PARENT, "mcp", "t1")
    later = ManualClock(now=3)
    later.boot = "another boot"
    async with Store.open(path, later) as store:
        assert (await store.begin_turn(PARENT, "hook", "t2")).nudges == claimed.nudges != ()


async def test_a_commit_is_idempotent_and_final(store: Store, clock: ManualClock) -> None:
    await ended(store, clock)
    turn = await store.begin_turn(PARENT, "mcp", "t1")
    for _ in range(3):
        await store.commit_turn(turn.token)
    rows = await store.query("SELECT count(*) AS n FROM event WHERE kind = 'turn_committed'")
    assert rows == [{"n": 1}]
    (nudge,) = await store.query("SELECT * FROM nudge")
    assert (nudge["state"], nudge["turn"]) == ("committed", turn.token)
    clock.advance(10 * CLAIM_MS)
    for door in ("mcp", "hook"):
        assert (await store.begin_turn(PARENT, door, f"later {door}")).nudges == ()


async def test_a_late_commit_of_an_expired_claim_still_acknowledges(store: Store, clock: ManualClock) -> None:
    """The parent has seen it; that another door has shown it too by then is the price of a slow one."""
    await ended(store, clock)
    slow = await store.begin_turn(PARENT, "mcp", "t1")
    clock.advance(CLAIM_MS)
    fast = await store.begin_turn(PARENT, "hook", "t2")
    await store.commit_turn(slow.token)
    await store.commit_turn(fast.token)
    (nudge,) = await store.query("SELECT * FROM nudge")
    assert (nudge["state"], nudge["turn"]) == ("committed", slow.token)


async def test_a_token_that_nobody_was_given_is_refused(store: Store) -> None:
    with pytest.raises(Rejected, match="no turn has the token 'turn-made-up'") as caught:
        await store.commit_turn("turn-made-up")
    assert caught.value.kind == "unknown_turn"


async def test_a_parent_is_not_told_what_it_did_itself(store: Store, clock: ManualClock) -> None:
    line = await Line.begin(store, clock)
    await line.take(
        READY,
        Send("second"),
        CancelTask(f"{line.id}.t2", "parent", "no"),
        StopSubagent(Reason.STOPPED_BY_PARENT, "parent", "enough"),
        Halted(1, confirmed=True),
    )
    assert await store.query("SELECT * FROM nudge") == []
    other = await Line.begin(store, clock, spawn("bg-0000000001"))
    await other.take(
        READY, CancelTask(f"{other.id}.t1", "operator", "no"), PromptAnswered(1, f"{other.id}.t1", "cancelled", 0)
    )
    assert len((await store.begin_turn(PARENT, "mcp", "t")).nudges) == 1


async def test_a_nudge_goes_to_its_own_parent_alone(store: Store, clock: ManualClock) -> None:
    await ended(store, clock, "bg-0000000001", "one")
    await ended(store, clock, "bg-0000000002", "two")
    one, two = await store.begin_turn("one", "mcp", "t"), await store.begin_turn("two", "mcp", "t")
    assert ("bg-0000000001" in one.text, "bg-0000000002" in one.text) == (True, False)
    assert ("bg-0000000001" in two.text, "bg-0000000002" in two.text) == (False, True)
    assert set(one.nudges).isdisjoint(two.nudges)


async def test_more_nudges_than_fit_are_told_in_the_next_turns_oldest_first(store: Store, clock: ManualClock) -> None:
    line = await Line.begin(store, clock)
    await line.take(READY)
    for number in range(1, MAX_NUDGES + 6):
        await line.take(PromptAnswered(1, f"{line.id}.t{number}", "end_turn", 1), Send("next"))
    first = await store.begin_turn(PARENT, "mcp", "t1")
    await store.commit_turn(first.token)
    rest = await store.begin_turn(PARENT, "mcp", "t2")
    assert (len(first.nudges), len(rest.nudges)) == (MAX_NUDGES, 5)
    order = [row["id"] for row in await store.query("SELECT id FROM nudge ORDER BY created_seq")]
    assert [*first.nudges, *rest.nudges] == order


async def test_doors_that_ask_at_the_same_moment_share_no_nudge(store: Store, clock: ManualClock) -> None:
    for number in range(5):
        await ended(store, clock, f"bg-{number:010d}")
    turns = await asyncio.gather(*(store.begin_turn(PARENT, f"door {n}", f"turn {n}") for n in range(8)))
    shown = [nudge for turn in turns for nudge in turn.nudges]
    assert len(shown) == len(set(shown)) == 5


async def test_a_subagent_with_unread_work_is_marked_until_it_was_read(store: Store, clock: ManualClock) -> None:
    line = await ended(store, clock)
    assert " unread " in (await store.begin_turn(PARENT, "mcp", "t1")).text
    rows = await store.events(line.id, 0, None)
    await store.mark_read(PARENT, line.id, rows[-1].seq)
    await store.mark_read(PARENT, line.id, 1)
    assert " unread " not in (await store.begin_turn(PARENT, "mcp", "t2")).text
    await line.take(Send("more"), PromptAnswered(1, f"{line.id}.t2", "end_turn", 1))
    assert " unread " in (await store.begin_turn(PARENT, "mcp", "t3")).text


async def test_a_subagent_that_has_ended_leaves_the_roster(store: Store, clock: ManualClock) -> None:
    line = await Line.begin(store, clock)
    assert line.id in (await store.begin_turn(PARENT, "mcp", "t1")).text
    await line.take(StopSubagent(Reason.FINISHED, "parent", "done"), Halted(1, confirmed=True))
    assert (await store.begin_turn(PARENT, "mcp", "t2")).text == ""


@pytest.mark.requirement("P16")
async def test_what_cannot_be_rendered_breaks_no_turn_and_stays_to_be_told(
    store: Store, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    line = await ended(store, clock)
    await store.query("UPDATE nudge SET about = 'nonsense'")
    turn = await store.begin_turn(PARENT, "mcp", "t1")
    assert (turn.text, turn.nudges) == ("", ())
    assert "the turn t1 of p could not be rendered" in caplog.text
    await store.commit_turn(turn.token)
    await store.query("UPDATE nudge SET about = 'task'")
    turn = await store.begin_turn(PARENT, "mcp", "t2")
    assert len(turn.nudges) == 1
    assert line.id in turn.text


class Parent:
    """A parent with two doors in a random order of turns, commits, crashes and time; and what it must never see."""

    def __init__(self, store: Store, clock: ManualClock, random: Random) -> None:
        self.store = store
        self.clock = clock
        self.random = random
        self.claims: dict[str, tuple[str, int]] = {}
        self.acknowledged: set[str] = set()
        self.seen: set[str] = set()
        self.turns: dict[str, tuple[str, tuple[str, ...]]] = {}
        self.count = 0

    async def turn(self, door: str) -> None:
        self.count += 1
        turn = await self.store.begin_turn(PARENT, door, f"t{self.count}")
        for nudge in turn.nudges:
            assert nudge not in self.acknowledged, "shown again after it was acknowledged"
            owner, until = self.claims.get(nudge, (door, 0))
            assert owner == door or until <= self.clock.now(), "shown by two doors at once"
            self.claims[nudge] = door, self.clock.now() + CLAIM_MS
        assert len(turn.nudges) == turn.text.count(" task "), "claimed without being shown"
        self.seen.update(turn.nudges)
        self.turns[turn.token] = door, turn.nudges

    async def acknowledge(self) -> None:
        if self.turns:
            token = self.random.choice(list(self.turns))
            await self.store.commit_turn(token)
            self.acknowledged.update(self.turns[token][1])

    async def settle(self, facts: set[str]) -> None:
        """In the end every fact was shown and acknowledged, however often the parent crashed before."""
        for _ in range(len(facts) + 1):
            self.clock.advance(CLAIM_MS)
            await self.turn("mcp")
            token, (_, nudges) = list(self.turns.items())[-1]
            await self.store.commit_turn(token)
            self.acknowledged.update(nudges)
        assert self.seen == self.acknowledged == facts, "a fact was never shown"


async def schedule(store: Store, clock: ManualClock, seed: int) -> None:
    random = Random(seed)
    parent = Parent(store, clock, random)
    line = await Line.begin(store, clock)
    await line.take(READY)
    for _ in range(60):
        match random.randrange(5):
            case 0:
                newest = line.committed.state.task_count
                await line.take(PromptAnswered(1, f"{line.id}.t{newest}", "end_turn", 1), Send("next"))
            case 1 | 2:
                await parent.turn(random.choice(["mcp", "hook"]))
            case 3:
                await parent.acknowledge()
            case _:
                clock.advance(random.choice([1, CLAIM_MS // 3, CLAIM_MS]))
    facts = {row["id"] for row in await store.query("SELECT id FROM nudge")}
    await parent.settle(facts)


@pytest.mark.parametrize("seed", range(4))
async def test_in_any_order_of_turns_and_commits_each_fact_is_told_until_acknowledged(
    store: Store, clock: ManualClock, seed: int
) -> None:
    await schedule(store, clock, seed)


CLAIMED = "AFTER UPDATE OF state ON nudge WHEN new.state = 'claimed' BEGIN UPDATE nudge SET"
COMMITTED = "AFTER UPDATE OF state ON nudge WHEN new.state = 'committed' BEGIN UPDATE nudge SET"
MUTANTS = {
    "a flag that says shown instead of a claim": (f"{CLAIMED} state = 'committed' WHERE id = new.id", "never shown"),
    "no claim": (f"{CLAIMED} state = 'pending', turn = NULL WHERE id = new.id", "two doors|shown again"),
    "a commit before it is rendered": (
        "AFTER UPDATE OF committed_seq ON turn BEGIN UPDATE nudge SET state = 'committed' WHERE parent = new.parent",
        "never shown",
    ),
    "a commit that is forgotten": (f"{COMMITTED} state = 'pending' WHERE id = new.id", "shown again"),
}


@pytest.mark.parametrize("mutant", MUTANTS)
async def test_an_outbox_that_breaks_the_promise_does_not_pass(store: Store, clock: ManualClock, mutant: str) -> None:
    """The control: these schedules do see it when nudges are lost or told twice."""
    trigger, words = MUTANTS[mutant]
    await store.query(f"CREATE TRIGGER mutant {trigger}; END")
    with pytest.raises(AssertionError, match=words):
        await schedule(store, clock, 0)


def test_the_claims_of_a_turn_are_on_disk(path: Path, clock: ManualClock) -> None:
    async def begin() -> None:
        async with Store.open(path, clock) as store:
            await ended(store, clock)
            await store.begin_turn(PARENT, "mcp", "t1")

    asyncio.run(begin())
    assert look(path, "SELECT state FROM nudge") == [("claimed",)]
