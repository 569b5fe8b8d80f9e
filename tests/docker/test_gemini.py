"""A real agent on a real engine: Gemini CLI in its container, with the scripted model behind the forwarder."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from acp_runtime.core.model import Limits, Permissions, TaskState
from tests.agents.scripted_model import ScriptedModel
from tests.contract.conftest import PARENT, assert_nothing_left
from tests.docker.hostile_workspace import plant
from tests.docker.real_place import BOUND, CANARY, RealPlace, do_in_hostile_repository, make_place
from tests.docker.test_claude import answer, then

pytestmark = [pytest.mark.docker, pytest.mark.real_agent, pytest.mark.timeout(600)]


@pytest.fixture
def real(tmp_path: Path, model: ScriptedModel) -> Iterator[RealPlace]:
    place = make_place(tmp_path, model, "gemini")
    place.model_url = f"{model.base_url.removesuffix('/v1')}/v1beta"
    yield place
    assert_nothing_left(tmp_path, on_the_engine=True)


@pytest.mark.requirement("B20", "T21")
async def test_gemini_works_with_its_own_tools_and_its_work_comes_back(real: RealPlace, model: ScriptedModel) -> None:
    script = "[[write:made.txt|by gemini]][[edit:greeting.txt|hello|good day]][[shell:cat made.txt]][[text:All done.]]"
    await do_in_hostile_repository(real, script, tools=3, made="by gemini")
    path = "/v1beta/models/scripted:streamGenerateContent"
    assert len(model.requests) == 4, "three tools and the end; no request of its own"
    for request in model.requests:
        assert (request.path.partition("?")[0], request.headers["x-goog-api-key"]) == (path, CANARY)
        assert "authorization" not in request.headers
        assert b"google_web_search" not in request.body, "what the provider would do for it is not offered"
        assert b"evil" not in request.body


@pytest.mark.requirement("B02", "B12", "D04.9", "T21")
async def test_gemini_asks_its_parent_and_its_failing_model_is_told(real: RealPlace) -> None:
    """Its own one more try is silent and takes seconds; the manager's retry is told, and only for what may pass."""
    plant(real.workspace, "gemini")
    async with real.runtime() as runtime:
        limits = Limits(retries=1, retry_delay=0.1)
        task = "[[write:asked.txt|x]][[text:It is written.]]"
        view = await real.do(runtime, task, limits=limits, permissions=Permissions.ASK)
        await answer(runtime, view, "allow_once")
        view = (await runtime.wait(PARENT, [view.id], seconds=BOUND)).views[0]
        assert (view.newest.headline, view.newest.result) == ("completed", "It is written."), view.newest.cause
        for code in (400, 401, 500):
            view = await then(runtime, view, f"[[fail:{code}]]")
            words = f"The script says fail with {code}."
            assert (view.newest.state, words in view.newest.cause) == (TaskState.FAILED, True), view.newest
            rows = (await runtime.poll(PARENT, view.id)).rows
            retried = [row for row in rows if row.kind == "task_retried"]
            assert len(retried) == (1 if code == 500 else 0), code
        view = await then(runtime, view, "[[shell:touch refused.txt]][[text:I went on.]]")
        await answer(runtime, view, "reject_once")
        view = (await runtime.wait(PARENT, [view.id], seconds=BOUND)).views[0]
        found = await runtime.check(PARENT, view.id, "ls", seconds=30)
        assert found.output.split() == ["asked.txt", "greeting.txt"]
        assert (view.newest.headline, view.newest.result) == ("completed", "I went on."), view.newest.cause
        await runtime.stop(PARENT, view.id, finished=True)
