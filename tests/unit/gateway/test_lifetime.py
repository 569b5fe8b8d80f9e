"""When a gateway ends by itself: with nobody to serve soon, with no manager at last."""

import asyncio
import os
from collections.abc import AsyncIterator

import pytest

from acp_runtime.clock import ManualClock
from acp_runtime.gateway.account import Account, ModelWay
from acp_runtime.gateway.errors import GatewayError
from acp_runtime.gateway.gateway import IDLE_SECONDS, Gateway
from acp_runtime.gateway.ledger import Ledger
from acp_runtime.gateway.served import Means
from acp_runtime.models import Route

TTL = 100.0


class Watched:
    """A gateway whose clock stands still until it is told to go on."""

    def __init__(self, folder) -> None:
        self.clock = ManualClock()
        self.means = Means(Ledger(folder), self.clock)
        self.gateway = Gateway(self.means, self.clock)
        self.watching = asyncio.ensure_future(self.gateway.watch())
        way = ModelWay(8790, folder / "agent" / "model.sock", Route.parse("http://x"))
        self.account = Account("bg-1", 1, os.getgid(), way)

    async def ends_after(self, seconds: float) -> bool:
        for _ in range(round(seconds)):
            await asyncio.sleep(0)
            self.clock.advance(1000)
        for _ in range(5):
            await asyncio.sleep(0)
        return self.gateway.ending.done()


@pytest.fixture
async def watched(tmp_path) -> AsyncIterator[Watched]:
    made = Watched(tmp_path)
    yield made
    made.watching.cancel()
    await asyncio.gather(made.watching, return_exceptions=True)
    await made.gateway.finish(0)
    await made.means.close()


async def test_without_account_and_manager_it_ends_soon(watched: Watched):
    assert not await watched.ends_after(IDLE_SECONDS - 2)
    assert await watched.ends_after(4)


async def test_with_a_manager_it_goes_on_without_an_account(watched: Watched):
    watched.gateway.join("manager", 1, TTL)
    assert not await watched.ends_after(20 * IDLE_SECONDS)
    watched.gateway.leave("manager")
    assert not await watched.ends_after(IDLE_SECONDS - 2)
    assert await watched.ends_after(4)


@pytest.mark.requirement("D09.2")
async def test_with_an_account_it_waits_for_the_next_manager_as_long_as_its_agents_live(watched: Watched):
    watched.gateway.join("manager", 1, TTL)
    await watched.gateway.open(watched.account, 1)
    watched.gateway.leave("manager")
    assert not await watched.ends_after(TTL - 2)
    watched.gateway.leave("an onlooker")
    watched.gateway.join("next", 2, TTL)
    assert not await watched.ends_after(3 * TTL)
    watched.gateway.leave("next")
    assert await watched.ends_after(TTL + 2)


async def test_an_onlooker_keeps_no_gateway_alive(watched: Watched):
    for _ in range(round(IDLE_SECONDS)):
        watched.gateway.leave("an onlooker")
        await watched.ends_after(1)
    assert await watched.ends_after(2)


async def test_the_connection_of_a_manager_that_was_replaced_keeps_no_gateway_alive(watched: Watched):
    watched.gateway.join("first", 1, TTL)
    watched.gateway.join("second", 2, TTL)
    watched.gateway.leave("second")
    assert await watched.ends_after(IDLE_SECONDS + 2)


async def test_one_that_is_about_to_end_opens_nothing(watched: Watched):
    watched.gateway.join("manager", 1, TTL)
    watched.gateway.end(0)
    with pytest.raises(GatewayError, match="about to end"):
        await watched.gateway.open(watched.account, 1)
