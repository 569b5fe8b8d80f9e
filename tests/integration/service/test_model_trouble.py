"""A model that does not answer a running task is told with the reason, until it answers or the task is over."""

from dataclasses import asdict

import pytest

from acp_runtime.callers import OPERATOR
from acp_runtime.cli.verbs_look import _show_task
from acp_runtime.clock import ManualClock
from acp_runtime.core.inputs import PromptAnswered, Send, SessionReady
from acp_runtime.core.metering import Call, CallEnd, Usage
from acp_runtime.service.reading import Reading
from acp_runtime.store.store import Store
from acp_runtime.tools.answers import last_error
from acp_runtime.tui.app import _head
from tests.integration.store.conftest import Line, clock, path, store

__all__ = ["clock", "path", "store"]
WHY = "The model at http://127.0.0.1:1 cannot be reached: Connection refused."
TOLD = WHY.rstrip(".") + " (calls that failed: {})"


async def test_a_model_that_does_not_answer_is_told_until_it_does_or_the_task_is_over(
    store: Store, clock: ManualClock, capsys: pytest.CaptureFixture[str]
) -> None:
    line, reading, place = await Line.begin(store, clock), Reading(store, clock, lambda _: None), 0
    await line.take(SessionReady(1, "s", "agent", "1"), Send("second"))

    async def told(*ends: CallEnd, why: str = WHY) -> str:
        nonlocal place
        for end in ends:
            clock.advance(1_000)
            place += 1
            await store.book([Call(line.id, clock.now(), "m", end, Usage(), why=why, boot=clock.boot)], f"{place} 0")
        view = await reading.status(OPERATOR, line.id)
        (listed,) = await reading.views(OPERATOR, ended=False)
        found = "|".join(task.trouble for task in view.tasks)
        assert "|".join(task.trouble for task in listed.tasks) == found.removeprefix("|" * view.tasks[0].state.over)
        assert last_error(view) == (found.strip("|") or None)
        return found

    assert await told() == "|"
    assert await told(CallEnd.FAILED, CallEnd.FAILED) == TOLD.format(2) + "|"
    view = await reading.status(OPERATOR, line.id)
    _show_task(asdict(view.tasks[0]))
    assert capsys.readouterr().out.splitlines()[-1] == "  " + TOLD.format(2)
    assert _head(view).plain.splitlines()[-1] == TOLD.format(2)
    assert await told(CallEnd.ANSWERED) == "|"
    assert await told(CallEnd.FAILED, why="") == "The model answers with an error (calls that failed: 3)|"
    assert await told(CallEnd.OVER_BUDGET) == "|", "that is told by its end"
    assert await told(CallEnd.FAILED) == TOLD.format(4) + "|"
    await line.take(PromptAnswered(1, f"{line.id}.t1", "end_turn", 1))
    assert await told() == "|", "what was wrong with an earlier task is not the next one's"
    assert await told(CallEnd.FAILED) == "|" + TOLD.format(1)
