"""Daemons in this process, over agents that are local processes."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

import pytest

from acp_runtime.api.daemon import STORE, Daemon, Ending, Terms
from acp_runtime.api.unix_client import UnixClient
from acp_runtime.api.unix_socket import NAME
from acp_runtime.client import RemoteRuntime
from acp_runtime.config import Config, load
from acp_runtime.manager.local_launcher import LocalLauncher
from acp_runtime.service import Runtime, SpawnRequest
from acp_runtime.session.catalogue import AgentKind, Catalogue
from acp_runtime.sync import SyncRuntime
from tests.contract.conftest import assert_nothing_left, make_repo

SCRIPT = Path(__file__).parents[2] / "agents" / "scripted_agent.py"
BOUND = 60.0
PARENT = "parent"


class Left(Exception):  # noqa: N818
    """The daemon left its subagents: its process would have ended here."""


def leave() -> NoReturn:
    raise Left


class Threaded:
    """The synchronous facade, called from threads, so that the same tests hold for it."""

    def __init__(self, runtime: SyncRuntime) -> None:
        self._runtime = runtime

    def __getattr__(self, name: str) -> Any:
        async def call(*values: Any, **named: Any) -> Any:
            return await asyncio.to_thread(getattr(self._runtime, name), *values, **named)

        return call

    @asynccontextmanager
    async def turn(self, *values: Any) -> AsyncIterator[Any]:
        async with in_thread(self._runtime.turn(*values)) as turn:
            yield turn

    async def wakeups(self, parent: str) -> AsyncIterator[Any]:
        told = self._runtime.wakeups(parent)
        try:
            while True:
                yield await asyncio.to_thread(next, told)
        finally:
            await asyncio.to_thread(told.close)


@dataclass
class Site:
    """Where a test's daemons stand: a state and a runtime folder, and a repository as workspace."""

    root: Path
    config: Config

    @property
    def socket(self) -> Path:
        return self.config.runtime_dir / NAME

    @property
    def client(self) -> UnixClient:
        return UnixClient(self.socket)

    def launcher(self) -> LocalLauncher:
        return LocalLauncher(self.root / "agents", os.environ)

    def request(self, task: str, **changes: Any) -> SpawnRequest:
        return replace(SpawnRequest(agent="scripted", workspace=self.root / "repo", task=task), **changes)

    @asynccontextmanager
    async def daemon(self, idle_exit: float | None = None, **terms: Any) -> AsyncIterator[Daemon]:
        """A daemon that answers; it is stopped at the end of the block."""
        daemon = Daemon(self.config, self.launcher(), Terms(idle_exit, **terms))
        ready = asyncio.Event()
        running = asyncio.create_task(daemon.run(ready.set, leave))
        up = asyncio.create_task(ready.wait())
        async with asyncio.timeout(BOUND):
            await asyncio.wait((running, up), return_when=asyncio.FIRST_COMPLETED)
        up.cancel()
        if running.done():
            await running
        try:
            yield daemon
        finally:
            daemon.end(Ending.STOP)
            async with asyncio.timeout(BOUND):
                await asyncio.wait((running,))
        if not isinstance(running.exception(), Left):
            running.result()

    # ---- the four ways to the facade

    @asynccontextmanager
    async def in_process(self) -> AsyncIterator[Any]:
        async with Runtime.open(self.config.state_dir / STORE, launcher=self.launcher(), config=self.config) as runtime:
            yield runtime

    @asynccontextmanager
    async def over_the_daemon(self) -> AsyncIterator[Any]:
        async with self.daemon(), RemoteRuntime.connect(self.socket) as runtime:
            yield runtime

    @asynccontextmanager
    async def sync_in_process(self) -> AsyncIterator[Any]:
        path = self.config.state_dir / STORE
        async with in_thread(SyncRuntime.open(path, launcher=self.launcher(), config=self.config)) as runtime:
            yield Threaded(runtime)

    @asynccontextmanager
    async def sync_over_the_daemon(self) -> AsyncIterator[Any]:
        async with self.daemon(), in_thread(SyncRuntime.connect(self.socket)) as runtime:
            yield Threaded(runtime)


@asynccontextmanager
async def in_thread(context: Any) -> AsyncIterator[Any]:
    """Enter and leave a synchronous context without keeping this loop waiting: it serves what the context asks."""
    entered = await asyncio.to_thread(context.__enter__)
    try:
        yield entered
    except BaseException as error:
        await asyncio.to_thread(context.__exit__, type(error), error, error.__traceback__)
        raise
    await asyncio.to_thread(context.__exit__, None, None, None)


WAYS = ("in_process", "over_the_daemon", "sync_in_process", "sync_over_the_daemon")


def config_at(root: Path) -> Config:
    config = load(None, {"HOME": str(root / "home"), "XDG_RUNTIME_DIR": ""})
    kinds = {"scripted": AgentKind("scripted", (sys.executable, str(SCRIPT)))}
    return replace(config, runtime_dir=root / "run", catalogue=Catalogue(kinds, "test"))


@contextmanager
def site_at(root: Path) -> Iterator[Site]:
    make_repo(root / "repo")
    yield Site(root, config_at(root))
    assert_nothing_left(root, on_the_engine=False)


@pytest.fixture
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site_at(tmp_path_factory.mktemp("d", numbered=True)) as site:
        yield site
