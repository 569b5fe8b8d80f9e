"""What is told of a gateway to whoever looks: its state while it answers, and that it does not."""

import asyncio
import signal
from datetime import UTC, datetime
from functools import partial

import pytest

from acp_runtime import __version__
from acp_runtime.gateway.onlooker import look, look_at
from tests.integration.gateway.gateway_site import STORE, GatewaySite
from tests.integration.http_ends import client, echo, upstream


@pytest.mark.requirement("D09.38")
async def test_a_gateway_tells_its_process_version_start_accounts_and_newest_record(site: GatewaySite):
    assert await look_at(site.place) is None
    async with upstream(echo) as model:
        link = site.link()
        for subagent in ("bg-1", "bg-2"):
            await link.open(partial(site.account, model.url, subagent=subagent))
        new = await look_at(site.place)
        assert new is not None
        async with client(site.socket) as agent:
            await agent.exchange("GET", "/v1/x")
        seen = await look_at(site.place)
        assert seen is not None
        assert (seen.pid, seen.store, seen.version) == (site.pid, STORE, __version__)
        assert (seen.answers, seen.accounts, seen.running, seen.alone) == (True, 2, 0, None)
        began, last = (datetime.fromisoformat(each) for each in (seen.since, seen.last_record))
        assert began.tzinfo is last.tzinfo is UTC
        assert new.last_record == ""
        assert site.records()[-1]["at"][:16] in (seen.last_record[:16], new.since[:16])
        assert await look(site.root / "run") == [seen]


@pytest.mark.requirement("D09.38")
async def test_one_that_hangs_is_told_with_its_process(site: GatewaySite):
    link = site.link()
    await link.open(partial(site.account, "http://127.0.0.1:9/v1"))
    link._keeping.cancel()  # so that it is not replaced meanwhile
    pid = site.kill(signal.SIGSTOP)
    at, (found,) = await asyncio.gather(look_at(site.place), look(site.root / "run"))
    assert at == found
    assert (found.pid, found.answers) == (pid, False)
    assert found.words.startswith(f"process {pid} of store {STORE} does not answer")
