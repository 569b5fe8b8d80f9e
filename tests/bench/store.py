"""The store alone: how long one appended event takes until it is durable and projected, and a parent's turn."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from acp_runtime.clock import SystemClock
from acp_runtime.core.decide import decide
from acp_runtime.core.inputs import Heard, Input, PromptAnswered, PromptLaid, Send, SessionReady, Spawn
from acp_runtime.core.model import Limits, Order, Permissions
from acp_runtime.core.transcript import MessageEntry
from acp_runtime.store.store import Committed, Store
from tests.bench.measure import Figure

SUBAGENT = "bg-bench"
TURNS = 20
MESSAGE = "a line of the length that an agent says at a time, more or less. "


class Ledger:
    """One subagent with a running task, in a store of its own: what is taken goes through the core into the log."""

    def __init__(self, store: Store, clock: SystemClock, committed: Committed) -> None:
        self._store = store
        self._clock = clock
        self._committed = committed

    @classmethod
    @asynccontextmanager
    async def open(cls, path: Path) -> AsyncIterator["Ledger"]:
        """Make the store at `path` and a subagent in it that is ready and has begun its task."""
        clock = SystemClock()
        async with Store.open(path, clock) as store:
            order = Order(agent="bench", workspace="/")
            born = Spawn(SUBAGENT, "bench", "bench", "bench", order, Permissions.ALLOW, Limits(), "bench")
            events, _ = decide(None, born, clock.now())
            self = cls(store, clock, await store.commit(SUBAGENT, None, 0, events))
            await self.take(SessionReady(1, "session", "bench", "1"))
            yield self

    @property
    def events(self) -> int:
        """How many events the log holds."""
        return self._committed.version

    async def take(self, given: Input) -> None:
        """Decide and commit; durable when this returns."""
        state, version = self._committed.state, self._committed.version
        events, _ = decide(state, given, self._clock.now())
        self._committed = await self._store.commit(SUBAGENT, state, version, events)


async def commits(folder: Path, count: int) -> list[Figure]:
    """Commit `count` events of one short message, one at a time."""
    loop = asyncio.get_running_loop()
    samples = []
    async with Ledger.open(folder / "commits.db") as ledger:
        for _ in range(count):
            begin = loop.time()
            await ledger.take(Heard(1, (MessageEntry("agent", MESSAGE),)))
            samples.append((loop.time() - begin) * 1000)
    return [Figure("append and commit of one event", "ms", "local", tuple(samples))]


async def tasks_in_the_log(folder: Path, count: int) -> list[Figure]:
    """Take `count` small tasks through the log, each with its four commits: sent, given, heard, ended."""
    loop = asyncio.get_running_loop()
    samples = []
    async with Ledger.open(folder / "tasks.db") as ledger:
        await ledger.take(PromptAnswered(1, f"{SUBAGENT}.t1", "end_turn", 0))
        for number in range(2, count + 2):
            task = f"{SUBAGENT}.t{number}"
            begin = loop.time()
            await ledger.take(Send(MESSAGE))
            await ledger.take(PromptLaid(1, task, number, number))
            await ledger.take(Heard(1, (MessageEntry("agent", MESSAGE),)))
            await ledger.take(PromptAnswered(1, task, "end_turn", 0))
            samples.append((loop.time() - begin) * 1000)
    return [Figure("the log's part of a small task", "ms", "local", tuple(samples))]


async def rosters(folder: Path, counts: tuple[int, ...]) -> list[Figure]:
    """Begin turns of parents that have this many open subagents, each with a task that has ended."""
    return [await _roster(folder / f"roster-{count}.db", count) for count in counts]


async def _roster(path: Path, count: int) -> Figure:
    loop = asyncio.get_running_loop()
    clock = SystemClock()
    samples = []
    async with Store.open(path, clock) as store:
        for number in range(count):
            given = Spawn(
                f"bg-{number:010x}",
                "bench",
                "bench",
                "bench",
                Order(agent="bench", workspace="/"),
                Permissions.ALLOW,
                Limits(),
                "bench",
            )
            await store.commit(given.id, None, 0, decide(None, given, clock.now())[0])
        for turn in range(TURNS):
            begin = loop.time()
            await store.begin_turn("bench", "python", f"t{turn}")
            samples.append((loop.time() - begin) * 1000)
    return Figure(f"a parent's turn with {count} subagents", "ms", "local", tuple(samples))
