"""Budgets at a real gateway: changed while their agent lives, shared by several, and known to the next gateway."""

from dataclasses import replace
from functools import partial

import pytest

from acp_runtime.core.budget import Allowance, Budget, Scope, Used
from acp_runtime.gateway.account import Account
from acp_runtime.gateway.records import call_of
from tests.integration.gateway.gateway_site import GatewaySite
from tests.integration.http_ends import client, upstream


@pytest.mark.requirement("D09.16")
async def test_after_a_raise_of_its_budget_an_agent_is_answered_again_and_after_a_cut_it_is_not(site: GatewaySite):
    async def answer(end, _):
        await end.hear_body()
        await end.answer(200, b'{"model": "m", "usage": {"prompt_tokens": 90, "completion_tokens": 5}, "choices": []}')

    bounds, statuses, link = [50], [], site.link()
    async with upstream(answer) as model:
        account = site.account(model.url)
        assert account.model is not None

        def bounded() -> Account:
            told = Allowance(Scope.AGENT, "bg-1", Budget(tokens=bounds[-1]), Used())
            return replace(account, model=replace(account.model, allowances=(told,)))

        async def ask() -> None:
            async with client(site.socket) as agent:
                statuses.append((await agent.exchange("POST", "/v1/responses", b'{"model": "m"}'))[0].status_code)

        await link.open(bounded)
        await ask()
        await ask()
        for bound in (200, 180):
            bounds.append(bound)
            await link.refresh("bg-1")
            await ask()
        bounds.append(400)
        await link.refresh("bg-1")
        await ask()
    assert statuses == [200, 400, 200, 400, 200], "what was used before counts at each change"


@pytest.mark.requirement("D09.16")
async def test_agents_that_share_a_budget_are_refused_together_and_a_new_gateway_knows_what_was_used(site: GatewaySite):
    async def answer(end, _):
        await end.hear_body()
        await end.answer(200, b'{"model": "m", "usage": {"prompt_tokens": 60, "completion_tokens": 0}, "choices": []}')

    booked = [0]

    async def settled() -> None:
        calls = filter(None, map(call_of, site.records()))
        booked.append(sum(call.usage.total for call in calls if call.usage is not None))

    async with upstream(answer) as model:

        def made(subagent: str, bound: int) -> Account:
            account = site.account(model.url, subagent=subagent)
            assert account.model is not None
            shared = Allowance(Scope.TREE, "bg-1", Budget(tokens=bound), Used(tokens=booked[-1]))
            return replace(account, model=replace(account.model, allowances=(shared,)))

        async def ask(subagent: str) -> int:
            socket = site.account(model.url, subagent=subagent).model.socket
            async with client(socket) as agent:
                return (await agent.exchange("POST", "/v1/responses", b'{"model": "m"}'))[0].status_code

        link = site.link()
        for subagent in ("bg-1", "bg-2"):
            await link.open(partial(made, subagent, 100), settled)
        assert [await ask(each) for each in ("bg-1", "bg-2", "bg-1", "bg-2")] == [200, 200, 400, 400]
        await site.ended(site.kill())
        later = site.link(epoch=2)
        for subagent in ("bg-1", "bg-2"):
            await later.open(partial(made, subagent, 150), settled)
        assert [await ask(each) for each in ("bg-2", "bg-1")] == [200, 400]
