"""Who is stopped or cancelled while out of reach is heard in time, or keeps what it wrote; none is removed unheard."""

import asyncio

import pytest

from acp_runtime.core.events import TranscriptAdded
from acp_runtime.core.inputs import CancelTask, ChannelClosed, PromptAnswered, PromptLaid, SessionReady
from acp_runtime.core.model import Limits, TaskState
from acp_runtime.core.status import Status
from acp_runtime.core.transcript import MessageEntry
from acp_runtime.manager.delivery import MEASURE_SECONDS
from acp_runtime.manager.launcher import Drained, Fate
from acp_runtime.manager.recovery import LAST_WORDS_SECONDS
from acp_runtime.store.store import Store
from tests.integration.manager.conftest import BOUND, BareAgent, Ground, until
from tests.integration.manager.test_take_up import ID, READY, STOP, KeptInput, judged, left_behind

OPENED = SessionReady(1, "s", "agent", "1", upto=100)  # what it writes is kept
UPDATE = '{"sessionUpdate":"agent_message_chunk","content":{"type":"text","text":"the whole result"}}'
ANSWER = (
    f'{{"jsonrpc":"2.0","method":"session/update","params":{{"sessionId":"s","update":{UPDATE}}}}}\n'
    '{"jsonrpc":"2.0","id":7,"result":{"stopReason":"end_turn"}}\n'
).encode()
LATE = ANSWER.splitlines(keepends=True)[0]
REMOVED = "end"

pytestmark = pytest.mark.requirement("D08.5")


class Finished(BareAgent):
    """An agent that had answered its prompt and is never in reach; its journal and its files are read at their time."""

    said = Drained()
    words = ANSWER

    def __init__(self, ground: Ground, *, read: bool, counted: bool) -> None:
        super().__init__(ground, KeptInput(accepted=500))
        self.reading, self.read, self.counted = asyncio.Event(), asyncio.Event(), asyncio.Event()
        if read:
            self.read.set()
        if counted:
            self.counted.set()

    async def recover(self) -> bool:
        return False

    async def fate(self) -> Fate | None:
        return None

    async def kill(self) -> bool:
        return True

    async def drain(self) -> Drained:
        self.reading.set()
        await self.read.wait()
        assert self.receiver is not None
        self.receiver.on_stdout(self.words)
        self.receiver.on_closed("it has ended")
        return self.said

    ran_out = (0, 0)

    async def shortage(self) -> str:
        return ""

    async def changed_files(self) -> int | None:
        await self.counted.wait()
        return 1


async def stopped(ground: Ground, *, read: bool, counted: bool, stop: float) -> tuple[str, Finished]:
    """Leave a subagent that is being stopped and was out of reach when that began."""
    laid, limits = PromptLaid(1, f"{ID}.t1", 7, 319), Limits(stop=stop, restarts=0)
    subagent = await left_behind(ground, READY, laid, ChannelClosed(1, "eof"), STOP, limits=limits)
    agent = ground.adopted = Finished(ground, read=read, counted=counted)
    return subagent, agent


async def test_an_answer_is_told_though_the_files_cannot_be_counted_then(ground: Ground) -> None:
    subagent, _ = await stopped(ground, read=True, counted=False, stop=30.0)
    async with ground.runtime() as runtime:
        view = await until(runtime, subagent, lambda each: each.newest.state.over)
        assert (view.newest.state, view.newest.result) == (TaskState.COMPLETED, "the whole result")
    assert REMOVED in ground.told
    await judged(ground, subagent)


async def test_that_it_was_never_given_its_task_is_told_of_who_is_given_up(ground: Ground) -> None:
    laid, limits = PromptLaid(1, f"{ID}.t1", 7, 319), Limits(lost_grace=10.0, restarts=0)
    subagent = await left_behind(ground, READY, laid, limits=limits)
    agent = ground.adopted = Finished(ground, read=True, counted=True)
    agent.words, agent.said = b"", Drained(accepted=319)
    async with ground.runtime() as runtime:
        await until(runtime, subagent, lambda each: each.status is Status.LOST)
        ground.clock.advance(10_000)
        view = await until(runtime, subagent, lambda each: each.newest.state.over)
        assert (view.newest.state, view.reason) == (TaskState.CANCELLED, "channel_lost")
        assert "never given the task" in view.newest.cause
        assert "unknown" not in view.newest.cause
    await judged(ground, subagent)


async def test_what_cannot_be_read_in_the_time_of_an_end_is_kept_and_told_as_unknown(ground: Ground) -> None:
    """The clock of the core stands still: what ends the reading is the share of `limits.stop` that it has."""
    subagent, _ = await stopped(ground, read=False, counted=True, stop=0.3)
    async with ground.runtime() as runtime:
        async with asyncio.timeout(LAST_WORDS_SECONDS / 2):
            view = await until(runtime, subagent, lambda each: each.newest.state.over)
        assert (view.newest.state, view.confirmed) == (TaskState.INTERRUPTED, False)
        assert "the outcome is unknown" in view.newest.cause
    assert REMOVED not in ground.told
    await judged(ground, subagent)


async def test_what_is_read_after_it_was_given_up_is_kept(ground: Ground) -> None:
    subagent, agent = await stopped(ground, read=False, counted=True, stop=30.0)
    async with ground.runtime() as runtime:
        async with asyncio.timeout(BOUND):
            await agent.reading.wait()
        ground.clock.advance(30_000)
        view = await until(runtime, subagent, lambda each: each.newest.state.over)
        agent.read.set()
        assert (view.newest.state, view.confirmed) == (TaskState.INTERRUPTED, False)
    assert REMOVED not in ground.told
    await judged(ground, subagent)


async def heard(ground: Ground, subagent: str) -> str:
    """Return all that the log has of what the agent said."""
    async with Store.open(ground.path, ground.clock) as store:
        events = [row.event for row in await store.events(subagent, 0, None)]
    entries = [each.entry for each in events if isinstance(each, TranscriptAdded)]
    return "".join(each.text for each in entries if isinstance(each, MessageEntry))


async def test_what_an_idle_agent_said_last_is_heard_before_it_goes(ground: Ground) -> None:
    laid, answered = PromptLaid(1, f"{ID}.t1", 7, 319), PromptAnswered(1, f"{ID}.t1", "end_turn", 0)
    subagent = await left_behind(ground, OPENED, laid, answered, ChannelClosed(1, "eof"), STOP)
    agent = ground.adopted = Finished(ground, read=True, counted=True)
    agent.words = LATE
    async with ground.runtime() as runtime:
        await until(runtime, subagent, lambda each: each.status is Status.STOPPED)
    assert REMOVED in ground.told
    assert await heard(ground, subagent) == "the whole result"
    await judged(ground, subagent)


async def test_what_was_said_until_a_manager_died_in_the_middle_of_a_stop_is_heard(ground: Ground) -> None:
    """The agent was in reach when its stop began, so its task is cancelled; what it answered goes with that."""
    subagent = await left_behind(ground, OPENED, PromptLaid(1, f"{ID}.t1", 7, 319), STOP)
    ground.adopted = Finished(ground, read=True, counted=True)
    async with ground.runtime() as runtime:
        view = await until(runtime, subagent, lambda each: each.newest.state.over)
        assert (view.newest.state, view.newest.result) == (TaskState.CANCELLED, "the whole result")
    assert REMOVED in ground.told
    await judged(ground, subagent)


class Answering(BareAgent):
    """An agent in reach again, whose answer to its prompt is the first that is heard of it."""

    async def recover(self) -> bool:
        assert self.receiver is not None
        self.receiver.on_stdout(ANSWER)
        return True


async def test_an_adopted_agent_that_has_answered_is_not_taken_for_one_that_ignores_its_cancel(ground: Ground) -> None:
    """The word of the cancel comes before the prompt is claimed: it counts when the files are counted."""
    laid, cancel = PromptLaid(1, f"{ID}.t1", 7, 319), CancelTask(f"{ID}.t1", "parent", "enough")
    subagent = await left_behind(ground, READY, laid, cancel, limits=Limits(cancel_grace=0.5, restarts=0))
    ground.adopted = Answering(ground, KeptInput(accepted=500))
    ground.counts = asyncio.Event()
    async with ground.runtime() as runtime:
        async with asyncio.timeout(MEASURE_SECONDS / 3):
            view = await until(runtime, subagent, lambda each: each.newest.state.over)
        assert (view.newest.state, view.newest.result) == (TaskState.CANCELLED, "the whole result")
        assert (view.status, view.newest.files_changed) == (Status.IDLE, None)
        assert REMOVED not in ground.told
    await judged(ground, subagent)
