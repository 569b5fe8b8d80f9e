"""Real agents in containers without a network use the tools that they have of us: a leaf asks, another leads."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from acp_runtime.callers import OPERATOR
from acp_runtime.core.lineage import Orchestration
from acp_runtime.core.model import TaskState
from acp_runtime.core.status import Status
from acp_runtime.service import Runtime
from acp_runtime.session.catalogue import AgentKind
from acp_runtime.views import SubagentView
from tests.agents.one_file import tooled_agent
from tests.agents.scripted_model import ScriptedModel, call
from tests.contract.conftest import PARENT, Place, assert_nothing_left, closure, place
from tests.docker.real_place import BOUND, RealPlace, inspect_all, make_place

__all__ = ["closure", "place"]

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]

ASK, REPORT = "subagents_ask_parent", "subagents_report_result"
SPAWN, WAIT = "subagents_spawn_background_subagent", "subagents_wait_background_subagents"


TWO_LEVELS = Orchestration(max_spawn_depth=2)
WHOLE = '{"mode": "all"}'


def leaf(name: str, task: str) -> dict[str, object]:
    return {"purpose": f"leaf {name}", "initial_task": task, "cwd": "/workspace", "one_shot": True}


async def assert_joined(runtime: Runtime, view: SubagentView) -> None:
    """Fail unless an orchestrator says what both of its leaves said, each in a container of its own."""
    assert view.newest.state is TaskState.COMPLETED, view.newest.cause
    joined = view.newest.result
    assert ("the left half" in joined, "the right half" in joined) == (True, True), joined
    everybody = await runtime.list_subagents(OPERATOR, ended=True)
    containers = {each.container for each in everybody}
    assert (len(everybody), len(containers), "" in containers) == (3, 3, False)
    assert {each.parent for each in everybody} == {PARENT, f"subagent:{view.id}"}


@pytest.fixture
def real(tmp_path: Path, model: ScriptedModel) -> Iterator[RealPlace]:
    yield make_place(tmp_path, model, "opencode")
    assert_nothing_left(tmp_path, on_the_engine=True)


@pytest.mark.real_agent
@pytest.mark.requirement("D10.52", "D10.53")
async def test_a_leaf_in_a_container_asks_its_parent_goes_on_and_reports_its_result(real: RealPlace) -> None:
    asks = call(ASK, question="Which colour?", choices=["red", "green"])
    task = f"{asks}{call(REPORT, result={'colour': '{{1.answer}}'})}[[text:Done with {{{{1.answer}}}}.]]"
    schema = {"type": "object", "properties": {"colour": {"enum": ["red", "green"]}}}
    async with real.runtime() as runtime:
        view = await runtime.spawn(PARENT, real.request(task, result_schema=schema))
        view = await real.until(runtime, view.id, lambda each: each.status is Status.WAITING)
        (request,) = view.requests
        assert (request.title, [each.name for each in request.options]) == ("Which colour?", ["red", "green"])
        assert "SUBAGENTS_TOOLS_TOKEN" not in inspect_all(real.root), "the token stands in no setting of a container"
        await runtime.answer(PARENT, view.id, request.id, "2")
        view = (await runtime.wait(PARENT, [view.id], seconds=BOUND)).views[0]
        assert (view.newest.state, view.newest.result) == (TaskState.COMPLETED, "Done with green."), view.newest.cause
        assert json.loads(view.newest.report) == {"colour": "green"}


@pytest.mark.requirement("D10.54", "O06")
@pytest.mark.parametrize("place", ["docker"], indirect=True)
async def test_an_orchestrator_in_a_container_leads_two_scripted_leaves_and_joins_their_results(place: Place) -> None:
    place.add_kind(AgentKind("scripted", tooled_agent(place.python)))
    place.config = replace(place.config, orchestration=TWO_LEVELS)
    first, second = (leaf(name, f"[[say:the {name} half]]") for name in ("left", "right"))
    given = json.dumps({**first, "tasks": [second]}).replace("[[", "\\u005b\\u005b").replace("]]", "\\u005d\\u005d")
    task = f"[[tool:spawn_background_subagent|{given}]][[tool:wait_background_subagents|{WHOLE}]]"
    async with place.runtime() as runtime:
        view = await place.do(runtime, task, role="orchestrator", purpose="lead")
        await assert_joined(runtime, view)


@pytest.mark.long
@pytest.mark.real_agent
@pytest.mark.requirement("D10.54", "O06")
async def test_an_orchestrator_in_a_container_leads_two_leaves_in_containers_and_joins_their_results(
    real: RealPlace,
) -> None:
    real.config = replace(real.config, orchestration=TWO_LEVELS)
    first, second = (leaf(name, f"[[text:the {name} half]]") for name in ("left", "right"))
    spawns = call(SPAWN, **first, tasks=[second])
    async with real.runtime() as runtime:
        task = f"{spawns}{call(WAIT, mode='all', timeout=40)}[[text:joined: {{{{2}}}}]]"
        view = await runtime.spawn(PARENT, real.request(task, role="orchestrator", purpose="lead"))
        view = (await runtime.wait(PARENT, [view.id], seconds=BOUND)).views[0]
        assert view.newest.tools_completed == 2
        await assert_joined(runtime, view)
