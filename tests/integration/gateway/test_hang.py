"""A gateway that is there and does not answer: noticed, ended and replaced, and nothing that it wrote down is lost."""

import asyncio
import contextlib
import signal
from functools import partial
from pathlib import Path

import h11
import pytest

from acp_runtime.clock import SystemClock
from acp_runtime.manager.gateway_watch import GatewayWatch
from tests.integration.gateway.gateway_site import GatewaySite
from tests.integration.gateway.halves import Halves, begin
from tests.integration.http_ends import BOUND, client, echo, upstream


@pytest.mark.requirement("D09.2")
async def test_a_gateway_that_hangs_while_agents_run_is_ended_and_replaced_with_all_accounts_and_records(
    site: GatewaySite,
):
    halves = Halves()
    async with upstream(halves) as model, contextlib.AsyncExitStack() as agents:
        link = site.link(watch=GatewayWatch(SystemClock(), every=0.1, patience=2))
        for subagent in ("bg-1", "bg-2"):
            await link.open(partial(site.account, model.url, subagent=subagent))
        async with client(site.socket) as agent:
            await agent.exchange("GET", "/v1/before")
        agent = await agents.enter_async_context(client(site.socket))
        await begin(agent)
        hung = site.kill(signal.SIGSTOP)
        with pytest.raises((h11.RemoteProtocolError, ConnectionError)):
            await agent.hear_body()
        await site.ended(hung)
        for name in ("model.sock", "bg-2.sock"):
            await served(site.socket.with_name(name))
        assert site.pid != hung
        assert [each["attempt"] for each in (await site.told())["list"]] == [1, 1]
    assert [each["path"] for each in site.records()] == ["/v1/before", "/v1/after", "/v1/after"]


async def served(socket: Path) -> None:
    """Return once a request that comes to a socket is answered; until it is listened on, nothing is."""
    async with asyncio.timeout(BOUND):
        while True:
            with contextlib.suppress(OSError):
                async with client(socket) as agent:
                    assert (await agent.exchange("GET", "/v1/after"))[0].status_code == 200
                    return
            await asyncio.sleep(0.02)


@pytest.mark.requirement("D09.2")
@pytest.mark.long
async def test_a_gateway_that_hangs_is_ended_and_another_one_started(site: GatewaySite):
    async with upstream(echo) as model:
        await site.link().open(lambda: site.account(model.url))
        pid = site.kill(signal.SIGSTOP)
        await site.link(epoch=2).open(lambda: site.account(model.url))
        assert site.pid != pid
        await site.ended(pid)
