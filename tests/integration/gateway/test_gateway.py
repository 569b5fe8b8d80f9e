"""The gateway outlives managers, managers outlive the gateway, and an agent hears as little of either as can be."""

import asyncio
import contextlib
import os
import platform
import signal
import stat
import sys
from dataclasses import replace
from decimal import Decimal
from functools import partial
from pathlib import Path

import h11
import pytest

from acp_runtime import __version__
from acp_runtime.core.budget import Allowance, Budget, Scope, Used
from acp_runtime.core.metering import Usage
from acp_runtime.core.prices import Price
from acp_runtime.detached import wait_for_end
from acp_runtime.egress.registry import builtin_registries
from acp_runtime.egress.rules import Rules
from acp_runtime.gateway.account import Account, EgressWay
from acp_runtime.gateway.client import GatewayClient
from acp_runtime.gateway.errors import GatewayError
from acp_runtime.gateway.records import call_of
from acp_runtime.manager.gateway_finder import PASSED_ON
from sandbox.programs import program
from tests.integration.gateway.gateway_site import STORE, TREE, GatewaySite
from tests.integration.gateway.halves import Halves, begin
from tests.integration.http_ends import BOUND, KEY, End, client, echo, upstream
from tests.integration.relay_process import running

RELAY = program("relay", {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()])


async def test_a_request_gets_its_key_from_the_gateway_and_is_written_down(site: GatewaySite):
    async with upstream(echo) as model:
        await site.link().open(lambda: site.account(model.url))
        async with client(site.socket) as agent:
            _, body = await agent.exchange(
                "POST", "/v1/chat?after=secret", b"{}", [("authorization", "Bearer stand-in")]
            )
            assert body == b"POST /v1/chat?after=secret {}"
            assert (await agent.exchange("GET", "/elsewhere"))[0].status_code == 403
        assert dict(model.requests[0].headers)[b"authorization"] == b"Bearer " + KEY.encode()
        called, refused = site.records()
        about = {
            "subagent": "bg-1",
            "attempt": 1,
            "tree": "bg-1",
            "way": "model",
            "host": "127.0.0.1",
            "port": model.port,
        }
        assert {name: called[name] for name in about} == about
        assert [called[name] for name in ("method", "path", "status", "up", "end")] == [
            "POST",
            "/v1/chat",
            200,
            2,
            "answered",
        ]
        assert [refused[name] for name in ("path", "status", "down", "end")] == ["/elsewhere", 403, 0, "refused"]
        assert (await site.told())["list"][0]["failures"] == 1


async def test_what_rules_allow_goes_out_through_the_gateway_and_what_they_do_not_is_written_down(site: GatewaySite):
    async with upstream(echo) as host:
        rules = Rules.parse([f"unsafe_private:localhost:{host.port}"])
        socket = site.socket.with_name("egress.sock")
        way = EgressWay(8791, socket, rules, (builtin_registries()["pip"],))
        link, ways = site.link(), [way]
        with pytest.raises(GatewayError, match="no account of bg-1 yet"):
            await link.refresh("bg-1")
        await link.open(lambda: Account("bg-1", 1, os.getgid(), egress=ways[-1]))
        url = f"http://localhost:{host.port}/x?secret=1"
        async with client(socket) as agent:
            headers = [("host", f"localhost:{host.port}")]
            await agent.say(h11.Request(method="GET", target=url, headers=headers), h11.EndOfMessage())
            assert (await agent.hear()).status_code == 200
            assert await agent.hear_body() == b"GET /x?secret=1 "
        ways.append(replace(way, rules=Rules()))
        await link.refresh("bg-1")
        async with client(socket) as agent:
            await agent.say(h11.Request(method="GET", target=url, headers=headers), h11.EndOfMessage())
            assert (await agent.hear()).status_code == 403
        allowed, denied = site.records()
        assert (allowed["way"], allowed["host"], allowed["rule"]) == ("http", "localhost", rules.texts[0])
        assert (denied["end"], denied["code"], denied["status"]) == ("refused", "egress_denied", 403)


async def test_a_call_of_a_model_is_measured_by_the_gateway_with_the_prices_of_the_user(site: GatewaySite):
    async def answer(end, _):
        await end.hear_body()
        usage = b'{"model": "mine", "usage": {"prompt_tokens": 1000, "completion_tokens": 10}, "choices": []}'
        await end.answer(200, usage, [("content-type", "application/json")])

    async with upstream(answer) as model:
        account = site.account(model.url)
        assert account.model is not None
        prices = (Price.of("mine", input=Decimal("1.5"), output=Decimal(2)),)
        priced = replace(account, model=replace(account.model, prices=prices))
        await site.link().open(lambda: priced)
        async with client(site.socket) as agent:
            await agent.exchange("POST", "/v1/chat/completions", b'{"model": "mine"}')
    (call,) = [call_of(each) for each in site.records()]
    assert call is not None
    assert (call.subagent, call.model, call.end) == ("bg-1", "mine", "answered")
    assert (call.usage, call.cost) == (Usage(input=1000, output=10), 1_520_000)


async def test_a_budget_that_is_used_up_refuses_the_next_call_also_under_the_next_manager(site: GatewaySite):
    async def answer(end, _):
        await end.hear_body()
        await end.answer(200, b'{"model": "m", "usage": {"prompt_tokens": 90, "completion_tokens": 5}, "choices": []}')

    async with upstream(answer) as model:
        account = site.account(model.url)
        assert account.model is not None
        told = Allowance(Scope.AGENT, "bg-1", Budget(tokens=100), Used(tokens=10))
        bounded = replace(account, model=replace(account.model, allowances=(told,)))
        statuses = []
        for epoch in (1, 2):
            await site.link(epoch=epoch).open(lambda: bounded)
            async with client(site.socket) as agent:
                statuses.append(
                    (await agent.exchange("POST", "/v1/chat/completions", b'{"model": "m"}'))[0].status_code
                )
        assert statuses[0] == 200
        assert statuses[1] >= 400
    assert len(model.requests) == 1
    assert [each["call"]["end"] for each in site.records()] == ["answered", "over_budget"]


@pytest.mark.requirement("D09.2")
async def test_an_answer_under_way_goes_on_though_its_manager_is_killed_and_the_next_one_comes(site: GatewaySite):
    halves = Halves()
    async with upstream(halves) as model, contextlib.AsyncExitStack() as agents:
        async with site.manager(model.url) as manager:
            agent = await agents.enter_async_context(client(site.socket))
            await begin(agent)
            manager.kill()
            await manager.wait()
            pid = site.pid
        await site.link(epoch=2).open(lambda: site.account(model.url, key="another-key"))
        halves.go_on.set()
        assert await agent.hear_body() == b"second"
        agent.http.start_next_cycle()
        assert (await agent.exchange("GET", "/v1/x"))[0].status_code == 200
        assert dict(model.requests[1].headers)[b"authorization"] == b"Bearer another-key"
        assert (site.pid, (await site.told())["epoch"]) == (pid, 2)


@pytest.mark.requirement("D09.2")
async def test_what_comes_while_the_gateway_is_killed_is_held_and_served_by_the_next(site: GatewaySite):
    halves = Halves()
    async with upstream(halves) as model, running(RELAY, site.socket) as relay, contextlib.AsyncExitStack() as agents:
        await site.link().open(lambda: site.account(model.url))
        agent = await agents.enter_async_context(client_of(relay.port))
        await begin(agent)
        site.place.socket.unlink()  # where it listens for managers: the next one must come all the same
        first = site.kill()
        with pytest.raises((h11.RemoteProtocolError, ConnectionError)):
            await agent.hear_body()
        await site.ended(first)
        async with client_of(relay.port) as other:
            assert (await other.exchange("POST", "/v1/x", b"held"))[1] == b"held"
        await halves.left.wait()
        assert site.pid != first
    assert [each["end"] for each in site.records()] == ["answered"]


@pytest.mark.parametrize("dead", [False, True], ids=["dies", "is dead, which nobody has noticed"])
async def test_an_account_that_is_opened_while_the_gateway_dies_is_opened_by_the_next(site: GatewaySite, dead: bool):
    async with upstream(echo) as model:
        link = site.link()
        await link.open(partial(site.account, model.url))
        first = site.kill()
        if dead:
            assert wait_for_end(first, BOUND)  # the loop stands still meanwhile, so it cannot have heard
        await link.open(partial(site.account, model.url, subagent="bg-2"))
        assert site.pid != first
        async with client(site.socket.with_name("bg-2.sock")) as agent:
            assert (await agent.exchange("GET", "/v1/x"))[0].status_code == 200


@contextlib.asynccontextmanager
async def client_of(port: int):
    end = End(h11.CLIENT, *await asyncio.open_connection("127.0.0.1", port))
    try:
        async with asyncio.timeout(60):
            yield end
    finally:
        await end.close()


@pytest.mark.requirement("D09.2")
async def test_a_manager_that_was_replaced_opens_and_closes_nothing_and_starts_no_other_gateway(site: GatewaySite):
    async with upstream(echo) as model:
        old, new = site.link(epoch=1), site.link(epoch=2)
        await old.open(lambda: site.account(model.url))
        await new.open(lambda: site.account(model.url))
        with pytest.raises(GatewayError, match="replaced") as refused:
            await old.open(lambda: site.account(model.url, subagent="bg-2"))
        assert refused.value.kind == "epoch_refused"
        await old.close_account("bg-1", 9)
        await old.close()
        assert [each["subagent"] for each in (await site.told())["list"]] == ["bg-1"]
        with pytest.raises(GatewayError) as refused:
            await site.link(epoch=1).open(lambda: site.account(model.url))
        assert refused.value.kind == "epoch_refused"
        assert site.place.held


async def test_an_earlier_attempt_takes_no_account_from_a_later_one(site: GatewaySite):
    async with upstream(echo) as model:
        link = site.link()
        await link.open(lambda: site.account(model.url, attempt=2))
        with pytest.raises(GatewayError, match="Attempt 2"):
            await link.open(lambda: site.account(model.url, attempt=1))
        await link.close_account("bg-1", 1)
        assert [each["attempt"] for each in (await site.told())["list"]] == [2]
        await link.open(lambda: site.account(model.url, attempt=3))
        async with client(site.socket) as agent:
            assert (await agent.exchange("GET", "/v1/x"))[0].status_code == 200
        await link.close_account("bg-1", 3)
        assert ((await site.told())["list"], site.socket.exists()) == ([], False)


@pytest.mark.requirement("D09.2")
async def test_of_many_starts_at_once_one_gateway_comes_out(site: GatewaySite):
    async with upstream(echo) as model:
        links = [site.link() for _ in range(4)]
        await asyncio.gather(
            *(link.open(partial(site.account, model.url, subagent=f"bg-{n}")) for n, link in enumerate(links, 2))
        )
        assert len((await site.told())["list"]) == 4
        assert gateways(site) == [site.pid]


def gateways(site: GatewaySite) -> list[int]:
    wanted = str(site.place.folder).encode()
    found = {int(path.parent.name): path for path in Path("/proc").glob("[0-9]*/cmdline")}
    return [pid for pid, path in found.items() if has(path, wanted)]


def has(path: Path, wanted: bytes) -> bool:
    with contextlib.suppress(OSError):
        return wanted in path.read_bytes()
    return False


async def agent_cannot_come(site: GatewaySite) -> None:
    """Return once the agent's socket is taken away from who comes new."""
    while await asyncio.to_thread(site.socket.exists):
        pass


OLDER = """
import sys, pathlib, acp_runtime
acp_runtime.__version__ = "0.0.1"
from acp_runtime.gateway.__main__ import main
from acp_runtime.gateway.place import GatewayPlace
sys.exit(main(GatewayPlace(sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3]))))
"""


@pytest.mark.requirement("D09.2")
async def test_a_gateway_of_another_version_finishes_what_is_under_way_and_gives_way(site: GatewaySite):
    halves, place = Halves(), site.place
    argv = (sys.executable, "-c", OLDER, STORE, str(place.folder), str(place.socket))
    starting = await asyncio.create_subprocess_exec(*argv, env={"PYTHONPATH": str(TREE)})
    assert await starting.wait() == 0
    first = site.pid
    async with upstream(halves) as model:
        old = await GatewayClient.connect(place.socket, STORE, epoch=1, ttl=60)
        assert old.hello["version"] == "0.0.1"
        await old.ask("open", **site.account(model.url).message())
        async with client(site.socket) as agent:
            await begin(agent)
            opening = asyncio.ensure_future(site.link(epoch=2).open(lambda: site.account(model.url)))
            await agent_cannot_come(site)
            halves.go_on.set()
            assert await agent.hear_body() == b"second"
        await opening
        await old.close()
        async with client(site.socket) as agent:
            assert (await agent.exchange("GET", "/v1/x"))[0].status_code == 200
        assert site.pid != first
        assert (await site.told())["version"] == __version__


@pytest.mark.requirement("D09.2")
async def test_a_gateway_that_is_told_to_end_cuts_what_is_under_way_and_leaves_nothing(site: GatewaySite):
    halves = Halves()
    async with upstream(halves) as model:
        link = site.link()
        await link.open(lambda: site.account(model.url))
        async with client(site.socket) as agent:
            await begin(agent)
            link.release("bg-1")
            os.kill(pid := site.pid, signal.SIGTERM)
            with pytest.raises((h11.RemoteProtocolError, ConnectionError)):
                await agent.hear_body()
        await site.ended(pid)
        await halves.left.wait()
    assert not site.socket.exists()
    assert [(each["path"], each["end"], each["down"]) for each in site.records()] == [("/v1/halves", "cut", 6)]


async def test_a_gateway_without_accounts_ends_with_its_manager_and_one_with_some_goes_on(site: GatewaySite):
    async with upstream(echo) as model:
        first = site.link()
        await first.open(lambda: site.account(model.url))
        pid = site.pid
        await first.close()
        assert site.place.held
        second = site.link(epoch=2)
        await second.close_account("bg-1", 1)
        await second.close()
        await site.ended(pid)
    assert list((site.root / "run").iterdir()) == []


async def test_a_gateway_whose_socket_was_removed_is_found_again(site: GatewaySite):
    async with upstream(echo) as model:
        await site.link().open(lambda: site.account(model.url))
        pid = site.pid
        site.place.socket.unlink()
        site.socket.unlink()
        await site.link(epoch=2).open(lambda: site.account(model.url))
        async with client(site.socket) as agent:
            assert (await agent.exchange("GET", "/v1/x"))[0].status_code == 200
        assert site.pid == pid


async def test_a_gateway_that_cannot_start_is_told_with_the_reason(site: GatewaySite):
    site.store.parent.mkdir()
    site.place.folder.write_text("a file is in its place")
    with pytest.raises(GatewayError, match=r"could not be started: .*File exists") as refused:
        await site.link().open(lambda: site.account("http://127.0.0.1:9/v1"))
    assert refused.value.kind == "gateway_unreachable"


@pytest.mark.requirement("B20")
async def test_the_key_is_in_no_argument_variable_file_or_log(site: GatewaySite):
    async with upstream(echo) as model:
        link = site.link()
        await link.open(lambda: site.account(model.url))
        async with client(site.socket) as agent:
            await agent.exchange("POST", "/v1/x", b"{}")
        process = Path(f"/proc/{site.pid}")
        seen = {name: (process / name).read_bytes() for name in ("cmdline", "environ")}
        seen |= {str(path): path.read_bytes() for path in site.root.rglob("*") if path.is_file()}
        seen["list"] = repr(await site.told()).encode()
        seen["link"] = repr(vars(link)).encode()
        assert set(seen) >= {str(site.place.folder / name) for name in ("lock", "log", "ledger-00000001.jsonl")}
        assert [where for where, text in seen.items() if KEY.encode() in text] == []
        assert (process / "cwd").readlink() == Path("/")
        assert set(seen["environ"].split(b"\0")) <= {*(b"PYTHONPATH=" + str(TREE).encode(),), b"", *allowed()}
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (site.place.socket, site.place.folder)}
        assert modes == {site.place.socket.name: 0o600, site.place.folder.name: 0o700}
        assert {stat.S_IMODE(path.stat().st_mode) for path in site.place.folder.iterdir()} == {0o600}


def allowed() -> list[bytes]:
    return [f"{name}={os.environ[name]}".encode() for name in PASSED_ON if name in os.environ]
