"""The key of an agent that runs is where its manager does not find it any more: kept where it is known, told else."""

import asyncio
import json
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from acp_runtime.gateway.account import Account
from acp_runtime.gateway.records import expiry_of
from acp_runtime.keys import key_or_none_yet
from tests.integration.gateway.gateway_site import GatewaySite
from tests.integration.gateway.test_hang import served
from tests.integration.http_ends import KEY, client, echo, upstream

VARIABLE = "env:GONE_KEY"


async def keyless(site: GatewaySite, url: str, source: str = VARIABLE) -> Account:
    """Return the account as a manager has it opened that adopts the agent and finds no key."""
    found = site.account(url)
    assert found.model is not None
    route = replace(found.model.route, key=await key_or_none_yet(source, {"HOME": str(site.root)}))
    return replace(found, model=replace(found.model, route=route))


@pytest.mark.requirement("D09.39")
async def test_a_key_that_only_the_gateway_has_stays_in_use_until_it_is_killed_and_is_told_as_gone_then(
    site: GatewaySite,
):
    async with upstream(echo) as model:
        first = site.link()
        await first.open(lambda: site.account(model.url))
        first.release("bg-1")
        without = await keyless(site, model.url)
        await site.link(epoch=2).open(lambda: without)
        await served(site.socket)
        assert dict(model.requests[-1].headers)[b"authorization"] == b"Bearer " + KEY.encode()
        await site.ended(site.kill(signal.SIGKILL))
        status, words = await asked(site)
        assert (status, "no key for this model now" in words, "GONE_KEY" in words) == (400, True, False), words
        expiry = expiry_of(site.records()[-1])
        assert expiry is not None
        assert (expiry.subagent, "set the environment variable GONE_KEY" in expiry.why) == ("bg-1", True)
        await site.link(epoch=3).open(lambda: site.account(model.url))
        await served(site.socket)


@pytest.mark.requirement("D09.39")
@pytest.mark.parametrize("kind", ["file", "command"])
async def test_a_call_without_its_key_is_refused_for_good_and_a_file_is_found_once_it_is_there(
    site: GatewaySite, kind: str
):
    path = site.root / "key"
    read = f"import sys; sys.stdout.write(open('{path}').read())"
    source = f"file:{path}" if kind == "file" else f'command:{sys.executable} -c "{read}"'
    async with upstream(echo) as model:
        without = await keyless(site, model.url, source)
        await site.link().open(lambda: without)
        assert (await asked(site))[0] == 400, "no agent asks again and again for what somebody has to mend"
        assert expiry_of(site.records()[-1]) is not None
        write(path)
        if kind == "file":
            await served(site.socket)


def write(path: Path) -> None:
    path.touch(0o600)
    path.write_text(KEY)


async def asked(site: GatewaySite) -> tuple[int, str]:
    """Ask the model once somebody listens, and return how that went."""
    async with asyncio.timeout(30):
        while True:
            try:
                async with client(site.socket) as agent:
                    head, body = await agent.exchange("POST", "/v1/chat/completions", b"{}")
                    return head.status_code, json.loads(body)["error"]["message"]
            except OSError:
                await asyncio.sleep(0.02)
