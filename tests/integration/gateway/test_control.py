"""What comes to the gateway's socket and is no manager's: refused by name, and no other connection hears of it."""

import asyncio
import contextlib
import json
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from acp_runtime.core.prices import Price
from acp_runtime.gateway.client import GatewayClient
from acp_runtime.gateway.errors import GatewayError
from acp_runtime.gateway.gateway import ACCOUNTS
from acp_runtime.gateway.lines import LONGEST, line_of
from tests.integration.gateway.gateway_site import STORE, GatewaySite
from tests.integration.http_ends import BOUND, KEY, client, echo, upstream

HELLO = {"id": 1, "verb": "hello", "store": STORE}
MANAGER = HELLO | {"epoch": 5, "ttl": 60}


async def said(site: GatewaySite, *lines: object) -> list[dict[str, Any]]:
    """Return all that is answered to these lines, up to the end of the connection."""
    reader, writer = await asyncio.open_unix_connection(site.place.socket, limit=2 * LONGEST)
    async with asyncio.timeout(BOUND):
        for line in lines:
            writer.write(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n")
        text = await reader.read()
        writer.close()
        await writer.wait_closed()
    return [json.loads(line) for line in text.splitlines()]


BROKEN = [
    ([b"garbage\n"], "bad_line"),
    ([b"[1, 2]\n"], "bad_line"),
    ([b"\xff\xfe\x00\n"], "bad_line"),
    ([b"[" * 30_000 + b"\n"], "bad_line"),
    ([{"id": 1, "verb": "list"}], "bad_line"),
    ([HELLO | {"store": "other"}], "store_refused"),
    ([HELLO | {"epoch": "7"}], "bad_line"),
    ([HELLO | {"epoch": -1}], "bad_line"),
    ([MANAGER | {"ttl": None}], "bad_line"),
    ([MANAGER | {"epoch": 0}], "epoch_refused"),
    ([HELLO, b"{}}\n"], "bad_line"),
]


@pytest.mark.requirement("D09.2")
async def test_a_broken_line_is_refused_by_name_and_ends_its_connection_alone(site: GatewaySite):
    async with upstream(echo) as model:
        link = site.link()
        await link.open(lambda: site.account(model.url))
        async with client(site.socket) as agent:
            for lines, kind in BROKEN:
                assert (await said(site, *lines))[-1]["kind"] == kind, lines
            assert (await agent.exchange("POST", "/v1/x", b"x"))[1] == b"POST /v1/x x"
        await link.open(lambda: site.account(model.url, subagent="bg-2"))
        assert (await site.told())["epoch"] == 1


@pytest.mark.requirement("D09.2")
async def test_a_line_that_is_too_long_is_not_read_to_its_end_and_ends_its_connection_alone(site: GatewaySite):
    link = site.link()
    await link.open(lambda: site.account("http://127.0.0.1:9/v1"))
    _, writer = await asyncio.open_unix_connection(site.place.socket)
    async with asyncio.timeout(BOUND):
        with contextlib.suppress(ConnectionError):  # what it says of it may be lost with the connection
            writer.write(b'{"verb": "')
            while True:
                writer.write(b"x" * LONGEST)
                await writer.drain()
    writer.transport.abort()
    await link.open(lambda: site.account("http://127.0.0.1:9/v1", subagent="bg-2"))


BAD = [
    {"verb": "no-such-verb"},
    {"verb": "end"},
    {"verb": "close", "subagent": "bg-1"},
    {"verb": "open"},
    {"verb": "open", "subagent": 7},
]


async def test_a_request_that_makes_no_sense_is_refused_and_the_connection_goes_on(site: GatewaySite):
    await site.link().open(lambda: site.account("http://127.0.0.1:9/v1"))
    manager = await GatewayClient.connect(site.place.socket, STORE, epoch=2, ttl=60)
    for message in BAD:
        with pytest.raises(GatewayError) as refused:
            await manager.ask(**message)
        assert refused.value.kind in {"bad_line", "bad_account"}, message
    assert len(await manager.ask("list")) == 1
    await manager.close()


async def test_an_account_with_the_prices_of_many_models_is_opened_and_what_is_too_long_is_refused_before_it_is_said(
    site: GatewaySite,
):
    account = site.account("http://127.0.0.1:9/v1")
    assert account.model is not None
    one = Decimal(1)
    prices = tuple(Price.of(f"m{number}", input=one, output=one) for number in range(1_000))
    priced = replace(account, model=replace(account.model, prices=prices))
    await site.link().open(lambda: priced)
    manager = await GatewayClient.connect(site.place.socket, STORE, epoch=2, ttl=60)
    with pytest.raises(GatewayError, match="fewer prices"):
        await manager.ask("open", **account.message(), more="x" * LONGEST)
    assert len(await manager.ask("list")) == 1
    await manager.close()


async def test_as_many_accounts_as_there_may_be_are_listed_in_one_answer(site: GatewaySite):
    await site.link().open(lambda: site.account("http://127.0.0.1:9/v1"))
    [shown] = (await site.told())["list"]
    worst = {**shown, "last_failure": "x" * 1_500}
    assert len(line_of({"id": 1, "done": [worst] * ACCOUNTS})) < LONGEST


MALFORMED = [
    ("attempt", "1"),
    ("model", 7),
    ("model", {"socket": "model.sock"}),
    ("model", {"socket": "/tmp/../etc/x"}),
    ("model", {"url": "ftp://x"}),
    ("model", {"url": f"http://u:{KEY}@x"}),
    ("model", {"key_form": "cookie"}),
    ("model", {"key": {"name": "K", "value": f"{KEY}\r\nx: y"}}),
    ("model", {"key": KEY}),
    ("model", {"prices": [{"model": "m"}]}),
    ("model", {"allowances": [{"scope": "world"}]}),
    ("model", {"allowances": [{"scope": "agent", "key": "k", "budget": {"tokens": "9"}}]}),
    ("model", {"allowances": [{"scope": "agent", "key": "k", "budget": {}, "used": {"tokens": None}}]}),
    ("egress", {"port": 1, "socket": "/x", "rules": ["*"], "registries": []}),
    ("egress", {"port": 1, "socket": "/x", "rules": [], "registries": [{"name": "none", "addresses": {}}]}),
    ("relay", {"container": "c", "argv": [], "user": "0", "token": KEY, "engine": {"LD_PRELOAD": "x"}}),
    ("relay", {"container": KEY}),
]


async def test_an_account_that_is_malformed_is_refused_without_its_values(site: GatewaySite):
    account = site.account("http://127.0.0.1:9/v1")
    await site.link().open(lambda: account)
    manager = await GatewayClient.connect(site.place.socket, STORE, epoch=2, ttl=60)
    for field, value in MALFORMED:
        message = account.message() | {"subagent": "bg-2"}
        message[field] = message["model"] | value if field == "model" and isinstance(value, dict) else value
        with pytest.raises(GatewayError) as refused:
            await manager.ask("open", **message)
        assert refused.value.kind == "bad_account", field
        assert KEY not in str(refused.value) + site.log()
    assert len(await manager.ask("list")) == 1
    await manager.close()


async def test_somebody_who_only_looks_may_neither_open_nor_close_nor_end(site: GatewaySite):
    account = site.account("http://127.0.0.1:9/v1")
    await site.link().open(lambda: account)
    onlooker = await GatewayClient.connect(site.place.socket, STORE)
    for verb in ("open", "close", "end"):
        with pytest.raises(GatewayError, match="for managers alone"):
            await onlooker.ask(verb, **account.message(), grace=0)
    shown = repr(await onlooker.ask("list"))
    assert "bg-1" in shown
    assert KEY not in shown
    await onlooker.close()


async def test_a_socket_that_cannot_be_made_is_told_and_nothing_is_served(site: GatewaySite):
    link, account = site.link(), site.account("http://127.0.0.1:9/v1")
    site.socket.parent.mkdir()
    site.socket.write_text("something else")
    with pytest.raises(GatewayError) as refused:
        await link.open(lambda: account)
    assert refused.value.kind == "socket_refused"
    assert (await site.told())["list"] == []
