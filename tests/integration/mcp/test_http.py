"""MCP over HTTP at a daemon's port of 127.0.0.1: the SDK's client, raw requests, and clients that may not come in."""

import asyncio
import json
import stat
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2 as httpx
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from acp_runtime.client import RemoteRuntime
from acp_runtime.core.roster import parse_block
from acp_runtime.mcp import guests, web
from tests.integration.api.conftest import BOUND, Site, site_at

MODERN = "2026-07-28"
HELLO = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "a test", "version": "1"}}
ACCEPT = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}


@dataclass
class Door:
    """A daemon's HTTP door, and the same daemon by its socket."""

    site: Site
    url: str
    token_file: Path
    runtime: Any

    @property
    def token(self) -> str:
        return self.token_file.read_text(encoding="ascii").strip()

    def headers(self, parent: str | None = None, **more: str) -> dict[str, str]:
        named = {} if parent is None else {"X-Subagents-Parent": parent}
        own = {"Authorization": f"Bearer {self.token}", "X-Subagents-Workspace": str(self.site.root / "repo")}
        return ACCEPT | own | named | more

    def http(self, parent: str | None = None, **more: str) -> httpx.AsyncClient:
        return httpx.AsyncClient(headers=self.headers(parent, **more), timeout=BOUND)

    @asynccontextmanager
    async def client(self, parent: str | None = None, mode: str = "legacy") -> AsyncIterator[Client]:
        async with self.http(parent) as http:
            transport = streamable_http_client(self.url, http_client=http)
            async with asyncio.timeout(BOUND), Client(transport, mode=mode, cache=None) as client:
                yield client

    async def post(self, method: str, *, http: httpx.AsyncClient, **params: Any) -> httpx.Response:
        return await http.post(self.url, json={"jsonrpc": "2.0", "id": 1, "method": method, "params": params})

    async def ended(self, ident: str) -> None:
        """Wait for the end of its task without its parent hearing of it."""
        from acp_runtime.callers import OPERATOR

        await self.runtime.wait(OPERATOR, [ident], seconds=BOUND)

    async def states(self, parent: str) -> list[str]:
        return [each.state for each in await self.runtime.nudges(parent)]


@pytest.fixture
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site_at(tmp_path_factory.mktemp("h", numbered=True)) as site:
        site.config = replace(site.config, daemon=replace(site.config.daemon, http=0))
        yield site


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[web.Web]:
    """The applications that are made in the test, to look at."""
    made: list[web.Web] = []
    own = web.Web.__init__

    def noted(self: web.Web, *values: Any) -> None:
        own(self, *values)
        made.append(self)

    monkeypatch.setattr(web.Web, "__init__", noted)
    return made


async def until(met: Callable[[], bool]) -> None:
    async with asyncio.timeout(BOUND):
        while not met():  # noqa: ASYNC110 - what happens on the other side of a connection tells nobody here
            await asyncio.sleep(0.005)


def calls(served: list[web.Web]) -> int:
    return sum(session._calls for each in served for session in each._guests._kept.values())


async def told_of(site: Site) -> dict[str, Any]:
    """Return what the daemon's hello says of its port, once it serves there."""
    async with asyncio.timeout(BOUND):
        while "mcp" not in (hello := await asyncio.to_thread(site.client.hello)):  # each one is a call
            pass
    return dict(hello["mcp"])


@asynccontextmanager
async def door_of(site: Site) -> AsyncIterator[Door]:
    async with site.daemon(), RemoteRuntime.connect(site.socket) as runtime:
        told = await told_of(site)
        yield Door(site, told["url"], Path(told["token_file"]), runtime)


@pytest.fixture
async def door(site: Site, served: list[web.Web]) -> AsyncIterator[Door]:
    async with door_of(site) as door:
        yield door


async def ask(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.structured_content
    assert isinstance(result.structured_content, dict)
    return result.structured_content


async def spawned(client: Client, task: str = "[[say:hello]]") -> str:
    given = {"purpose": "a test", "initial_task": task, "cwd": "/workspace", "agent_kind": "scripted"}
    return str((await ask(client, "spawn_background_subagent", **given))["id"])


async def told(client: Client) -> list[str]:
    """Return of whom a look around tells something."""
    block = parse_block((await ask(client, "list_background_subagents")).get("background_subagents", ""))
    return [] if block is None else [each.subagent for each in block.nudges]


@pytest.mark.requirement("D10.48")
@pytest.mark.parametrize("mode", ["legacy", MODERN])
async def test_a_client_over_http_spawns_collects_and_acknowledges_once(door: Door, mode: str) -> None:
    async with door.client("mine", mode) as client:
        ident = await spawned(client)
        await door.ended(ident)
        assert await told(client) == [ident]
        assert await door.states("mine") == ["claimed"]
        assert await told(client) == []
        assert await door.states("mine") == ["committed"]
        waited = await ask(client, "wait_background_subagents", ids=[ident])
        assert waited["subagents"][0]["result"]["text"] == "hello"


@pytest.mark.requirement("D10.48")
async def test_two_sessions_of_one_repository_hear_of_their_own_only(door: Door) -> None:
    async with door.client() as one, door.client() as two:
        idents = [await spawned(client) for client in (one, two)]
        for ident in idents:
            await door.ended(ident)
        assert [await told(client) for client in (one, two)] == [[ident] for ident in idents]
        seen = await two.call_tool("get_background_subagent_status", {"id": idents[0]})
        assert seen.structured_content["kind"] == "unknown_subagent"


@pytest.mark.requirement("D10.48")
async def test_a_parent_that_is_named_again_is_told_what_its_last_session_did_not_acknowledge(door: Door) -> None:
    async with door.client("mine") as client:
        ident = await spawned(client)
        await door.ended(ident)
        assert await told(client) == [ident]
    async with door.client("mine", MODERN) as client:
        assert await told(client) == []
    assert await door.states("mine") == ["committed"]


async def ready(door: Door, http: httpx.AsyncClient, mode: str) -> None:
    """Have what a client sends be a request of one era: with a session that it has opened, or with none."""
    if mode == MODERN:
        http.headers |= {"MCP-Protocol-Version": MODERN, "Mcp-Method": "tools/call"}
        return
    begun = await door.post("initialize", http=http, **HELLO)
    assert begun.status_code == 200
    http.headers |= {"Mcp-Session-Id": begun.headers["mcp-session-id"], "MCP-Protocol-Version": "2025-11-25"}
    done = await http.post(door.url, json={"jsonrpc": "2.0", "method": "notifications/initialized"})
    assert done.status_code == 202


def call_of(mode: str, name: str, **arguments: Any) -> dict[str, Any]:
    meta = {
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientCapabilities": {},
        "progressToken": 1,
    }
    return {"name": name, "arguments": arguments, **({"_meta": meta} if mode == MODERN else {})}


async def wait_for(door: Door, http: httpx.AsyncClient, mode: str, ident: str) -> httpx.Response:
    await ready(door, http, mode)
    name = "wait_background_subagents"
    body = {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": call_of(mode, name, ids=[ident])}
    return await http.post(door.url, json=body, headers={"Mcp-Name": name})


@pytest.mark.requirement("D10.48")
@pytest.mark.parametrize("mode", ["legacy", MODERN])
async def test_a_client_that_leaves_in_the_middle_of_a_wait_ends_it_and_is_told_the_next_time(
    door: Door, mode: str, served: list[web.Web]
) -> None:
    go = door.site.root / "go"
    async with door.client("mine") as client:
        ident = await spawned(client, f"[[wait:{go}]]")
        async with door.http("mine") as http:
            leaving = asyncio.create_task(wait_for(door, http, mode, ident))
            await until(lambda: calls(served) == 1)
            leaving.cancel()
            await asyncio.gather(leaving, return_exceptions=True)
            await until(lambda: calls(served) == 0)
        go.touch()
        await door.ended(ident)
        assert await door.states("mine") == ["pending"]
        assert await told(client) == [ident]


@pytest.mark.requirement("T18")
@pytest.mark.parametrize(
    ("changes", "status", "said"),
    [
        ({"Authorization": None}, 401, "the header Authorization must be"),
        ({"Authorization": "Bearer wrong"}, 401, "the header Authorization must be"),
        ({"Authorization": "Basic TOKEN"}, 401, "the header Authorization must be"),
        ({"Host": "evil.example:80"}, 421, "the header Host names another server"),
        ({"Host": "127.0.0.1:1"}, 421, "the header Host names another server"),
        ({"Origin": "http://evil.example"}, 403, "the header Origin names another site"),
        ({"Origin": "null"}, 403, "the header Origin names another site"),
        ({"path": "/v1/hello"}, 404, "nothing is served here"),
        ({"path": "/mcp/"}, 404, "nothing is served here"),
    ],
)
async def test_who_may_not_come_in_is_told_why_in_the_form_of_the_protocol(
    door: Door, changes: dict[str, str | None], status: int, said: str
) -> None:
    changes = dict(changes)
    url = door.url.replace("/mcp", changes.pop("path", None) or "/mcp")
    given = {name: value for name, value in (door.headers() | changes).items() if value is not None}
    given = {name: value.replace("TOKEN", door.token) for name, value in given.items()}
    async with httpx.AsyncClient(timeout=BOUND) as http:
        hello = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": HELLO}
        answer = await http.post(url, json=hello, headers=given)
    assert answer.status_code == status
    body = answer.json()
    assert (body["jsonrpc"], body["id"]) == ("2.0", None)
    assert said in body["error"]["message"]
    assert ("www-authenticate" in answer.headers) == (status == 401)


@pytest.mark.requirement("T18")
async def test_an_own_page_and_the_other_name_of_this_machine_may_come_in(door: Door) -> None:
    port = urlsplit(door.url).port
    async with door.http(Host=f"localhost:{port}", Origin=f"http://localhost:{port}") as http:
        assert (await door.post("initialize", http=http, **HELLO)).status_code == 200


@pytest.mark.requirement("T18")
async def test_a_request_beyond_the_bound_is_refused_and_the_door_stays_open(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "MAX_BODY", 10_000)
    async with door.http() as http:
        answer = await door.post("initialize", http=http, **HELLO, more="x" * 20_000)
        assert answer.status_code == 413
        assert "larger than 10000 bytes" in answer.json()["error"]["message"]
        assert (await door.post("initialize", http=http, **HELLO)).status_code == 200


@pytest.mark.requirement("T18")
async def test_a_request_that_does_not_come_to_its_end_is_given_up(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "BODY_SECONDS", 0.1)
    parts = urlsplit(door.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    lines = [f"{name}: {value}" for name, value in (door.headers() | {"Host": parts.netloc}).items()]
    writer.write("\r\n".join(["POST /mcp HTTP/1.1", *lines, "Content-Length: 10", "", "{"]).encode())
    async with asyncio.timeout(BOUND):
        assert b" 408 " in await reader.readline()
    writer.close()


@pytest.mark.requirement("D10.48")
@pytest.mark.parametrize(
    ("mode", "changes", "said"),
    [
        ("legacy", {"X-Subagents-Workspace": ""}, "name the folder to work on"),
        ("legacy", {"X-Subagents-Workspace": "repo"}, "is no folder of this machine"),
        ("legacy", {"X-Subagents-Workspace": "/nowhere"}, "is no folder of this machine"),
        ("legacy", {"X-Subagents-Workspace": "/%00"}, "is no folder of this machine"),
        ("legacy", {"X-Subagents-Tools": "all"}, "there is no tool set 'all'"),
        ("legacy", {"X-Subagents-Client": "subagent"}, "is no name for a client"),
        ("legacy", {"X-Subagents-Parent": "operator"}, "is no name for a parent"),
        ("legacy", {"X-Subagents-Parent": "subagent:bg-1"}, "names that begin with"),
        (MODERN, {}, "this version of the protocol has no sessions: name a parent"),
    ],
)
async def test_a_request_that_does_not_say_for_whom_it_is_gets_an_error_of_the_protocol(
    door: Door, mode: str, changes: dict[str, str], said: str
) -> None:
    async with door.http() as http:
        await ready(door, http, mode)
        name = "list_background_subagents"
        params = call_of(mode, name)
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        answer = await http.post(door.url, json=body, headers={"Mcp-Name": name, **changes})
        text = next(line for line in answer.text.splitlines() if "{" in line).removeprefix("data: ")
        assert json.loads(text)["error"]["code"] == -32602
        assert said in json.loads(text)["error"]["message"]


@pytest.mark.requirement("D10.48")
async def test_what_the_url_says_counts_where_no_header_does(door: Door) -> None:
    async with httpx.AsyncClient(headers=ACCEPT | {"Authorization": f"bearer {door.token}"}, timeout=BOUND) as http:
        url = f"{door.url}?workspace={door.site.root / 'repo'}&parent=mine&tools=async_delegation"
        transport = streamable_http_client(url, http_client=http)
        async with asyncio.timeout(BOUND), Client(transport, mode="auto", cache=None) as client:
            assert "collect_task" in {each.name for each in (await client.list_tools()).tools}


@pytest.mark.requirement("D10.48")
async def test_more_parents_than_are_kept_push_out_who_asked_longest_ago_and_lose_nothing(
    door: Door, served: list[web.Web], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guests, "MAX_KEPT", 2)
    async with door.client("mine") as client:
        ident = await spawned(client)
        for number in range(3):
            async with door.client(f"another {number}") as other:
                assert await told(other) == []
        assert len(served[0]._guests._kept) == 2
        await door.ended(ident)
        assert await told(client) == [ident]


@pytest.mark.requirement("D10.48")
@pytest.mark.parametrize("mode", ["legacy", MODERN])
async def test_a_daemon_that_ends_answers_who_waits_and_the_next_has_the_same_token(
    site: Site, mode: str, served: list[web.Web]
) -> None:
    async with AsyncExitStack() as stack:
        async with door_of(site) as door:
            before = door.token
            async with door.client("mine") as client:
                ident = await spawned(client, f"[[wait:{site.root / 'go'}]]")
            http = await stack.enter_async_context(door.http("mine"))
            waiting = asyncio.create_task(wait_for(door, http, mode, ident))
            await until(lambda: calls(served) == 1)
        assert "the wait was ended, with the daemon" in (await waiting).text
    async with door_of(site) as door:
        assert door.token == before


@pytest.mark.requirement("T18")
async def test_the_token_is_for_its_user_alone_and_is_told_nowhere(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(0)
    async with door_of(site) as door:
        found = door.token_file.stat()
        assert stat.S_IMODE(found.st_mode) == 0o600
        assert len(door.token) == 43
        assert door.token not in json.dumps(await asyncio.to_thread(site.client.hello))
        token = door.token
    assert token not in caplog.text


@pytest.mark.requirement("T18")
async def test_without_the_setting_there_is_no_port_and_no_token(site: Site) -> None:
    site.config = replace(site.config, daemon=replace(site.config.daemon, http=None))
    async with site.daemon():
        assert "mcp" not in await asyncio.to_thread(site.client.hello)
    assert not list(site.config.state_dir.glob("http-token*"))


@pytest.mark.requirement("T18")
@pytest.mark.parametrize("wrong", ["open to others", "holds no token", "a link"])
async def test_a_token_file_that_cannot_be_trusted_is_not_used_until_it_is_mended(
    site: Site, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from acp_runtime.api import loopback

    monkeypatch.setattr(loopback, "AGAIN_SECONDS", 0.05)
    site.config.state_dir.mkdir(parents=True)
    file = site.config.state_dir / "http-token"
    if wrong == "a link":
        file.symlink_to("/etc/passwd")
    else:
        file.write_text("A" * 43 if wrong == "open to others" else "short")
        file.chmod(0o644 if wrong == "open to others" else 0o600)
    async with site.daemon():
        assert "mcp" not in await asyncio.to_thread(site.client.hello)
        file.unlink()
        assert Path((await told_of(site))["token_file"]) == file


@pytest.mark.requirement("T18")
async def test_a_port_that_somebody_has_is_waited_for_and_the_daemon_serves_on_its_socket_meanwhile(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    from acp_runtime.api import loopback

    monkeypatch.setattr(loopback, "AGAIN_SECONDS", 0.05)
    taken = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = taken.sockets[0].getsockname()[1]
    site.config = replace(site.config, daemon=replace(site.config.daemon, http=port))
    async with site.daemon():
        assert "mcp" not in await asyncio.to_thread(site.client.hello)
        taken.close()
        await taken.wait_closed()
        assert (await told_of(site))["url"] == f"http://127.0.0.1:{port}/mcp"
