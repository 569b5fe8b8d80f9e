"""A daemon in this process with its port of 127.0.0.1, and clients of it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from acp_runtime.client import RemoteRuntime
from acp_runtime.mcp import web
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
