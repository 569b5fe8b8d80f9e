"""Three real agents at once, each with five tasks in its queue; one task is cancelled in mid-stream."""

import asyncio
from pathlib import Path

import pytest

from acp_runtime.core.model import TaskState
from acp_runtime.service import Runtime
from tests.agents.scripted_model import ScriptedModel
from tests.contract.conftest import PARENT, apply_patch, assert_nothing_left
from tests.docker.real_place import BOUND, RealPlace, make_place

pytestmark = [
    pytest.mark.docker,
    pytest.mark.real_agent,
    pytest.mark.timeout(900),
    pytest.mark.requirement("P08", "P15"),
]

NAMES = ("one", "two", "three")
CANCELLED = ("one", 0)
WANTED = [(name, number) for name in NAMES for number in range(5)]
DONE = [each for each in WANTED if each != CANCELLED]


async def test_three_at_once_do_five_tasks_each_in_order_and_every_end_is_told_once(tmp_path: Path) -> None:
    with ScriptedModel(port=0) as model:
        real = make_place(tmp_path, model, "opencode")
        async with real.runtime() as runtime:
            ids = await asyncio.gather(*(begin(real, runtime, name) for name in NAMES))
            await real.until(runtime, ids[0], lambda view: bool(view.tasks[0].result))
            await runtime.cancel(PARENT, ids[0])
            told = [await told_once_all_have_ended(runtime, ids)]
            for name, ident in zip(NAMES, ids, strict=True):
                view = await runtime.status(PARENT, ident)
                ends = [(task.state, task.result) for task in view.tasks]
                assert ends[1:] == [(TaskState.COMPLETED, f"{name}-{number} is made") for number in range(1, 5)]
                first = TaskState.CANCELLED if name == CANCELLED[0] else TaskState.COMPLETED
                assert ends[0][0] is first, view.tasks[0].cause
                await runtime.stop(PARENT, ident, finished=True)
                work = await runtime.work(PARENT, ident)
                assert work is not None
                apply_patch(real.workspace, work.patch)
            async with runtime.turn(PARENT) as turn:
                told.append(turn.text)
    assert {path.name for path in real.workspace.glob("*-*")} == {f"{name}-{number}" for name, number in DONE}
    assert [told[0].count(f"{name}-{number} is made") for name, number in WANTED if (name, number) in DONE] == [1] * 14
    assert "is made" not in told[1], "what was acknowledged is not told again"
    assert_nothing_left(tmp_path, on_the_engine=True)


async def begin(real: RealPlace, runtime: Runtime, name: str) -> str:
    tasks = [task_of(*each) for each in WANTED if each[0] == name]
    view = await runtime.spawn(PARENT, real.request(tasks[0], purpose=name))
    for task in tasks[1:]:
        sent = await runtime.send(PARENT, view.id, task)
        assert sent.outcome == "queued"
    return view.id


def task_of(name: str, number: int) -> str:
    if (name, number) == CANCELLED:
        return "[[stream:100000|20]]"
    return f"[[write:{name}-{number}|x]][[text:{name}-{number} is made]]"


async def told_once_all_have_ended(runtime: Runtime, ids: list[str]) -> str:
    """Return what all turns of the parent said until each subagent had done its tasks."""
    text = ""
    async with asyncio.timeout(BOUND):
        while True:
            waited = await runtime.wait(PARENT, ids, mode="any_change", seconds=BOUND)
            async with runtime.turn(PARENT) as turn:
                text += turn.text
            if all(task.state.over for view in waited.views for task in view.tasks):
                return text
