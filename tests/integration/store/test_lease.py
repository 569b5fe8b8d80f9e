"""A stalled owner is told from a living one by its lease, and replaced without a trace of it in the log."""

import os
from pathlib import Path

import pytest

from acp_runtime.clock import ManualClock
from acp_runtime.core.errors import StoreError, StoreOwned
from acp_runtime.store import ownership
from acp_runtime.store.store import Store
from tests.integration.manager.conftest import write_lock
from tests.integration.store.conftest import look


async def test_an_owner_is_not_supplanted_before_its_lease_is_over(path: Path, clock: ManualClock) -> None:
    async with Store.open(path, clock) as first:
        await first.renew_lease(30)
        clock.advance(29_999)
        with pytest.raises(StoreOwned, match="owned by the running process"):
            async with Store.open(path, clock, supplant=True):
                pass
        await first.renew_lease(30)
        clock.advance(29_999)
        with pytest.raises(StoreOwned):
            async with Store.open(path, clock, supplant=True):
                pass
        await first.begin_turn("p", "python", "t1")


async def test_an_owner_that_promised_nothing_is_never_supplanted(path: Path, clock: ManualClock) -> None:
    async with Store.open(path, clock) as first:
        clock.advance(10**9)
        with pytest.raises(StoreOwned):
            async with Store.open(path, clock, supplant=True):
                pass
        await first.begin_turn("p", "python", "t1")


async def test_only_who_asks_for_it_supplants_a_stalled_owner(path: Path, clock: ManualClock) -> None:
    async with Store.open(path, clock) as first:
        await first.renew_lease(30)
        clock.advance(30_001)
        with pytest.raises(StoreOwned):
            async with Store.open(path, clock):
                pass


async def test_a_supplanted_owner_writes_nothing_more_and_keeps_nobody_out(path: Path, clock: ManualClock) -> None:
    async with Store.open(path, clock) as first:
        await first.renew_lease(30)
        clock.advance(30_001)
        async with Store.open(path, clock, supplant=True) as second:
            assert (first.epoch, second.epoch) == (1, 2)
            for write in (first.renew_lease(30), first.begin_turn("p", "python", "t1")):
                with pytest.raises(StoreOwned, match=r"was taken over \(epoch 2, this process has 1\)"):
                    await write
            await second.begin_turn("p", "python", "t2")
            clock.advance(10**6)
            # The second has promised nothing yet; that the first had must not make it look stalled.
            with pytest.raises(StoreOwned):
                async with Store.open(path, clock, supplant=True):
                    pass
        async with Store.open(path, clock) as third:
            assert third.epoch == 3
        with pytest.raises(StoreOwned, match="epoch 3"):
            await first.begin_turn("p", "python", "t3")
    async with Store.open(path, clock) as fourth:
        assert fourth.epoch == 4
    assert look(path, "SELECT epoch FROM event ORDER BY seq") == [(2,)]


async def test_a_lease_of_another_boot_means_nothing_once_its_owner_is_gone(path: Path, clock: ManualClock) -> None:
    async with Store.open(path, clock) as first:
        await first.renew_lease(30)
    other = ManualClock(now=5)
    other.boot = "another"
    async with Store.open(path, other) as second:
        assert second.epoch == 2


async def test_the_promise_of_an_earlier_owner_does_not_bind_the_next(path: Path, clock: ManualClock) -> None:
    async with Store.open(path, clock) as first:
        await first.renew_lease(30)
    async with Store.open(path, clock) as second:
        clock.advance(10**6)
        with pytest.raises(StoreOwned):
            async with Store.open(path, clock, supplant=True):
                pass
        await second.begin_turn("p", "python", "t1")


async def test_an_owner_that_stands_still_in_the_middle_of_a_write_is_named_and_stays_the_owner(
    path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ownership, "BUSY_SECONDS", 0.1)
    async with Store.open(path, clock) as first:
        await first.renew_lease(30)
        clock.advance(30_001)
        with write_lock(path):
            sentence = f"owned by process {os.getpid()}, which stands still in the middle of a write; end it"
            # No `StoreOwned`: to wait for its lease to lapse, as for any other, would be no use.
            with pytest.raises(StoreError, match=sentence) as caught:
                async with Store.open(path, clock, supplant=True):
                    pass
            assert caught.value.kind == "store_error"
            # It has not lost its lock file by this: nobody may walk in now.
            with pytest.raises(StoreOwned, match="owned by the running process"):
                async with Store.open(path, clock):
                    pass
        await first.renew_lease(30)
        with pytest.raises(StoreOwned, match="owned by the running process"):
            async with Store.open(path, clock, supplant=True):
                pass


async def test_an_owner_that_makes_its_store_just_now_is_no_stalled_one(tmp_path: Path, clock: ManualClock) -> None:
    path = tmp_path / "a ? 50% store.db"
    lock = ownership.own(path, None)
    try:
        for make in (lambda: None, path.touch):
            make()
            with pytest.raises(StoreOwned, match="owned by the running process"):
                async with Store.open(path, clock, supplant=True):
                    pass
            assert path.exists() == (make == path.touch), "it was made by somebody else"
    finally:
        os.close(lock)
