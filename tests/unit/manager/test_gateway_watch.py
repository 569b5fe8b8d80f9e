"""When a gateway counts as one that hangs: for a manager that ran all the time, and for one that was stopped itself."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from acp_runtime.clock import ManualClock
from acp_runtime.gateway.client import GatewayClient
from acp_runtime.gateway.lines import line_of, message_of
from acp_runtime.manager.gateway_watch import TICK, GatewayWatch, Standing

PATIENCE = 10.0
BOUND = 30.0  # seconds; a hang, not a speed
TURNS = 20  # of the event loop, in which what can go on goes on
SUSPENDED = 3_600_000


@dataclass
class Gateway:
    """Somebody who says hello, and to whom questions come."""

    questions: list[int] = field(default_factory=list)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    writer: asyncio.StreamWriter | None = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        async for line in reader:
            message = message_of(line)
            if message["verb"] == "hello":
                self.answer(message["id"])
            else:
                self.questions.append(message["id"])
                self.asked.set()

    def answer(self, number: int) -> None:
        assert self.writer is not None
        self.writer.write(line_of({"id": number, "done": {}}))


@dataclass
class Look:
    """One look at it, by a clock that stands still."""

    gateway: Gateway
    client: GatewayClient
    clock: ManualClock = field(default_factory=ManualClock)

    async def begin(self) -> None:
        self.looking = asyncio.ensure_future(GatewayWatch(self.clock, every=5, patience=PATIENCE).look(self.client))
        await self.turns()
        self.clock.advance(5_000)
        await self.asked()

    async def asked(self) -> None:
        """Return once the next question has come."""
        async with asyncio.timeout(BOUND):
            await self.gateway.asked.wait()
        self.gateway.asked.clear()
        await self.turns()

    async def turns(self) -> None:
        for _ in range(TURNS):
            await asyncio.sleep(0)

    async def awake(self, seconds: float) -> None:
        """Let time pass as it does for a process that runs."""
        for _ in range(round(1000 * seconds / TICK)):
            self.clock.advance(TICK)
            await self.turns()


@pytest.fixture
async def look(tmp_path: Path) -> AsyncIterator[Look]:
    gateway = Gateway()
    async with await asyncio.start_unix_server(gateway.serve, tmp_path / "socket") as server:
        client = await GatewayClient.connect(tmp_path / "socket", "store")
        made = Look(gateway, client)
        await made.begin()
        yield made
        made.looking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await made.looking
        await client.close()
        server.close()
        if gateway.writer is not None:
            gateway.writer.close()


@pytest.mark.requirement("D09.2")
async def test_one_that_leaves_a_question_unanswered_hangs(look: Look):
    await look.awake(PATIENCE - 1)
    assert not look.looking.done()
    await look.awake(1)
    assert await look.looking is Standing.SILENT
    assert len(look.gateway.questions) == 1


async def test_one_that_answers_late_does_not(look: Look):
    await look.awake(PATIENCE - 1)
    look.gateway.answer(look.gateway.questions[0])
    assert await look.looking is Standing.GOOD


@pytest.mark.requirement("D09.2")
async def test_a_manager_that_was_stopped_itself_hears_the_answer_that_came_meanwhile(look: Look):
    await look.awake(PATIENCE - TICK / 1000)
    look.clock.advance(SUSPENDED)
    await look.asked()
    assert not look.looking.done()
    look.gateway.answer(look.gateway.questions[1])
    assert await look.looking is Standing.GOOD


async def test_a_stop_of_the_manager_counts_as_one_moment(look: Look):
    look.clock.advance(SUSPENDED)
    await look.turns()
    assert not look.looking.done()
    await look.awake(PATIENCE - 2)
    look.gateway.answer(look.gateway.questions[0])
    assert await look.looking is Standing.GOOD
    assert len(look.gateway.questions) == 1


async def test_a_manager_that_was_stopped_asks_once_more_and_no_longer_than_that(look: Look):
    look.clock.advance(SUSPENDED)
    await look.turns()
    await look.awake(PATIENCE)
    await look.asked()
    await look.awake(PATIENCE)
    assert await look.looking is Standing.SILENT
    assert len(look.gateway.questions) == 2


async def test_one_that_went_away_is_gone(look: Look):
    assert look.gateway.writer is not None
    look.gateway.writer.close()
    assert await look.looking is Standing.GONE
