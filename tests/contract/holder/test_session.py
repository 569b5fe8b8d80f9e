"""A session with an agent that a holder keeps: neither a full journal nor much that is of no use ends it."""

import asyncio
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from acp_runtime.core.inputs import Heard
from acp_runtime.core.model import Opening
from acp_runtime.core.transcript import MessageEntry, OtherEntry
from acp_runtime.manager.recovery import inheritance, output_from
from acp_runtime.session.observer import Observer
from acp_runtime.session.session import AcpSession
from sandbox.holder.channel import HeldChannel
from sandbox.holder.errors import InputRefused
from tests.contract.holder.held import BOUND, Held, fill
from tests.histories import after, ready, spawn

AGENT = (Path(__file__).parents[2] / "agents" / "talking_agent.py").read_text(encoding="utf-8")
MIB = 1 << 20
pytestmark = pytest.mark.parametrize("held", ["shipped-socket"], indirect=True)


class Log:
    """What is stored of a session, by the core's own rules; `until` waits for what shall stand there."""

    def __init__(self) -> None:
        self.state = ready(spawn())
        self.entries = []
        self.closed: str | None = None
        self._news = asyncio.Event()

    @property
    def said(self) -> str:
        return "".join(each.text for each in self.entries if isinstance(each, MessageEntry))

    def observer(self) -> Observer:
        return Observer(heard=self._heard, asked=self._nothing, lost=self._nothing, closed=self._closed)

    async def until(self, there) -> None:
        async with asyncio.timeout(BOUND):
            while not there():
                self._news.clear()
                await self._news.wait()

    async def _heard(self, entries, place) -> int:
        self.state = after(self.state, Heard(1, entries, *place))
        self.entries += entries
        self._news.set()
        return output_from(self.state)

    def _nothing(self, *_) -> None:
        pass

    def _closed(self, reason: str) -> None:
        self.closed = reason
        self._news.set()


@asynccontextmanager
async def session_of(held: Held, log: Log, kind: type[HeldChannel] = HeldChannel, session: AcpSession | None = None):
    """A session as a manager has it with the agent that was started."""
    session = session or AcpSession(1, log.observer())
    channel = kind(session, session, token=held.token, epoch=1)
    held.channels.append(channel)
    await channel.attach(held.opener)
    session.attach(channel)
    try:
        yield session, channel
    finally:
        await session.shut()


async def start(held: Held, *pieces: str) -> None:
    await held.start("/usr/bin/python3", "-c", AGENT, *pieces, stdout_bound=MIB)


async def opened(session: AcpSession, resume: str | None = None) -> Opening:
    async with asyncio.timeout(BOUND):
        made = await session.open(cwd="/", auth_method=None, version="t", step=lambda _: None, resume=resume)
    return made.opening


async def prompted(session: AcpSession, text: str = "go") -> str:
    async def laid(request: int, offset: int) -> None:
        pass

    async with asyncio.timeout(BOUND):
        return await session.prompt(text, None, laid)


USELESS = {
    "lines that are no messages": "noise(3 * MIB)",
    "updates of a session that is not ours": "[say('x' * 1000, 'other') for _ in range(3000)]",
}


@pytest.mark.parametrize("piece", USELESS.values(), ids=USELESS)
async def test_an_agent_may_write_any_amount_that_becomes_no_entry_within_a_turn(held: Held, piece: str):
    await start(held, f"turn={piece}")
    log = Log()
    async with session_of(held, log) as (session, _):
        await opened(session)
        assert await prompted(session) == "end_turn"
        session.forget_answer()
    assert log.said == "done"
    kinds = {each.kind for each in log.entries if isinstance(each, OtherEntry)}
    assert set() < kinds <= {"passed_over", "stray_messages"}


async def test_a_later_manager_goes_on_behind_what_became_no_entry(held: Held):
    await start(held, "turn=noise(3 * MIB)")
    log = Log()
    async with session_of(held, log) as (session, _):
        await opened(session)
        await prompted(session)
    later = AcpSession(2, log.observer())
    later.take_over(inheritance(log.state))
    channel = HeldChannel(later, later, token=held.token, epoch=2, stdout_from=output_from(log.state))
    held.channels.append(channel)
    told = await channel.attach(held.opener)
    assert told.stdout_first <= log.state.heard
    assert later.skipped_lines == 0
    await later.shut()


async def test_an_agent_may_write_any_amount_behind_its_answer(held: Held):
    await start(held, "after=noise(3 * MIB); say(' and late')")
    log = Log()
    async with session_of(held, log) as (session, channel):
        await opened(session)
        await prompted(session)
        assert output_from(log.state) <= channel.received
        session.forget_answer()
        await log.until(lambda: log.said == "done and late")


class Refused(HeldChannel):
    """Tells when a line was refused."""

    refused: asyncio.Event

    async def send(self, data: bytes) -> None:
        try:
            await super().send(data)
        except InputRefused:
            self.refused.set()
            raise


async def test_a_prompt_that_finds_no_room_is_given_when_there_is_room_again(held: Held, small_disk: Path):
    await start(held)
    log, ballast, Refused.refused = Log(), small_disk / "ballast", asyncio.Event()
    async with session_of(held, log, Refused) as (session, _):
        await opened(session)
        fill(ballast)
        prompt = asyncio.create_task(prompted(session, "go" * 10_000))
        async with asyncio.timeout(BOUND):
            await Refused.refused.wait()
        ballast.unlink()
        assert await prompt == "end_turn"
        assert log.closed is None
    assert log.said == "done"


async def test_an_agent_may_replay_any_amount_when_its_session_is_loaded(held: Held):
    await start(held, "load=[say('x' * 1000) for _ in range(3000)]")
    log = Log()
    async with session_of(held, log) as (session, _):
        assert await opened(session, resume="s") is Opening.LOADED
        await prompted(session)
    assert log.entries == [MessageEntry("agent", "done")]


class Late(AcpSession):
    """Hears a second word while the first is being stored."""

    def __init__(self, log: Log) -> None:
        super().__init__(1, Observer(self._stored, *[lambda *_: None] * 3))
        self._log, self._second = log, asyncio.Event()

    def on_stdout(self, data: bytes) -> None:
        super().on_stdout(data)
        if b"second" in data:
            self._second.set()

    async def _stored(self, entries, place) -> int:
        if not self._log.entries:
            self.cancel()
            async with asyncio.timeout(BOUND):
                await self._second.wait()
        return await self._log.observer().heard(entries, place)


async def test_the_place_of_a_session_does_not_lie_behind_what_is_not_stored_yet(held: Held):
    await start(held, "new=say('first')", "cancel=say('second')")
    log = Log()
    session = Late(log)
    async with session_of(held, log, session=session):
        await opened(session)
        assert (log.said, session.place.upto) == ("first", log.state.heard)
        await log.until(lambda: log.said == "firstsecond")
