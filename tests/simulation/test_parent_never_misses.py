"""The parent never misses: whatever goes wrong, each fact is told until it is acknowledged, and never after."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.store.conftest import dump
from tests.simulation.host import Ground, Host

STEPS = 40
PER_BATCH = 50
BATCHES = 6
LONG_BATCHES = 60


@pytest.fixture
def path() -> Iterator[Path]:
    """Return the place of a store, in memory where there is a file system for that: each commit waits for its file."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder) / "store.db"


async def histories(ground: Ground, seeds: range, *, commits_first: bool = False) -> None:
    for seed in seeds:
        await Host(ground, seed, commits_first=commits_first).run(STEPS)


async def run(path: Path, seeds: range) -> None:
    """Live through one history for each seed, in one store; in the end its projections follow from its log."""
    async with Ground.open(path) as ground:
        await histories(ground, seeds)
        live = await dump(ground.store)
        kinds = {row["kind"] for row in live["nudge"]}
        assert len(kinds) >= 7, f"histories that tell little prove little: {kinds}"
        await ground.store.rebuild()
        assert await dump(ground.store) == live


@pytest.mark.parametrize("batch", range(BATCHES))
@pytest.mark.requirement("B07", "P15")
async def test_each_fact_is_told_until_it_is_acknowledged_and_never_after(path: Path, batch: int) -> None:
    await run(path, range(batch * PER_BATCH, (batch + 1) * PER_BATCH))


@pytest.mark.long
@pytest.mark.parametrize("batch", range(BATCHES, LONG_BATCHES))
async def test_each_fact_is_told_until_it_is_acknowledged_in_thousands_of_histories(path: Path, batch: int) -> None:
    await run(path, range(batch * PER_BATCH, (batch + 1) * PER_BATCH))


SHOWN = "AFTER UPDATE OF state ON nudge WHEN new.state = 'claimed' BEGIN UPDATE nudge SET"
SEEN = "AFTER UPDATE OF state ON nudge WHEN new.state = 'committed' BEGIN UPDATE nudge SET"
CLOSED = "AFTER UPDATE OF state ON nudge WHEN new.state = 'superseded' BEGIN UPDATE nudge SET"
CONTROLS = {
    "a flag that says shown instead of an outbox": (f"{SHOWN} state = 'committed' WHERE id = new.id", "lost"),
    "a claim that never ends": (
        "AFTER UPDATE OF turn ON nudge BEGIN UPDATE turn SET expires = 1 << 60, door = 'none' WHERE token = new.turn",
        "lost",
    ),
    "an acknowledgement that is forgotten": (f"{SEEN} state = 'pending' WHERE id = new.id", "told again"),
    "a question that stays after its answer": (
        f"{CLOSED} state = 'pending' WHERE id = new.id",
        "asked what is open no more",
    ),
    "a fact without its nudge": (
        "AFTER INSERT ON nudge WHEN new.kind = 'timed_out' BEGIN DELETE FROM nudge WHERE id = new.id",
        "lost",
    ),
}


@pytest.mark.parametrize("control", CONTROLS)
async def test_a_store_that_breaks_the_promise_does_not_pass(path: Path, control: str) -> None:
    """The control: these histories do see it."""
    trigger, words = CONTROLS[control]
    async with Ground.open(path) as ground:
        await ground.store.query(f"CREATE TRIGGER control {trigger}; END")
        with pytest.raises(AssertionError, match=words):
            await histories(ground, range(PER_BATCH))


async def test_a_door_that_commits_before_its_text_was_read_does_not_pass(path: Path) -> None:
    """The control: a turn that fails after its commit loses what it told."""
    async with Ground.open(path) as ground:
        with pytest.raises(AssertionError, match="lost"):
            await histories(ground, range(PER_BATCH), commits_first=True)
