"""A real agent on a real engine: Claude's in its container, with the scripted model behind the forwarder."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from acp_runtime.core.model import Limits, Opening, Permissions, TaskState, Verdict
from acp_runtime.core.status import Status
from acp_runtime.service import Runtime
from acp_runtime.views import SubagentView
from tests.agents.scripted_model import ScriptedModel
from tests.contract.conftest import PARENT, assert_nothing_left
from tests.docker.hostile_workspace import NOTE, plant
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
    yield make_place(tmp_path, model, "claude")
    assert_nothing_left(tmp_path, on_the_engine=True)


async def then(runtime: Runtime, view: SubagentView, task: str) -> SubagentView:
    """Give the next task and wait until it has ended or asks."""
    await runtime.send(PARENT, view.id, task)
    return (await runtime.wait(PARENT, [view.id], seconds=BOUND)).views[0]


@pytest.mark.requirement("B20", "T21")
async def test_claude_works_with_its_own_tools_and_its_work_comes_back(real: RealPlace, model: ScriptedModel) -> None:
    script = "[[write:made.txt|by claude]][[edit:greeting.txt|hello|good day]][[shell:cat made.txt]][[text:All done.]]"
    await do_in_hostile_repository(real, script, tools=3, made="by claude")
    for request in model.requests:
        assert request.headers["x-api-key"] == CANARY
        assert request.headers["anthropic-version"]
        assert "authorization" not in request.headers
        assert (request.path.partition("?")[0], request.json()["model"]) == ("/v1/messages", "scripted")
        assert b"WebSearch" not in request.body, "what the provider would do for it is not offered"
    rounds = [request for request in model.requests if request.json()["tools"]]
    assert len(rounds) == 4, "three tools and the end; no request of its own but for the title, which has no tools"
    assert (NOTE.encode() in model.requests[-1].body, b"evil" in model.requests[-1].body) == (True, False)


@pytest.mark.requirement("B02", "A04", "T21")
async def test_claude_asks_its_parent_who_allows_refuses_and_speaks_to_it_meanwhile(
    real: RealPlace, model: ScriptedModel
) -> None:
    plant(real.workspace, "claude")
    async with real.runtime() as runtime:
        task = "[[shell:touch refused.txt]][[text:I went on.]]"
        view = await real.do(runtime, task, permissions=Permissions.ASK)
        await answer(runtime, view, "reject_once")
        view = (await runtime.wait(PARENT, [view.id], seconds=BOUND)).views[0]
        assert (view.newest.verdict, view.newest.result) == (Verdict.SUSPECT, "I went on.")
        assert view.newest.cause == "all 1 tool call(s) failed"

        view = await then(runtime, view, "[[write:asked.txt|x]][[text:It is written.]]")
        await answer(runtime, view, "allow_once")
        view = (await runtime.wait(PARENT, [view.id], seconds=BOUND)).views[0]
        assert (view.newest.headline, view.newest.result) == ("completed", "It is written."), view.newest.cause

        view = await then(runtime, view, "[[shell:touch steered.txt]][[text:as I was told first]]")
        sent = await runtime.send(PARENT, view.id, "[[text:as I was told then]]", mode="steer")
        assert (view.steering, sent.outcome) == (True, "injected")
        await answer(runtime, view, "allow_once")
        view = (await runtime.wait(PARENT, [view.id], seconds=BOUND)).views[0]
        assert (view.newest.headline, len(view.tasks)) == ("completed", 3), view.newest.cause
        assert view.newest.result == "as I was told first\n\nas I was told then"
        found = await runtime.check(PARENT, view.id, "ls", seconds=30)
        assert found.output.split() == ["CLAUDE.md", "asked.txt", "greeting.txt", "steered.txt"]
        await runtime.stop(PARENT, view.id, finished=True)


async def answer(runtime: Runtime, view: SubagentView, kind: str) -> None:
    """Learn of the question by the nudge of a turn, as a parent does, and answer it."""
    assert view.status is Status.WAITING, (view.status, view.newest.cause)
    (asked,) = view.requests
    async with runtime.turn(PARENT) as turn:
        told = [each for each in await runtime.nudges(PARENT) if each.id in turn.nudges]
    assert ("needs_permission", asked.id) in [(each.kind, each.subject) for each in told], told
    await runtime.answer(PARENT, view.id, asked.id, next(each.id for each in asked.options if each.kind == kind))


@pytest.mark.requirement("B12", "D04.9")
async def test_a_model_that_fails_is_told_with_its_cause_and_leaves_claude_usable(real: RealPlace) -> None:
    """Its own two retries are silent and take 2 s; the manager's retry is told, and only for what may pass."""
    async with real.runtime() as runtime:
        limits = Limits(retries=1, retry_delay=0.1)
        view = await real.do(runtime, "[[fail:400]]", limits=limits)
        told = {400: "(code -32603): Internal error: API Error: 400", 401: "(code -32000): Authentication required"}
        told |= {429: "Request rejected (429)", 500: "API Error: 500"}
        for code, words in told.items():
            view = view if code == 400 else await then(runtime, view, f"[[fail:{code}]]")
            assert (view.newest.state, words in view.newest.cause) == (TaskState.FAILED, True), view.newest
            assert str(code) in view.newest.result, "what Claude says itself names the status"
            rows = (await runtime.poll(PARENT, view.id)).rows
            retried = [row for row in rows if row.kind == "task_retried"]
            assert len(retried) == (1 if code in (429, 500) else 0), code
        async with runtime.turn(PARENT) as turn:
            assert turn.text.count(" failed: ") == len(told)
        view = await then(runtime, view, "[[text:back again]]")
        assert (view.newest.headline, view.newest.result) == ("completed", "back again"), view.newest.cause


@pytest.mark.requirement("B03", "B24")
async def test_claude_goes_on_in_its_session_after_its_death_and_obeys_a_cancel(
    real: RealPlace, model: ScriptedModel
) -> None:
    """Its container is removed under it in mid-stream."""
    async with real.runtime() as runtime:
        view = await real.do(runtime, "[[text:the first answer]]")
        await runtime.send(PARENT, view.id, "[[stream:100000|20]]")
        await real.until(runtime, view.id, lambda each: bool(each.newest.result))
        await asyncio.to_thread(remove_containers, real.root)
        view = (await runtime.wait(PARENT, [view.id], seconds=BOUND)).views[0]
        assert view.newest.state is TaskState.INTERRUPTED, view.newest.cause
        view = await then(runtime, view, "[[text:the third answer]]")
        assert (view.newest.result, view.attempt, view.opening) == ("the third answer", 2, Opening.RESUMED)
        assert b"the first answer" in model.requests[-1].body
        assert b"WebSearch" not in model.requests[-1].body, "what a session is opened with is given again"
        await runtime.send(PARENT, view.id, "[[stream:100000|20]]")
        await real.until(runtime, view.id, lambda each: bool(each.newest.result))
        await runtime.cancel(PARENT, view.id)
        view = (await runtime.wait(PARENT, [view.id], seconds=BOUND)).views[0]
        assert (view.newest.state, view.newest.stop_reason) == (TaskState.CANCELLED, "cancelled")
