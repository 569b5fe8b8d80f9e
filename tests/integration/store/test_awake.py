"""Ages over any number of boots and owners, against a record that a test keeps for itself."""

from pathlib import Path
from random import Random

import pytest

from acp_runtime.clock import ManualClock
from acp_runtime.store.awake import older
from acp_runtime.store.store import Store
from tests.integration.store.conftest import PARENT

HOUR = 3_600_000


async def age(store: Store, seconds: float) -> list[int]:
    """Return the events that are older than that, by the store's word."""
    boot, now = store._clock.boot, store._clock.now()
    below = await store._database.read(lambda connection: older(connection, boot, now, seconds))
    return [row["seq"] for row in await store.query("SELECT seq FROM event ORDER BY seq") if row["seq"] < below]


@pytest.mark.requirement("D05.8")
@pytest.mark.parametrize("seed", range(10))
async def test_what_passed_on_every_boot_is_added_up_and_nothing_else(path: Path, seed: int) -> None:
    random, clock, lived = Random(seed), ManualClock(now=1_000), 0
    made: dict[int, int] = {}
    for boot in range(3):
        clock = ManualClock(now=random.randrange(10_000))
        clock.boot = f"boot {boot}"
        began = lived
        for _ in range(2):
            async with Store.open(path, clock) as store:
                for number in range(random.randrange(1, 12)):
                    clock.advance(random.randrange(HOUR))
                    clock.jump(random.randrange(-1000 * HOUR, 1000 * HOUR))
                    await store.begin_turn(PARENT, "mcp", f"{boot} {clock.now()} {number}")
                    lived = began + clock.now()
                    (row,) = await store.query("SELECT max(seq) AS seq FROM event")
                    made[row["seq"]] = lived
                for back in (0, 1, HOUR, 5 * HOUR, 20 * HOUR, random.randrange(40 * HOUR), 1000 * HOUR):
                    assert await age(store, back / 1000) == [seq for seq, at in made.items() if at < lived - back]


async def test_events_of_a_boot_that_nobody_noted_are_no_older_than_the_first_that_was(path: Path) -> None:
    clock = ManualClock(now=90 * HOUR)
    async with Store.open(path, clock) as store:
        for turn in ("t1", "t2"):
            await store.begin_turn(PARENT, "mcp", turn)
        await store.query("UPDATE event SET boot = iif(seq = 1, 'older', 'old')")
        await store.query("DELETE FROM meta WHERE key GLOB 'awake *'")
    later = ManualClock(now=5)
    later.boot = "later"
    async with Store.open(path, later) as store:
        assert await age(store, 0.004) == [1, 2]
        assert await age(store, 0.005) == [1]
        assert await age(store, 90 * HOUR / 1000) == [1]
        assert await age(store, 90 * HOUR / 1000 + 0.005) == []


async def test_an_empty_log_has_nothing_old(path: Path, clock: ManualClock) -> None:
    async with Store.open(path, clock) as store:
        assert await age(store, 0) == []
