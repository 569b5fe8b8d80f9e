"""Budgets of trees and parents at admission: used up, over in time, kept over deletions, joined, and shown."""

import asyncio
from dataclasses import replace

import pytest

from acp_runtime.callers import OPERATOR, Leader
from acp_runtime.cli.verbs_look import _share
from acp_runtime.clock import ManualClock, SystemClock
from acp_runtime.core.admission import Extent, Share
from acp_runtime.core.budget import Budget, Scope
from acp_runtime.core.errors import Rejected
from acp_runtime.core.lineage import Orchestration
from acp_runtime.core.metering import Usage
from acp_runtime.manager import tree_time
from acp_runtime.manager.launcher import LaunchRequest
from acp_runtime.service import Runtime
from acp_runtime.views import SubagentView
from tests.integration.manager.conftest import BOUND, PARENT, Ground, until
from tests.integration.service.conftest import Bench, refused
from tests.integration.service.test_budgets import told_of_budgets
from tests.integration.service.test_usage import a_call, settled, written
from tests.integration.store.conftest import dump


def bounded(ground: Ground, scope: Scope, budget: Budget | None = None, **extent: float) -> None:
    ground.changes["orchestration"] = Orchestration(max_spawn_depth=2)
    ground.changes[f"{scope}_budget"] = Share(scope, budget or Budget(), Extent(**extent))  # type: ignore[arg-type]


async def tree(runtime: Runtime, ground: Ground) -> tuple[SubagentView, SubagentView]:
    """An orchestrator and its leaf, neither of whom has anything to do."""
    top = await runtime.spawn(PARENT, ground.request("[[say:x]]", keep=True, role="orchestrator"))
    leaf = await runtime.spawn(Leader(top.id), ground.request("[[say:x]]", keep=True))
    await until(runtime, leaf.id, lambda each: each.settled)
    return await until(runtime, top.id, lambda each: each.newest.state.over), leaf


@pytest.mark.requirement("O10", "D09.16")
async def test_into_a_tree_whose_tokens_are_used_up_nobody_is_spawned_and_other_trees_go_on(ground: Ground) -> None:
    ground.clock = SystemClock()
    bounded(ground, Scope.TREE, Budget(tokens=500))
    async with ground.runtime() as runtime:
        top, leaf = await tree(runtime, ground)
        written(ground, a_call(top.id), a_call(leaf.id, usage=Usage(input=400)))
        with pytest.raises(Rejected) as caught:
            await runtime.spawn(Leader(top.id), ground.request("[[say:y]]"))
        why = "the tree's budget of 500 tokens is used up (600 used); raise tree_budget.tokens in config.toml"
        assert (caught.value.kind, str(caught.value)) == ("budget_reached", f"Nothing was started: {why}")
        assert caught.value.data == {"scope": "tree", "bound": "tokens", "most": 500, "taken": 600}
        await runtime.spawn(PARENT, ground.request("[[say:x]]"))


@pytest.mark.requirement("O10")
async def test_what_a_deleted_subagent_used_counts_for_its_tree_and_parent_for_good(ground: Ground) -> None:
    ground.clock = SystemClock()
    bounded(ground, Scope.TREE, Budget(tokens=1_000), agents=2)
    bounded(ground, Scope.PARENT, Budget(tokens=5_000), agents=5)
    refusal = r"the tree's budget of 2 agents is used up \(2 had\); raise tree_budget.agents"
    async with ground.runtime() as runtime:
        top, leaf = await tree(runtime, ground)
        await runtime.stop(Leader(top.id), leaf.id)
        written(ground, a_call(leaf.id), a_call(leaf.id, model="new-1", cost=None))
        await runtime.remove(Leader(top.id), leaf.id)
        shares = (await runtime.status(PARENT, top.id)).shares
        assert [(each.tokens_used, each.agents_had) for each in shares] == [(400, 2), (400, 2)]
        with pytest.raises(Rejected, match=refusal):
            await runtime.spawn(Leader(top.id), ground.request("[[say:y]]"))
    async with ground.runtime() as runtime:
        live = await dump(runtime._store)
        await runtime._store.rebuild()
        assert await dump(runtime._store) == live
        assert {row["above"] for row in live["bygone"]} == {PARENT, f"subagent:{top.id}"}
        await runtime.resume(PARENT, top.id, "[[say:z]]")
        await until(runtime, top.id, lambda each: each.settled)
        assert [each.used.tokens for each in ground.asked[-1].allowances()] == [0, 400, 400]
        assert ground.asked[-1].allowances()[1].used.unpriced == "new-1"
        with pytest.raises(Rejected, match=refusal):
            await runtime.spawn(Leader(top.id), ground.request("[[say:y]]"))


@pytest.mark.requirement("O10", "D06.11")
async def test_a_tree_whose_time_is_over_gets_nothing_new_and_what_runs_goes_on(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tree_time, "LOOK_SECONDS", 0.01)
    bounded(ground, Scope.TREE, wall=60.0)
    assert isinstance(ground.clock, ManualClock)
    async with ground.runtime() as runtime:
        top, leaf = await tree(runtime, ground)
        await runtime.send(PARENT, leaf.id, "[[ask]]")
        await until(runtime, leaf.id, lambda each: bool(each.requests))
        ground.clock.advance(59_000)
        other = await runtime.spawn(PARENT, ground.request("[[say:x]]", keep=True))
        ground.clock.advance(2_000)
        why = r"the tree's budget of 60 s is used up \(61 s since its first subagent was requested\)"
        with pytest.raises(Rejected, match=f"Nothing was started: {why}; raise tree_budget.wall in config.toml"):
            await runtime.spawn(Leader(top.id), ground.request("[[say:y]]"))
        with pytest.raises(Rejected, match=why) as caught:
            await runtime.send(Leader(top.id), leaf.id, "[[say:y]]")
        assert caught.value.kind == "budget_reached"
        told = "the tree's budget of 60 s is used up (61 s since its first subagent was requested)"
        told += "; it gets no further subagent and no further task"
        assert await told_of_budgets(runtime, top.id, 1) == [told]
        view = await runtime.status(PARENT, leaf.id)
        await runtime.answer(PARENT, leaf.id, view.requests[0].id, "opt-0")
        await until(runtime, leaf.id, lambda each: each.newest.state.over)
        await until(runtime, other.id, lambda each: each.settled)
        await runtime.send(PARENT, other.id, "[[say:y]]")
        await runtime.stop(PARENT, top.id)
        with pytest.raises(Rejected, match=why):
            await runtime.resume(PARENT, top.id, "[[say:z]]")
        nudges = [each for each in await runtime.nudges(OPERATOR) if each.kind == "budget"]
        assert [(each.parent, each.headline) for each in nudges] == [(PARENT, "has used up the time of its tree")]


@pytest.mark.requirement("O10")
async def test_a_parent_that_gets_another_name_has_one_sum_at_once(ground: Ground) -> None:
    ground.clock = SystemClock()
    told: list[int] = []
    both = asyncio.Event()

    def permitted(request: LaunchRequest) -> None:
        told.append(request.allowances()[2].used.tokens)
        if told == [400, 400]:
            both.set()

    ground.way_of = lambda request: lambda: permitted(request)
    bounded(ground, Scope.PARENT, Budget(tokens=300))
    async with ground.runtime() as runtime:
        views = []
        for parent in (PARENT, "renamed"):
            request = ground.request("[[say:x]]", keep=True, model_url="http://127.0.0.1:9/v1")
            view = await runtime.spawn(parent, request)
            views.append(await until(runtime, view.id, lambda each: each.settled, parent))
        written(ground, *(a_call(view.id) for view in views))
        await settled(runtime)
        told.clear()
        await runtime.alias(PARENT, "renamed")
        async with asyncio.timeout(BOUND):
            await both.wait()
        for request in ground.asked:
            (shared,) = (each for each in request.allowances() if each.scope is Scope.PARENT)
            assert (shared.key, shared.used.tokens) == (PARENT, 400)
        with pytest.raises(Rejected, match=r"the parent's budget of 300 tokens is used up \(400 used\)"):
            await runtime.spawn("renamed", ground.request("[[say:x]]"))


@pytest.mark.requirement("O10")
async def test_of_a_batch_the_entries_that_a_tree_has_no_room_for_are_refused_and_the_others_start(
    bench: Bench,
) -> None:
    share = Share(Scope.PARENT, Budget(), Extent(agents=2))
    bench.runtime._config = replace(bench.runtime._config, parent_budget=share)
    more = [{"purpose": f"p{n}", "initial_task": "[[say:x]]", "cwd": "/workspace"} for n in range(2)]
    told = (await bench.spawn("[[say:x]]", tasks=more))["subagents"]
    (sentence,) = (refused(each, "budget_reached") for each in told if not each["success"])
    assert "(2 had); raise parent_budget.agents" in sentence
    assert {each["id"] for each in told if each["success"]} == {
        view.id for view in await bench.runtime.list_subagents(PARENT)
    }


@pytest.mark.requirement("O10")
async def test_a_subagent_is_shown_with_what_it_shares(ground: Ground) -> None:
    bounded(ground, Scope.TREE, Budget(tokens=1_000), agents=5, wall=60.0)
    bounded(ground, Scope.PARENT, agents=9)
    async with ground.runtime() as runtime:
        top, leaf = await tree(runtime, ground)
        ground.clock.advance(12_000)
        found = (await runtime.status(OPERATOR, leaf.id)).shares
        assert [(each.scope, each.key) for each in found] == [(Scope.TREE, top.id), (Scope.PARENT, PARENT)]
        lines = [
            _share({name: getattr(each, name) for name in each.__slots__} | {"budget": {"tokens": each.budget.tokens}})
            for each in found
        ]
        assert lines == [
            "1,000 tokens (used: 0 tokens, $0.00); 5 agents (2 had); 60 s (12 s gone)",
            "9 agents (2 had)",
        ]
