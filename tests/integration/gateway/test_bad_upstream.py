"""An upstream that answers garbage, half an event, or never: its agent is told, and no other agent hears of it."""

import asyncio
import contextlib
from functools import partial

import h11
import pytest

from tests.integration.gateway.gateway_site import GatewaySite
from tests.integration.http_ends import End, client, echo, upstream

HALF = b'data: {"message": {"model": "m", "us'


async def bad(end: End, request: h11.Request) -> None:
    """Answer as the path asks for."""
    await end.hear_body()
    if request.target == b"/v1/garbage":
        end.writer.write(b"\xff\x00 no HTTP at all\r\n\r\n")
    elif request.target == b"/v1/half":
        head = h11.Response(status_code=200, headers=[("content-type", "text/event-stream")])
        await end.say(head, h11.Data(data=HALF))
        end.writer.transport.abort()
    else:
        with contextlib.suppress(ConnectionError):
            await end.reader.read()


async def test_a_bad_upstream_is_its_own_agents_alone(site: GatewaySite):
    async with upstream(bad) as worse, upstream(echo) as good, contextlib.AsyncExitStack() as agents:
        link = site.link()
        await link.open(partial(site.account, worse.url))
        await link.open(partial(site.account, good.url, subagent="bg-2"))
        never = await agents.enter_async_context(client(site.socket))
        await never.ask("POST", "/v1/never", b"{}")
        waiting = asyncio.ensure_future(never.hear())
        async with client(site.socket) as agent:
            assert (await agent.exchange("POST", "/v1/garbage", b"{}"))[0].status_code == 502
        async with client(site.socket) as agent:
            await agent.ask("POST", "/v1/half", b"{}")
            assert (await agent.hear()).status_code == 200
            with pytest.raises((h11.RemoteProtocolError, ConnectionError)):
                await agent.hear_body()
        async with client(site.socket.with_name("bg-2.sock")) as other:
            assert (await other.exchange("POST", "/v1/x", b"mine"))[1] == b"POST /v1/x mine"
        assert not waiting.done()
        waiting.cancel()
        await asyncio.wait([waiting])
        told = {each["subagent"]: each for each in (await site.told())["list"]}
    assert (told["bg-2"]["failures"], told["bg-1"]["failures"]) == (0, 2)
