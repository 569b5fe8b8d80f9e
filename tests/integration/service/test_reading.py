"""What callers read of a subagent says what they need to know, and names a value that is none."""

import asyncio
import re

import pytest

from acp_runtime.clock import ManualClock
from acp_runtime.core.errors import Rejected
from acp_runtime.core.model import Permissions
from acp_runtime.core.plaintext import one_line
from acp_runtime.manager.launcher import Work
from acp_runtime.manager.work import write_work
from tests.integration.manager.conftest import BOUND, PARENT, Ground, until
from tests.integration.service.conftest import Bench, done


async def test_a_question_says_until_when_it_is_open(ground: Ground) -> None:
    ground.clock = ManualClock()
    async with ground.runtime() as runtime:
        spawned = await runtime.spawn(PARENT, ground.request("[[ask:allow_once]]", permissions=Permissions.ASK))
        view = await until(runtime, spawned.id, lambda each: bool(each.requests))
        for passed in (0, 60_000):
            ground.clock.advance(passed)
            (request,) = (await runtime.status(PARENT, view.id)).requests
            assert request.closes_at == "2026-01-01T00:15:00.000Z"
        ground.clock.advance(840_000)
        await until(runtime, view.id, lambda each: not each.requests)


@pytest.mark.parametrize("wanted", ["t9", "", "bg-0000000000.t1", "\ud800"])
async def test_a_task_that_is_none_of_the_subagents_has_no_transcript(bench: Bench, wanted: str) -> None:
    view = await done(bench, "[[say:x]]")
    with pytest.raises(Rejected, match=re.escape(f"{view.id} has no task {one_line(wanted, 60)!r}")) as refused:
        await bench.runtime.transcript(PARENT, view.id, task=wanted)
    assert refused.value.kind == "unknown_task"


async def test_the_work_of_one_that_is_ending_is_waited_for(ground: Ground) -> None:
    ground.ends = asyncio.Event()
    async with ground.runtime() as runtime, asyncio.timeout(BOUND):
        view = await runtime.spawn(PARENT, ground.request("[[say:x]]", one_shot=True))
        await runtime.wait(PARENT, [view.id], seconds=BOUND)
        await ground.ending.wait()
        asked = asyncio.create_task(runtime.work(PARENT, view.id))
        await asyncio.wait([asked], timeout=0)
        await runtime.nudges(PARENT)  # it has looked by then
        write_work(ground.path.with_name("work"), view.id, Work(b"patch", 1, 1, 0, ""))
        ground.ends.set()
        work = await asked
        assert work is not None
        assert work.patch == b"patch"
