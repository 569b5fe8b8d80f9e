"""An agent that calls a failed turn ended, and says that it failed only to who asks for that."""

import sys
from pathlib import Path

import pytest

from acp_runtime.core.model import Limits, TaskState
from acp_runtime.session.catalogue import AgentKind
from acp_runtime.views import SubagentView
from tests.integration.service.conftest import Bench

SCRIPT = Path(__file__).parents[2] / "agents" / "recording_agent.py"


async def ended(bench: Bench, task: str, *, asks: bool) -> SubagentView:
    bench.ground.kinds["scripted"] = AgentKind("scripted", (sys.executable, str(SCRIPT)), failure_records=asks)
    request = bench.ground.request(task, limits=Limits(retries=0))
    view = await bench.runtime.spawn(bench.parent, request)
    return (await bench.runtime.wait(bench.parent, [view.id], seconds=30)).views[0]


@pytest.mark.requirement("B13")
@pytest.mark.parametrize("said", ["", "[[say:something]]"])
async def test_a_turn_that_the_agent_says_has_failed_is_failed_with_its_words_on_one_line(
    bench: Bench, said: str
) -> None:
    view = await ended(bench, f"{said}[[failing:error]]", asks=True)
    assert view.newest.state is TaskState.FAILED
    assert view.newest.cause == f"the agent says that its turn failed: {view.id}: 503"


async def test_a_warning_beside_the_answer_changes_nothing(bench: Bench) -> None:
    view = await ended(bench, "[[say:something]][[failing:warning]]", asks=True)
    assert (view.newest.headline, view.newest.result) == ("completed", "something")


async def test_an_agent_is_asked_for_failure_records_only_where_its_kind_says_so(bench: Bench) -> None:
    view = await ended(bench, "[[say:something]][[failing:error]]", asks=False)
    assert view.newest.state is TaskState.COMPLETED
