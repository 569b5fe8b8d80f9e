"""A real agent on a real engine: opencode in its container, with the scripted model behind the forwarder."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from acp_runtime.core.budget import Budget
from acp_runtime.core.model import Limits, Opening, TaskState
from tests.agents.scripted_model import ScriptedModel
from tests.contract.conftest import PARENT, assert_nothing_left
from tests.docker.hostile_workspace import NOTE
from tests.docker.real_place import (
    BOUND,
    CANARY,
    RealPlace,
    do_in_hostile_repository,
    make_place,
    remove_containers,
)

pytestmark = [pytest.mark.docker, pytest.mark.real_agent, pytest.mark.timeout(600)]


@pytest.fixture
def real(tmp_path: Path, model: ScriptedModel) -> Iterator[RealPlace]:
    yield make_place(tmp_path, model, "opencode")
    assert_nothing_left(tmp_path, on_the_engine=True)


@pytest.mark.requirement("T21")
async def test_opencode_edits_with_its_own_tools_and_the_work_comes_back(real: RealPlace, model: ScriptedModel) -> None:
    script = (
        "[[write:made.txt|by opencode]][[edit:greeting.txt|hello|good day]][[shell:cat made.txt]][[text:All done.]]"
    )
    await do_in_hostile_repository(real, script, tools=3, made="by opencode")
    assert {request.headers.get("authorization") for request in model.requests} == {f"Bearer {CANARY}"}
    assert (NOTE.encode() in model.requests[-1].body, b"evil" in model.requests[-1].body) == (True, False)


@pytest.mark.parametrize(
    "code", ["400", pytest.param("500", marks=pytest.mark.long), pytest.param("429", marks=pytest.mark.long)]
)
async def test_a_model_that_answers_with_an_error_is_never_told_as_completed(real: RealPlace, code: str) -> None:
    """opencode itself asks again after a 500 or a 429, for about 70 s without a sign of life."""
    async with real.runtime() as runtime:
        view = await runtime.spawn(PARENT, real.request(f"[[fail:{code}]]", limits=Limits(retries=0)))
        view = (await runtime.wait(PARENT, [view.id], seconds=BOUND)).views[0]
        assert view.newest.state is TaskState.FAILED, (code, view.newest)
        assert "answered session/prompt with an error" in view.newest.cause
        async with runtime.turn(PARENT) as turn:
            assert " failed: " in turn.text
        await runtime.send(PARENT, view.id, "[[text:back again]]")
        view = (await runtime.wait(PARENT, [view.id], seconds=BOUND)).views[0]
        assert view.newest.result == "back again", "a failed prompt leaves the agent usable"


@pytest.mark.requirement("D09.7", "D09.16")
async def test_what_opencode_used_is_told_and_beyond_its_budget_its_next_task_fails_at_once(
    real: RealPlace, model: ScriptedModel
) -> None:
    async with real.runtime() as runtime:
        view = await real.do(runtime, "[[text:the first answer]]", budget=Budget(tokens=1))
        assert view.newest.headline == "completed", view.newest.cause
        spent = view.newest.spent
        assert (spent.calls, spent.unknown_calls, spent.unpriced_calls) == (len(model.requests), 0, spent.calls)
        assert (spent.input_tokens > 0, spent.output_tokens > 0, spent.cost_usd) == (True, True, None)
        (row,) = await runtime.usage(PARENT, by="model")
        assert (row.model, row.spent) == ("scripted", view.spent)
        asked = len(model.requests)
        await runtime.send(PARENT, view.id, "[[text:the second answer]]")
        view = (await runtime.wait(PARENT, [view.id], seconds=BOUND)).views[0]
        why = f"the budget of 1 tokens is used up ({spent.tokens:,} used)"
        assert (view.newest.state, view.newest.cause) == (TaskState.FAILED, why)
        assert (len(model.requests), view.newest.spent.refused_calls) == (asked, 1), "it gave up on the first refusal"
        told = [(each.kind, each.cause) for each in await runtime.nudges(PARENT)]
        assert ("budget", why) in told
        assert ("failed", why) in told


async def test_opencode_goes_on_in_its_session_after_its_end_and_after_its_death(
    real: RealPlace, model: ScriptedModel
) -> None:
    """Its container is removed under it once, and it is stopped and resumed once: the model sees all that was said."""
    async with real.runtime() as runtime:
        view = await real.do(runtime, "[[text:the first answer]]", keep=True)
        await asyncio.to_thread(remove_containers, real.root)
        await runtime.send(PARENT, view.id, "[[text:the second answer]]")
        view = (await runtime.wait(PARENT, [view.id], seconds=BOUND)).views[0]
        assert (view.newest.result, view.attempt) == ("the second answer", 2), view.newest.cause
        assert view.opening in (Opening.RESUMED, Opening.LOADED)
        await runtime.stop(PARENT, view.id, finished=True)
        await runtime.resume(PARENT, view.id, "[[text:the third answer]]")
        view = (await runtime.wait(PARENT, [view.id], seconds=BOUND)).views[0]
        assert view.newest.result == "the third answer", view.newest.cause
        said = str(model.requests[-1].body)
        assert "the first answer" in said
        assert "the second answer" in said
        await runtime.stop(PARENT, view.id, finished=True)
        async with runtime.turn(PARENT):
            pass
        await runtime.remove(PARENT, view.id)


async def test_opencode_obeys_a_cancel_in_mid_stream(real: RealPlace) -> None:
    async with real.runtime() as runtime:
        view = await runtime.spawn(PARENT, real.request("[[stream:100000|20]]"))
        async with asyncio.timeout(BOUND):
            while not view.newest.result:
                tick = runtime.tick
                view = await runtime.status(PARENT, view.id)
                if not view.newest.result:
                    await runtime.changed(tick)
        await runtime.cancel(PARENT, view.id)
        view = (await runtime.wait(PARENT, [view.id], seconds=BOUND)).views[0]
        assert (view.newest.state, view.newest.stop_reason) == (TaskState.CANCELLED, "cancelled")


async def test_a_container_removed_by_somebody_else_is_told_and_its_work_is_saved(real: RealPlace) -> None:
    async with real.runtime() as runtime:
        view = await runtime.spawn(PARENT, real.request("[[write:kept.txt|kept]][[sleep:600]]"))
        await real.until(runtime, view.id, lambda each: each.newest.tools_completed == 1)
        await asyncio.to_thread(remove_containers, real.root)
        view = (await runtime.wait(PARENT, [view.id], seconds=BOUND)).views[0]
        assert view.newest.state is TaskState.INTERRUPTED
        told = ("something else has removed it", "has exited with code 137")  # the engine kills first, then removes
        assert any(words in view.newest.cause for words in told), view.newest.cause
        await runtime.stop(PARENT, view.id)
        work = await runtime.work(PARENT, view.id)
        assert work is not None
        assert b"kept.txt" in work.patch


async def test_opencode_runs_in_a_glibc_image_that_has_neither_git_nor_node(real: RealPlace, closure: str) -> None:
    async with real.runtime() as runtime:
        view = await real.do(runtime, "[[write:x.txt|x]][[text:Done here.]]", image=closure)
        assert (view.newest.state, view.newest.result) == (TaskState.COMPLETED, "Done here."), view.newest.cause


@pytest.fixture(scope="session")
def closure() -> str:
    from tests.docker.closure import closure_image

    return closure_image()
