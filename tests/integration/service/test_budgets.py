"""Budgets of subagents: told when they are reached, kept over managers, and the cause of a task that ran into one."""

import asyncio
from dataclasses import replace

import pytest

from acp_runtime.callers import OPERATOR, Leader
from acp_runtime.clock import SystemClock
from acp_runtime.core.admission import Share
from acp_runtime.core.budget import Allowance, Bound, Budget, Scope, Used, nanos
from acp_runtime.core.errors import Rejected
from acp_runtime.core.lineage import Orchestration
from acp_runtime.core.metering import CallEnd, Usage
from acp_runtime.core.model import Order, TaskState
from acp_runtime.manager.launcher import LaunchError, LaunchRequest
from acp_runtime.manager.local_launcher import LocalLauncher
from acp_runtime.service import Runtime
from acp_runtime.session.observer import Observer
from acp_runtime.session.session import AcpSession
from tests.integration.manager.conftest import BOUND, PARENT, Ground, until
from tests.integration.service.test_usage import a_call, settled, written


async def told_of_budgets(runtime: Runtime, subagent: str, count: int) -> list[str]:
    """The causes of the nudges of budgets, once there are so many."""
    async with asyncio.timeout(BOUND):
        while True:
            tick = runtime.tick
            told = [cause for kind, cause in await kinds(runtime, subagent) if kind == "budget"]
            if len(told) >= count:
                return told
            await runtime.changed(tick)


SOFT_AND_HARD = Budget(tokens=1_000, soft_tokens=150)
WHY = "the budget of 1,000 tokens is used up (1,200 used)"


async def kinds(runtime: Runtime, subagent: str) -> list[tuple[str, str]]:
    found = [each for each in await runtime.nudges(OPERATOR) if each.subagent == subagent]
    return [(each.kind, each.cause) for each in reversed(found)]


@pytest.mark.requirement("D06.11", "D09.16")
async def test_a_budget_is_told_when_it_is_reached_and_a_refused_call_fails_its_task(ground: Ground) -> None:
    ground.clock = SystemClock()
    async with ground.runtime() as runtime:
        view = await runtime.spawn(PARENT, ground.request("[[ask]]", budget=SOFT_AND_HARD))
        assert view.budget == SOFT_AND_HARD
        view = await until(runtime, view.id, lambda each: bool(each.requests))
        written(
            ground,
            a_call(view.id),
            a_call(view.id, usage=Usage(input=1_000)),
            *(
                a_call(view.id, end=end, usage=None, cost=None, why=WHY)
                for end in (CallEnd.OVER_BUDGET, CallEnd.REFUSED) * 500
            ),
        )
        await settled(runtime)
        actor = runtime._supervisor.actor(view.id)
        assert actor is not None
        assert len(actor._inbox) <= 3, "an agent that goes on to ask fills no memory"
        await runtime.answer(PARENT, view.id, view.requests[0].id, "opt-0")
        view = await until(runtime, view.id, lambda each: each.settled)
        assert (view.newest.state, view.newest.cause) == (TaskState.FAILED, WHY)
        assert view.newest.spent.refused_calls == 1_000
        told = [each for each in await kinds(runtime, view.id) if each[0] != "needs_permission"]
        assert told == [
            ("budget", "the soft budget of 150 tokens is used up (200 used)"),
            ("budget", WHY),
            ("failed", WHY),
        ]
        async with runtime.turn(PARENT) as turn:
            assert f'({view.id}) has used up its budget: "{WHY}"' in turn.text


async def test_what_was_used_counts_for_the_next_attempt_and_the_next_manager(ground: Ground) -> None:
    ground.clock = SystemClock()
    async with ground.runtime() as runtime:
        view = await runtime.spawn(PARENT, ground.request("[[say:x]]", keep=True, budget=SOFT_AND_HARD))
        view = await until(runtime, view.id, lambda each: each.settled)
        assert ground.used == Used()
        written(
            ground,
            a_call(view.id, usage=None, cost=0, estimate=40, estimate_cost=2),
            a_call(view.id, cost=None, model="new-1"),
        )
        await runtime.stop(PARENT, view.id)
        used = Used(240, 2, "new-1")
        await runtime.resume(PARENT, view.id, "[[say:y]]")
        view = await until(runtime, view.id, lambda each: each.settled)
        assert ground.used == used
    async with ground.runtime() as runtime:
        await runtime.resume(PARENT, view.id, "[[say:z]]")
        await until(runtime, view.id, lambda each: each.settled)
        assert ground.used == used


@pytest.mark.requirement("D09.16")
async def test_a_parent_gets_no_more_than_the_ceiling_and_the_operator_does(ground: Ground) -> None:
    async with ground.runtime() as runtime:
        presets = dict(runtime.config.presets)
        presets["privileged"] = replace(presets["privileged"], budget=Budget(tokens=500))
        presets["friendly"] = replace(presets["friendly"], budget=Budget(tokens=400, soft_tokens=300))
        usual = Budget(tokens=100, cost=nanos(2))
        runtime._config = replace(runtime.config, presets=presets, budget=usual)
        for asked, given in (
            (None, Budget(tokens=400, soft_tokens=300, cost=nanos(2))),
            (Budget(tokens=450), Budget(tokens=450, soft_tokens=300, cost=nanos(2))),
            (Budget(tokens=50, cost=nanos(1)), Budget(tokens=50, cost=nanos(1))),
        ):
            view = await runtime.spawn(PARENT, ground.request("[[say:x]]", budget=asked))
            assert view.budget == given
        for asked, words in (
            (Budget(tokens=501), "a budget of 501 tokens where 500 tokens is allowed"),
            (Budget(cost=nanos(2.5)), r"a budget of \$2.50 where \$2.00 is allowed"),
        ):
            with pytest.raises(Rejected, match=words):
                await runtime.spawn(PARENT, ground.request("[[say:x]]", budget=asked))
        view = await runtime.spawn(OPERATOR, ground.request("[[say:x]]", budget=Budget(tokens=501)))
        assert view.budget.tokens == 501
        with pytest.raises(Rejected, match="the soft budget is not below the hard one"):
            await runtime.spawn(PARENT, ground.request("[[say:x]]", budget=Budget(tokens=5, soft_tokens=5)))


@pytest.mark.requirement("D09.16")
async def test_an_agent_whose_calls_nothing_measures_is_not_started_with_a_budget(ground: Ground) -> None:
    launcher = LocalLauncher(ground.folder / "agents", {})
    order = Order(agent="scripted", workspace=str(ground.folder), budget=Budget(tokens=5))
    kind = ground.kinds["scripted"]
    bounds = (Allowance(Scope.AGENT, "bg-0000000001", order.budget, Used()),)
    request = LaunchRequest(
        "store", "bg-0000000001", 1, kind, order, ground.folder, print, "token", allowances=lambda: bounds
    )

    async def heard(*_: object) -> int:
        return 0

    observer = Observer(heard=heard, asked=lambda *_: None, lost=lambda _: None, closed=lambda _: None)
    with pytest.raises(LaunchError, match="and its budget is 5 tokens; leave it out") as refused:
        await launcher.launch(request, AcpSession(1, observer))
    assert refused.value.kind == "budget_unmeasured"
    assert not (ground.folder / "agents").exists()


@pytest.mark.requirement("D09.16", "D06.11")
async def test_after_a_raise_the_next_task_runs_under_it_and_its_end_is_told_anew(ground: Ground) -> None:
    ground.clock = SystemClock()
    bounds: list[Allowance] = []
    ground.way_of = lambda request: lambda: bounds.append(request.allowances()[0])
    first = ground.request("[[say:x]]", keep=True, budget=SOFT_AND_HARD, model_url="http://127.0.0.1:9/v1")
    async with ground.runtime() as runtime:
        view = await runtime.spawn(PARENT, first)
        view = await until(runtime, view.id, lambda each: each.settled)
        written(ground, a_call(view.id, usage=Usage(input=1_200)))
        await settled(runtime)
        view = await runtime.set_budget(PARENT, view.id, Budget(tokens=2_000))
        raised = replace(SOFT_AND_HARD, tokens=2_000)
        assert view.budget == raised
        assert not bounds or bounds[-1].budget == raised
        await runtime.send(PARENT, view.id, "[[say:y]]")
        await until(runtime, view.id, lambda each: each.settled and each.newest.number == 2)
        assert bounds[-1] == Allowance(Scope.AGENT, view.id, raised, Used(1_200, 250_000_000))
        written(ground, a_call(view.id, usage=Usage(input=800)))
        await settled(runtime)
        told = await told_of_budgets(runtime, view.id, 3)
        assert told == [
            "the soft budget of 150 tokens is used up (1,200 used)",
            "the budget of 1,000 tokens is used up (1,200 used)",
            "the budget of 2,000 tokens is used up (2,000 used)",
        ]
        lowered = await runtime.set_budget(OPERATOR, view.id, Budget(), without=(Bound.SOFT_TOKENS,))
        assert lowered.budget == Budget(tokens=2_000)
        page = await runtime.poll(PARENT, view.id, since=0)
        changes = [(row.text, row.data) for row in page.rows if row.kind == "budget_changed"]
        assert changes == [
            ("2,000 tokens, soft 150 tokens", {"by": "parent"}),
            ("2,000 tokens", {"by": "operator"}),
        ]
        await runtime.stop(PARENT, view.id)
    async with ground.runtime() as runtime:
        await runtime.resume(PARENT, view.id, "[[say:z]]")
        view = await until(runtime, view.id, lambda each: each.settled)
        assert view.budget == Budget(tokens=2_000)
        assert ground.asked[-1].allowances()[0].budget == view.budget


async def test_a_budget_that_is_lowered_below_what_was_used_is_told_at_once(ground: Ground) -> None:
    ground.clock = SystemClock()
    async with ground.runtime() as runtime:
        view = await runtime.spawn(PARENT, ground.request("[[say:x]]", keep=True))
        view = await until(runtime, view.id, lambda each: each.settled)
        written(ground, a_call(view.id))
        await settled(runtime)
        await runtime.set_budget(PARENT, view.id, Budget(tokens=10))
        assert await told_of_budgets(runtime, view.id, 1) == ["the budget of 10 tokens is used up (200 used)"]


REFUSED_CHANGES = (
    (PARENT, Budget(tokens=501), (), "beyond_ceiling", "a budget of 501 tokens where 500 tokens is allowed"),
    (PARENT, Budget(), (Bound.TOKENS,), "beyond_ceiling", "a budget of any number of tokens where 500 tokens"),
    (OPERATOR, Budget(tokens=0), (), "invalid", "the budget's tokens is 0; it must be more than 0"),
    (OPERATOR, Budget(soft_tokens=400), (), "invalid", "the soft budget is not below the hard one"),
    (OPERATOR, Budget(tokens=5), (Bound.TOKENS,), "invalid", "tokens cannot be both given and taken away"),
    ("somebody else", Budget(tokens=5), (), "unknown_subagent", "Unknown background subagent"),
)


@pytest.mark.requirement("D09.16")
async def test_a_change_beyond_the_ceiling_or_without_sense_is_refused_and_changes_nothing(ground: Ground) -> None:
    async with ground.runtime() as runtime:
        presets = dict(runtime.config.presets)
        presets["privileged"] = replace(presets["privileged"], budget=Budget(tokens=500))
        runtime._config = replace(runtime.config, presets=presets)
        view = await runtime.spawn(PARENT, ground.request("[[say:x]]", keep=True, budget=Budget(tokens=400)))
        for caller, bounds, without, kind, words in REFUSED_CHANGES:
            with pytest.raises(Rejected, match=words) as refused:
                await runtime.set_budget(caller, view.id, bounds, without=without)
            assert refused.value.kind == kind
        assert (await runtime.status(PARENT, view.id)).budget == Budget(tokens=400)
        view = await runtime.set_budget(OPERATOR, view.id, Budget(tokens=501))
        assert view.budget == Budget(tokens=501)
        ground.measures = False
        with pytest.raises(Rejected, match="nothing measures what agents") as refused:
            await runtime.set_budget(OPERATOR, view.id, Budget(tokens=5))
        assert refused.value.kind == "budget_unmeasured"


@pytest.mark.requirement("D09.16")
async def test_who_leads_others_gives_them_no_more_than_it_has_and_itself_nothing(ground: Ground) -> None:
    ground.changes["orchestration"] = Orchestration(max_spawn_depth=2)
    async with ground.runtime() as runtime:
        request = ground.request("[[say:x]]", keep=True, role="orchestrator", budget=Budget(tokens=400))
        leader = await runtime.spawn(PARENT, request)
        me = Leader(leader.id)
        leaf = await runtime.spawn(me, ground.request("[[say:x]]", keep=True, budget=Budget(tokens=100)))
        assert (await runtime.set_budget(me, leaf.id, Budget(tokens=400))).budget.tokens == 400
        with pytest.raises(Rejected, match="a budget of 401 tokens where 400 tokens is allowed"):
            await runtime.set_budget(me, leaf.id, Budget(tokens=401))
        with pytest.raises(Rejected, match="Unknown background subagent"):
            await runtime.set_budget(me, leader.id, Budget(tokens=500))
        assert (await runtime.set_budget(PARENT, leaf.id, Budget(tokens=900))).budget.tokens == 900


@pytest.mark.requirement("D06.11", "O10")
async def test_a_shared_budget_counts_all_who_share_it_and_is_told_once_to_the_root_parent(ground: Ground) -> None:
    ground.clock = SystemClock()
    ground.changes["orchestration"] = Orchestration(max_spawn_depth=2)
    ground.changes |= {
        "tree_budget": Share(Scope.TREE, Budget(tokens=500)),
        "parent_budget": Share(Scope.PARENT, Budget(soft_tokens=700)),
    }
    async with ground.runtime() as runtime:
        top = await runtime.spawn(PARENT, ground.request("[[say:x]]", keep=True, role="orchestrator"))
        leaf = await runtime.spawn(Leader(top.id), ground.request("[[say:x]]", keep=True))
        other = await runtime.spawn(PARENT, ground.request("[[say:x]]", keep=True))
        for view in (top, leaf, other):
            await until(runtime, view.id, lambda each: each.settled)
        written(ground, a_call(top.id), a_call(leaf.id), a_call(leaf.id), a_call(top.id), a_call(other.id))
        await settled(runtime)
        why = "the tree's budget of 500 tokens is used up (600 used)"
        assert await told_of_budgets(runtime, leaf.id, 1) == [why]
        assert await told_of_budgets(runtime, top.id, 1) == [
            "the parent's soft budget of 700 tokens is used up (800 used)"
        ]
        nudges = [each for each in await runtime.nudges(PARENT) if each.kind == "budget"]
        assert sorted(each.headline for each in nudges) == [
            "has reached the soft budget of its parent",
            "has used up the budget of its tree",
        ]
        await runtime.send(PARENT, other.id, "[[say:y]]")
        await until(runtime, other.id, lambda each: each.settled and each.newest.number == 2)
        shares = {each.scope: each for each in ground.asked[-1].allowances()}
        assert (shares[Scope.TREE].refusal, shares[Scope.PARENT].used.tokens) == (None, 1_000)
        of_leaf = next(each for each in ground.asked if each.subagent == leaf.id).allowances()
        assert of_leaf[1].refusal == "the tree's budget of 500 tokens is used up (800 used)"
    async with ground.runtime() as runtime:
        written(ground, a_call(leaf.id))
        await settled(runtime)
        assert len([each for each in await runtime.nudges(PARENT) if each.kind == "budget"]) == 2
        for view in (top, leaf):
            await runtime.resume(PARENT, view.id, "[[say:z]]")
            await until(runtime, view.id, lambda each: each.settled)
        assert [each.used.tokens for each in ground.asked[-1].allowances()] == [600, 1_000, 1_200]
