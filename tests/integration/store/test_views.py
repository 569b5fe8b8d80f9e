"""A view shows one moment: a commit that comes between its queries is wholly in it or not at all."""

import asyncio

import pytest

from acp_runtime.clock import ManualClock
from acp_runtime.core.inputs import Asked, PromptAnswered, SessionReady, StopSubagent
from acp_runtime.core.model import Reason, TaskState
from acp_runtime.core.status import Status
from acp_runtime.service.reading import Reading
from acp_runtime.store.store import Store
from tests.histories import REJECT, spawn
from tests.integration.store.conftest import PARENT, Line

READY = SessionReady(1, "s", "agent", "1")


@pytest.fixture
def reading(store: Store, clock: ManualClock) -> Reading:
    return Reading(store, clock, lambda _: None)


async def test_a_commit_in_the_middle_of_a_view_does_not_tear_it(
    store: Store, clock: ManualClock, reading: Reading
) -> None:
    line = await Line.begin(store, clock)
    await line.take(READY)
    answered = PromptAnswered(1, f"{line.id}.t1", "end_turn", 1)
    # Both are begun before the store's thread has done anything, so the commit stands behind the view's first query.
    view, _ = await asyncio.gather(reading.status(PARENT, line.id), line.take(answered))
    assert (view.status, view.newest.state) in (
        (Status.RUNNING, TaskState.RUNNING),
        (Status.IDLE, TaskState.COMPLETED),
    )
    line = await Line.begin(store, clock, spawn("bg-0000000001"))
    await line.take(READY)
    view, _ = await asyncio.gather(reading.status(PARENT, line.id), line.take(Asked(1, "1-1", "may I", (REJECT,))))
    assert (view.status is Status.WAITING) == bool(view.requests)


async def test_a_list_holds_what_is_open_in_the_order_of_creation(
    store: Store, clock: ManualClock, reading: Reading
) -> None:
    lines = [await Line.begin(store, clock, spawn(f"bg-{9 - number:010d}")) for number in range(5)]
    await lines[2].take(StopSubagent(Reason.FINISHED, "parent", "done"))
    await Line.begin(store, clock, spawn("bg-00000000ff", parent="another"))
    found = await reading.views(PARENT, ended=False)
    assert [view.id for view in found] == [line.id for number, line in enumerate(lines) if number != 2]
