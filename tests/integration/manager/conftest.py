"""Managers over a launcher that only starts processes: no workspace goes in and none comes out."""

import asyncio
import logging
import os
import sqlite3
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from acp_runtime.clock import ManualClock
from acp_runtime.config import Config, ConfigError, load
from acp_runtime.core.budget import Used
from acp_runtime.manager.grounds import Grounds
from acp_runtime.manager.launcher import CheckResult, Drained, Ended, Fate, Judgement, LaunchRequest, Log
from acp_runtime.manager.local_channel import LocalChannel
from acp_runtime.presets import Preset
from acp_runtime.service import Runtime, SpawnRequest
from acp_runtime.session.catalogue import AgentKind, Catalogue
from acp_runtime.session.channel import Receiver
from acp_runtime.views import SubagentView

SCRIPT = Path(__file__).parents[2] / "agents" / "scripted_agent.py"
PARENT = "parent"
BOUND = 30.0


@dataclass
class BareAgent:
    """An agent process in the ground's folder."""

    ground: "Ground"
    channel: Any
    container: str = ""
    receiver: Receiver | None = None
    permitted: Callable[[], None] = lambda: None

    @property
    def cwd(self) -> str:
        return str(self.ground.folder)

    async def pid(self) -> int | None:
        return self.channel.pid

    async def fate(self) -> Fate | None:
        code = self.channel.exit_code
        return None if code is None else Fate(code, f"exit {code}")

    ran_out = (0, 0)

    async def shortage(self) -> str:
        return ""

    async def permit(self) -> None:
        self.permitted()
        if self.ground.permits is not None:
            self.ground.permitting.set()
            await self.ground.permits.wait()

    async def changed_files(self) -> int | None:
        if self.ground.count_fails is not None:
            raise self.ground.count_fails
        if self.ground.counts is not None:
            self.ground.counting.set()
            try:
                await self.ground.counts.wait()
            except asyncio.CancelledError:
                if self.ground.gives_up is not None:
                    await self.ground.gives_up.wait()
                raise
        return 1

    async def check(self, command: str, seconds: float) -> CheckResult:
        raise NotImplementedError

    async def end(self) -> Ended:
        await self.channel.close()
        self.ground.told.append("end")
        if self.ground.ends is not None:
            self.ground.ending.set()
            await self.ground.ends.wait()
        if self.ground.end_fails is not None:
            raise self.ground.end_fails
        return Ended(confirmed=True, exported=True)

    async def leave(self) -> bool:
        await self.channel.close()
        self.ground.told.append("leave")
        failure, self.ground.leave_fails = self.ground.leave_fails, None
        if failure is not None:
            raise failure
        return True

    refused = None
    servers = ()

    async def recover(self) -> bool:
        return self.ground.adopted is self

    async def kill(self) -> bool:
        return await self.leave()

    async def drain(self) -> Drained:
        """Nothing is kept."""
        return Drained()

    async def release(self) -> None:
        await self.channel.close()
        self.ground.told.append("release")


@dataclass
class Ground:
    """Where a test's managers stand; `told` and `asked`: what their launchers were to do."""

    folder: Path
    clock: Any = field(default_factory=lambda: ManualClock(now=1_000))
    told: list[str] = field(default_factory=list)
    asked: list[LaunchRequest] = field(default_factory=list)
    used: Used = field(default_factory=Used)
    kinds: dict[str, AgentKind] = field(default_factory=dict)
    swept: bool = True
    count_fails: Exception | None = None
    end_fails: Exception | None = None
    launch_fails: Exception | None = None
    leave_fails: Exception | None = None
    adopted: BareAgent | None = None
    starts: asyncio.Event | None = None
    counts: asyncio.Event | None = None
    gives_up: asyncio.Event | None = None
    permits: asyncio.Event | None = None
    ends: asyncio.Event | None = None
    ending: asyncio.Event = field(default_factory=asyncio.Event)
    permitting: asyncio.Event = field(default_factory=asyncio.Event)
    counting: asyncio.Event = field(default_factory=asyncio.Event)
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    way_of: Callable[[LaunchRequest], Callable[[], None]] = lambda _: lambda: None
    presets: tuple[Preset, ...] = ()
    mistake: str = ""
    variables: dict[str, str] = field(default_factory=dict)
    changes: dict[str, Any] = field(default_factory=dict)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def path(self) -> Path:
        return self.folder / "store" / "store.db"

    # ---- launcher

    name, measures = "local", True

    @property
    def environ(self) -> dict[str, str]:
        return {"HOME": str(self.folder), **self.variables}

    def own(self, store: str, epoch: int, path: Path) -> None:
        """Nothing is labelled."""

    async def launch(self, request: LaunchRequest, receiver: Receiver) -> BareAgent:
        self.told.append("launch")
        self.asked.append(request)
        await request.settled()
        self.used = next((each.used for each in request.allowances()), Used())
        self.begun.set()
        if self.launch_fails is not None:
            raise self.launch_fails
        if self.starts is not None:
            try:
                await self.starts.wait()
            except asyncio.CancelledError:
                self.cancelled.set()
                if self.gives_up is not None:
                    await self.gives_up.wait()
                raise
        env = {"PATH": os.environ["PATH"]}
        channel = await LocalChannel.open(request.kind.argv, cwd=self.folder, env=env, receiver=receiver)
        return BareAgent(self, channel, permitted=self.way_of(request))

    async def adopt(self, _request: LaunchRequest, receiver: Receiver, _output_from: int) -> BareAgent | None:
        if self.adopted is not None:
            self.adopted.receiver = receiver
        return self.adopted

    async def reap(self, _request: LaunchRequest) -> bool:
        self.told.append("reap")
        return self.swept

    async def sweep(self, _request: LaunchRequest) -> Ended:
        self.told.append("sweep")
        if self.end_fails is not None:
            raise self.end_fails
        return Ended(confirmed=self.swept, exported=self.swept)

    async def discard(self, _request: LaunchRequest) -> bool:
        self.told.append("discard")
        return self.swept

    async def grounds(self) -> Grounds:
        return Grounds()

    async def reap_all(self, _log: Log, **_how: object) -> list[Judgement]:
        return []

    async def close(self) -> None:
        self.told.append("close")

    # ---- runtime

    @property
    def config(self) -> Config:
        """As the test has it by now; what is read again is how it has it by then."""
        config = load(None, {"HOME": str(self.folder), "XDG_RUNTIME_DIR": ""})
        config = replace(config, catalogue=Catalogue(self.kinds, "test"), limits=replace(config.limits, restarts=0))
        presets = {**config.presets, **{preset.name: preset for preset in self.presets}}
        ceiling = self.presets[-1].name if self.presets else config.ceiling
        return replace(config, presets=presets, ceiling=ceiling, again=self.read_again, **self.changes)

    def read_again(self) -> Config:
        if self.mistake:
            raise ConfigError(self.mistake)
        return self.config

    @asynccontextmanager
    async def runtime(self) -> AsyncIterator[Runtime]:
        async with Runtime.open(self.path, launcher=self, config=self.config, clock=self.clock) as runtime:
            yield runtime

    def request(self, task: str, **changes: object) -> SpawnRequest:
        return replace(SpawnRequest(agent="scripted", workspace=self.folder, task=task), **changes)  # type: ignore[arg-type]


async def until(
    runtime: Runtime, subagent: str, met: Callable[[SubagentView], bool], parent: str = PARENT
) -> SubagentView:
    async with asyncio.timeout(BOUND):
        while True:
            tick = runtime.tick
            view = await runtime.status(parent, subagent)
            if met(view):
                return view
            await runtime.changed(tick)


@contextmanager
def write_lock(path: Path) -> Iterator[None]:
    """Keep every writer of the store waiting inside of the block."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")
        connection.close()


class Heard(logging.Handler):
    """Sets `event` when a record with these words is logged on the event loop."""

    def __init__(self, words: str) -> None:
        super().__init__()
        self.words = words
        self.event = asyncio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        if self.words in record.getMessage():
            self.event.set()

    async def wait(self) -> None:
        async with asyncio.timeout(BOUND):
            await self.event.wait()


@contextmanager
def log_says(words: str) -> Iterator[Heard]:
    handler = Heard(words)
    logger = logging.getLogger("acp_runtime")
    logger.addHandler(handler)
    try:
        yield handler
    finally:
        logger.removeHandler(handler)


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return Ground(tmp_path, kinds={"scripted": AgentKind("scripted", (sys.executable, str(SCRIPT)))})
