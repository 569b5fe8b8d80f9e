"""A real agent on a real engine: Codex in its container, with the scripted model behind the forwarder."""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from acp_runtime.core.model import Limits, Opening, TaskState
from acp_runtime.service import Runtime
from acp_runtime.views import SubagentView
from tests.agents.scripted_model import ScriptedModel
from tests.contract.conftest import PARENT, assert_nothing_left
from tests.docker.closure import closure_image
from tests.docker.hostile_workspace import NOTE
from tests.docker.real_place import (
    CANARY,
    RealPlace,
    do_in_hostile_repository,
    make_place,
    remove_containers,
)

pytestmark = [pytest.mark.docker, pytest.mark.real_agent, pytest.mark.timeout(600)]

PATCH = """apply_patch <<'END'
*** Begin Patch
*** Add File: made.txt
+by codex
*** Update File: greeting.txt
-hello
+good day
*** End Patch
END
"""


@pytest.fixture
def real(tmp_path: Path, model: ScriptedModel) -> Iterator[RealPlace]:
    yield make_place(tmp_path, model, "codex")
    assert_nothing_left(tmp_path, on_the_engine=True)


async def then(real: RealPlace, runtime: Runtime, view: SubagentView, task: str) -> SubagentView:
    """Give the next task and wait for its end."""
    await runtime.send(PARENT, view.id, task)
    return await real.ended(runtime, view.id)


@pytest.mark.requirement("B20", "T21")
async def test_codex_works_with_its_own_tools_and_its_work_comes_back(real: RealPlace, model: ScriptedModel) -> None:
    await do_in_hostile_repository(
        real, f"[[shell:{PATCH}]][[shell:cat made.txt]][[text:All done.]]", tools=2, made="by codex\n"
    )
    assert len(model.requests) == 3, "one for each step: it asks for no titles and no suggestions"
    for request in model.requests:
        assert request.headers["authorization"] == f"Bearer {CANARY}"
        assert (request.path, request.json()["model"]) == ("/v1/responses", "scripted")
        assert "web_search" not in [tool["type"] for tool in request.json()["tools"]]
    assert (NOTE.encode() in model.requests[-1].body, b"evil" in model.requests[-1].body) == (True, False)


@pytest.mark.requirement("A04", "B03")
async def test_codex_takes_a_message_in_mid_task_and_obeys_a_cancel(real: RealPlace, model: ScriptedModel) -> None:
    async with real.runtime() as runtime:
        task = "[[text:I wait.]][[shell:while ! test -e go; do sleep 0.1; done]][[text:not told of anything]]"
        view = await runtime.spawn(PARENT, real.request(task))
        view = await real.until(runtime, view.id, lambda each: each.newest.result == "I wait.")
        sent = await runtime.send(PARENT, view.id, "[[text:as I was told meanwhile]]", mode="steer")
        assert (view.steering, sent.outcome) == (True, "injected")
        await runtime.check(PARENT, view.id, "touch go", seconds=30)
        view = await real.ended(runtime, view.id)
        assert (view.newest.state, len(view.tasks)) == (TaskState.COMPLETED, 1), view.newest.cause
        assert view.newest.result.endswith("as I was told meanwhile"), view.newest.result
        assert "as I was told meanwhile" in str(model.requests[1].body), "the next request of the same turn has it"

        await runtime.send(PARENT, view.id, "[[stream:100000|20]]")
        await real.until(runtime, view.id, lambda each: bool(each.newest.result))
        await runtime.cancel(PARENT, view.id)
        view = await real.ended(runtime, view.id)
        assert (view.newest.state, view.newest.stop_reason) == (TaskState.CANCELLED, "cancelled")


@pytest.mark.requirement("B12", "D04.9")
async def test_a_model_that_fails_is_told_with_its_cause_and_leaves_codex_usable(real: RealPlace) -> None:
    """Codex answers end_turn then, and says why in a record beside it."""
    told = {400: "The script says fail with 400.", 429: "exceeded retry limit, last status: 429 Too Many Requests"}
    async with real.runtime() as runtime:
        view = await real.do(runtime, "[[fail:400]]", limits=Limits(retries=0))
        for code, words in told.items():
            view = view if code == 400 else await then(real, runtime, view, f"[[fail:{code}]]")
            assert view.newest.state is TaskState.FAILED, view.newest
            assert view.newest.cause.startswith("the agent says that its turn failed: "), view.newest.cause
            assert words in view.newest.cause
        async with runtime.turn(PARENT) as turn:
            assert len(re.findall(r"\.t\d failed: ", turn.text)) == len(told), turn.text
        view = await then(real, runtime, view, "[[text:back again]]")
        assert (view.newest.headline, view.newest.result) == ("completed", "back again"), view.newest.cause


@pytest.mark.long
async def test_a_key_that_is_refused_and_a_model_that_is_broken_are_told_at_last(real: RealPlace) -> None:
    """Codex itself asks again, 7 s long after a 401 and 24 s after a 500. What the manager then tries anew is told."""
    async with real.runtime() as runtime:
        view = await real.do(runtime, "[[fail:401]]", limits=Limits(retries=1, retry_delay=0.1))
        assert view.newest.state is TaskState.FAILED, view.newest
        assert "answered session/prompt with an error (code -32000): Authentication required" in view.newest.cause
        view = await then(real, runtime, view, "[[fail:500]]")
        assert view.newest.state is TaskState.FAILED, view.newest
        assert view.newest.cause.startswith("the agent says that its turn failed: "), view.newest.cause
        rows = (await runtime.poll(PARENT, view.id)).rows
        assert [row.kind for row in rows].count("task_retried") == 1, "a refused key stays refused"


@pytest.mark.requirement("B24")
async def test_codex_goes_on_in_its_session_after_its_death_in_any_glibc_image(
    real: RealPlace, model: ScriptedModel
) -> None:
    """Its container is removed under it in mid-stream."""
    image = await asyncio.to_thread(closure_image)
    async with real.runtime() as runtime:
        view = await real.do(runtime, "[[text:the first answer]]", image=image)
        await runtime.send(PARENT, view.id, "[[stream:100000|20]]")
        await real.until(runtime, view.id, lambda each: bool(each.newest.result))
        await asyncio.to_thread(remove_containers, real.root)
        view = await real.ended(runtime, view.id)
        assert view.newest.state is TaskState.INTERRUPTED, view.newest.cause
        view = await then(real, runtime, view, "[[text:the third answer]]")
        assert (view.newest.result, view.attempt, view.opening) == ("the third answer", 2, Opening.RESUMED)
        assert "the first answer" in str(model.requests[-1].body)
