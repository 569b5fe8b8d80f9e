"""What a sandbox that floods the gateway costs others: not their connections."""

import resource
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager

import pytest

from tests.integration.gateway.gateway_site import GatewaySite
from tests.integration.http_ends import client, echo, upstream

FEW = 150


@contextmanager
def few_files() -> Iterator[None]:
    """Have what is started inside the block begin with few files that it may open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (FEW, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.requirement("T2")
async def test_agents_that_hold_all_their_connections_leave_files_for_others(site: GatewaySite) -> None:
    async with upstream(echo) as model, AsyncExitStack() as stack:
        link = site.link()
        with few_files():
            await link.open(lambda: site.account(model.url))
        for number in range(3):
            name = f"bg-flood{number}"
            await link.open(lambda name=name: site.account(model.url, subagent=name))
            for _ in range(64):
                await stack.enter_async_context(client(site.socket.with_name(f"{name}.sock")))
        async with client(site.socket) as agent:
            answer, _ = await agent.exchange("GET", "/v1/x")
        assert answer.status_code == 200
