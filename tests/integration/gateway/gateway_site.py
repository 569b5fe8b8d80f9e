"""Where a gateway of a test has its files, and the managers that use it: none of it outlives the test."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from acp_runtime.detached import wait_for_end
from acp_runtime.gateway.account import Account, ModelWay
from acp_runtime.gateway.client import GatewayClient
from acp_runtime.gateway.place import GatewayPlace
from acp_runtime.keys import Secret
from acp_runtime.manager.gateway_link import GatewayLink
from acp_runtime.manager.gateway_watch import GatewayWatch
from acp_runtime.models import Route
from tests.integration.http_ends import BOUND, KEY

STORE = "aaaabbbb"
TREE = Path(__file__).parents[3]
MANAGER = Path(__file__).with_name("manager.py")


@dataclass
class GatewaySite:
    """`store` is the path of a store that need not be there."""

    root: Path
    links: list[GatewayLink] = field(default_factory=list)

    @property
    def store(self) -> Path:
        return self.root / "state" / "store.db"

    @property
    def place(self) -> GatewayPlace:
        return GatewayPlace.of_store(STORE, self.store, self.root / "run")

    @property
    def socket(self) -> Path:
        return self.root / "agent" / "model.sock"

    def account(self, url: str, *, subagent: str = "bg-1", attempt: int = 1, key: str = KEY) -> Account:
        route = Route.parse(url, key=Secret(key, name="MODEL_KEY"))
        socket = self.socket if subagent == "bg-1" else self.socket.with_name(f"{subagent}.sock")
        return Account(subagent, attempt, os.getgid(), ModelWay(8790, socket, route))

    def link(self, *, epoch: int = 1, ttl: float = 60, watch: GatewayWatch | None = None) -> GatewayLink:
        """A manager's hold on the gateway; it is let go of at the end."""
        environ = {**os.environ, "PYTHONPATH": str(TREE), "CANARY": KEY}
        self.links.append(GatewayLink(self.place, epoch, ttl, environ, watch))
        return self.links[-1]

    @property
    def pid(self) -> int:
        holder = self.place.holder()
        assert holder is not None, "no gateway runs"
        return holder.pid

    async def told(self) -> dict[str, Any]:
        """What the gateway says of itself to somebody who only looks."""
        client = await GatewayClient.connect(self.place.socket, STORE)
        try:
            return {**client.hello, "list": await client.ask("list")}
        finally:
            await client.close()

    def records(self) -> list[dict[str, Any]]:
        lines = [line for path in sorted(self.place.folder.glob("*.jsonl")) for line in path.read_text().splitlines()]
        return [json.loads(line) for line in lines]

    async def ended(self, pid: int) -> None:
        assert await asyncio.to_thread(wait_for_end, pid, BOUND), f"the gateway goes on: {self.log()}"

    def kill(self, number: signal.Signals = signal.SIGKILL) -> int:
        pid = self.pid
        os.kill(pid, number)
        return pid

    def log(self) -> str:
        path = self.place.folder / "log"
        return path.read_text() if path.exists() else "(no log)"

    @asynccontextmanager
    async def manager(self, url: str) -> AsyncIterator[asyncio.subprocess.Process]:
        """A manager that is a process of its own, once it has had the account opened."""
        environ = {**os.environ, "PYTHONPATH": str(TREE)}
        argv = (sys.executable, str(MANAGER), str(self.root), url)
        process = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE, env=environ)
        assert process.stdout is not None
        try:
            assert await process.stdout.readline() == b"open\n"
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


@asynccontextmanager
async def gateway_site(root: Path) -> AsyncIterator[GatewaySite]:
    site = GatewaySite(root)
    (root / "run").mkdir(mode=0o700)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(_end, site)
        yield site


async def _end(site: GatewaySite) -> None:
    for each in site.links:
        await each.close()
    if site.place.held:
        await site.ended(site.kill())
