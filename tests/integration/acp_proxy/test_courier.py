"""News between prompts, with what goes wrong at the worst moment."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from acp_runtime.acp_proxy import courier as couriers
from acp_runtime.acp_proxy import daemon as daemons
from acp_runtime.acp_proxy import ledger as ledgers
from acp_runtime.acp_proxy.courier import Courier
from acp_runtime.acp_proxy.daemon import Daemon
from acp_runtime.acp_proxy.ledger import Ledger
from acp_runtime.acp_proxy.own import OwnRequests
from tests.e2e.daemon_site import BOUND, DaemonSite

pytestmark = pytest.mark.requirement("D10.22")


class Woken:
    """A session whose agent is given turns of ours, as the agent hears of it."""

    def __init__(self, site: DaemonSite, parent: str) -> None:
        self.site = site
        self.parent = parent
        self.heard = asyncio.Queue[bytes]()
        daemon = Daemon()
        self.courier = Courier(
            "s", daemon, Ledger(daemon, parent, parent), OwnRequests(self.heard.put_nowait),
            steering=False, wake=True, announce=lambda _: None,
        )  # fmt: skip

    def done(self) -> None:
        """Have a subagent do a task. No other task of this loop runs meanwhile."""
        order = {"agent": "scripted", "workspace": str(self.site.workspace), "task": "[[say:found]]", "purpose": "look"}
        subagent = self.site.client.call("spawn", self.parent, request=order)["id"]
        waited = self.site.client.call("wait", self.parent, subagents=[subagent], seconds=BOUND)
        assert waited["reason"] == "ended", self.site.log()

    async def told(self) -> dict[str, Any]:
        async with asyncio.timeout(BOUND):
            return dict(json.loads(await self.heard.get()))


class Log(logging.Handler):
    """What is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.said = asyncio.Queue[str]()

    def emit(self, record: logging.LogRecord) -> None:
        self.said.put_nowait(record.getMessage())


@asynccontextmanager
async def slow(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """Have no offer come in time within the block."""
    with monkeypatch.context() as patch:
        patch.setattr(ledgers, "OFFER_SECONDS", 0.0)
        async with ledger._order:  # the daemon may be quick
            yield


@pytest.fixture
def at(site: DaemonSite, monkeypatch: pytest.MonkeyPatch) -> DaemonSite:
    for name, value in site.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(ledgers, "OFFER_SECONDS", BOUND)
    return site


async def test_news_that_a_slow_daemon_did_not_give_in_time_wakes_the_agent_all_the_same(
    at: DaemonSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    woken, log = Woken(at, "slow"), Log()
    monkeypatch.setattr(daemons.log, "handlers", [log])
    monkeypatch.setattr(couriers, "AGAIN_SECONDS", 0.01)
    async with slow(woken.courier.ledger, monkeypatch):
        woken.done()
        woken.courier.start("slow")
        async with asyncio.timeout(BOUND):
            assert (await log.said.get()).endswith("the daemon did not answer in time")
    try:
        assert (await woken.told())["method"] == "session/prompt"
    finally:
        await woken.courier.close()


async def test_a_turn_of_ours_that_its_agent_never_ends_holds_up_one_prompt_and_what_it_told_is_told_with_that(
    at: DaemonSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(couriers, "YIELD_SECONDS", 0.01)
    woken = Woken(at, "endless")
    woken.done()
    woken.courier.start("endless")
    assert (await woken.told())["method"] == "session/prompt"
    try:
        async with asyncio.timeout(BOUND):
            await woken.courier.give_way()
            assert not woken.courier.yielding
            woken.courier.turn_begins()
            offer = await woken.courier.ledger.offer()
        assert offer is not None
        assert len(offer.nudges) == 1
    finally:
        await woken.courier.close()


async def test_a_prompt_that_waits_for_a_turn_of_ours_goes_on_when_the_session_is_opened_anew(at: DaemonSite) -> None:
    woken = Woken(at, "anew")
    woken.done()
    woken.courier.start("anew")
    assert (await woken.told())["method"] == "session/prompt"
    try:
        assert woken.courier.yielding
        async with asyncio.timeout(BOUND):
            prompt = asyncio.create_task(woken.courier.give_way())
            await asyncio.sleep(0)
            woken.courier.stop()
            await prompt
        assert not woken.courier.yielding
    finally:
        await woken.courier.close()
