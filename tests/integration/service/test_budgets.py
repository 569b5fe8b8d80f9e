"""Budgets of subagents: told when they are reached, kept over managers, and the cause of a task that ran into one."""

from dataclasses import replace

import pytest

from acp_runtime.callers import OPERATOR
from acp_runtime.clock import SystemClock
from acp_runtime.core.budget import Budget, Used, nanos
from acp_runtime.core.errors import Rejected
from acp_runtime.core.metering import CallEnd, Usage
from acp_runtime.core.model import Order, TaskState
from acp_runtime.manager.launcher import LaunchError, LaunchRequest
from acp_runtime.manager.local_launcher import LocalLauncher
from acp_runtime.service import Runtime
from acp_runtime.session.observer import Observer
from acp_runtime.session.session import AcpSession
from tests.integration.manager.conftest import PARENT, Ground, until
from tests.integration.service.test_usage import a_call, settled, written

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
    request = LaunchRequest("store", "bg-0000000001", 1, kind, order, ground.folder, print, print, "token")

    async def heard(*_: object) -> int:
        return 0

    observer = Observer(heard=heard, asked=lambda *_: None, lost=lambda _: None, closed=lambda _: None)
    with pytest.raises(LaunchError, match="and its budget is 5 tokens; leave it out") as refused:
        await launcher.launch(request, AcpSession(1, observer))
    assert refused.value.kind == "budget_unmeasured"
    assert not (ground.folder / "agents").exists()
