"""A new manager on the store of one that is gone: it tells what became of everything, and leaves nothing open."""

import asyncio
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from acp_runtime.clock import ManualClock, SystemClock
from acp_runtime.core.decide import decide
from acp_runtime.core.inputs import (
    CancelTask,
    ChannelClosed,
    Input,
    PromptLaid,
    Send,
    SessionReady,
    StopSubagent,
)
from acp_runtime.core.model import Limits, Order, Reason, TaskState
from acp_runtime.core.status import Status
from acp_runtime.core.timers import timers
from acp_runtime.manager.bookkeeper import Bookkeeper
from acp_runtime.manager.holder_key import HolderKey
from acp_runtime.manager.pausing import Pause
from acp_runtime.manager.policy import Policy
from acp_runtime.manager.supervisor import Supervisor
from acp_runtime.session.catalogue import Catalogue
from acp_runtime.store.store import Store
from tests.histories import fold, spawn
from tests.integration.manager.conftest import BOUND, PARENT, BareAgent, Ground, until
from tests.integration.store.conftest import look
from tests.ledger import check_log

ID = "bg-0000000000"
READY = SessionReady(1, "s", "agent", "1")
STOP = StopSubagent(Reason.STOPPED_BY_OPERATOR, "operator", "enough")
ROOT = Path(__file__).parents[3]


async def left_behind(
    ground: Ground, *inputs: Input, limits: Limits | None = None, agent: str = "scripted", **ordered: Any
) -> str:
    """Leave a subagent in the store as a manager that was killed would have."""
    order = Order(agent=agent, workspace=str(ground.folder), **ordered)
    given = spawn(parent=PARENT, order=order, task="[[say:done]]", limits=limits or Limits(restarts=0))
    async with Store.open(ground.path, ground.clock) as store:
        now = ground.clock.now()
        events, _ = decide(None, given, now)
        state, log = fold(None, events), list(events)
        for each in inputs:
            events, _ = decide(state, each, now)
            state, log = fold(state, events), [*log, *events]
        await store.commit(given.id, None, 0, log)
    return given.id


async def judged(ground: Ground, subagent: str) -> None:
    async with Store.open(ground.path, ground.clock) as store:
        rows = await store.events(subagent, 0, None)
        assert check_log([row.event for row in rows]).lifecycle.over


async def test_a_start_that_was_under_way_is_ended_and_told_and_nothing_is_begun_unasked(ground: Ground) -> None:
    subagent = await left_behind(ground, Send("[[say:second]]"))
    async with ground.runtime() as runtime:
        view = await until(runtime, subagent, lambda each: each.confirmed and each.newest.state.over)
        assert [task.state for task in view.tasks] == [TaskState.FAILED, TaskState.FAILED]
        assert (view.error_kind, view.newest.cause) == (
            "manager_ended",
            "the manager that was starting the agent ended",
        )
        async with runtime.turn(PARENT) as turn:
            assert len(turn.nudges) == 2
    assert "launch" not in ground.told
    await judged(ground, subagent)


async def test_a_task_that_was_with_an_agent_is_told_as_unknown_and_never_sent_again(ground: Ground) -> None:
    subagent = await left_behind(ground, READY, Send("[[say:second]]"))
    async with ground.runtime() as runtime:
        view = await until(runtime, subagent, lambda each: each.status is Status.ERROR)
        assert [task.state for task in view.tasks] == [TaskState.INTERRUPTED, TaskState.CANCELLED]
        assert "the outcome is unknown" in view.tasks[0].cause
        assert "launch" not in ground.told
        assert await runtime.list_subagents(PARENT) == []
        async with runtime.turn(PARENT) as turn:
            assert len(turn.nudges) == 2
        async with runtime.turn(PARENT) as turn:
            assert turn.text == ""
    await judged(ground, subagent)


async def test_a_stop_that_was_under_way_is_finished(ground: Ground) -> None:
    subagent = await left_behind(ground, READY, STOP)
    async with ground.runtime() as runtime:
        view = await until(runtime, subagent, lambda each: each.newest.state.over)
        assert (view.status, view.newest.state, view.confirmed) == (Status.STOPPED, TaskState.CANCELLED, True)
    await judged(ground, subagent)


async def test_an_agent_kind_that_is_not_configured_any_more_is_ended_all_the_same(ground: Ground) -> None:
    subagent = await left_behind(ground, READY, agent="forgotten")
    async with ground.runtime() as runtime:
        view = await until(runtime, subagent, lambda each: each.newest.state.over)
        assert view.newest.state is TaskState.INTERRUPTED
        async with asyncio.timeout(BOUND):
            await runtime.stop(PARENT, subagent)
    await judged(ground, subagent)


async def test_a_deadline_of_another_boot_is_counted_on_the_clock_of_this_one(ground: Ground) -> None:
    """The clock of the machine began again at nothing: the old deadline would be a hundred days away."""
    ground.clock = ManualClock(now=8_640_000_000)
    subagent = await left_behind(ground, READY, ChannelClosed(1, "eof"))
    ground.clock = ManualClock(now=5_000)
    ground.clock.boot = "another boot"
    ground.swept = False
    async with ground.runtime() as runtime:
        ground.clock.advance(300_000)
        view = await until(runtime, subagent, lambda each: each.newest.state.over)
        assert (view.newest.state, view.reason) == (TaskState.INTERRUPTED, "channel_lost")
    await judged(ground, subagent)


async def test_a_lifetime_of_another_boot_is_not_taken_for_over(ground: Ground) -> None:
    ground.clock = ManualClock(now=5_000)
    subagent = await left_behind(ground, READY, limits=Limits(lifetime=60.0, restarts=0))
    ground.clock = ManualClock(now=8_640_000_000)
    ground.clock.boot = "another boot"
    async with ground.runtime() as runtime:
        view = await until(runtime, subagent, lambda each: each.newest.state.over)
        assert (view.newest.state, view.reason) == (TaskState.INTERRUPTED, "agent_died")
    await judged(ground, subagent)


async def nobody(*_: object) -> None:
    """Serves no tools."""


async def lifetimes(ground: Ground, subagent: str) -> tuple[int, int]:
    """Take a subagent up as a manager that is killed at once; return when its lifetime ends there, and by the log."""
    async with Store.open(ground.path, ground.clock) as store:
        key, kinds, policy = (
            HolderKey.beside(ground.path),
            Catalogue({}, "test"),
            Policy.beside(ground.path, ground.config),
        )
        manager = Supervisor(
            store,
            ground.clock,
            ground,
            kinds,
            key,
            policy=policy,
            tools=nobody,
            keep=ground.folder,
            progress=print,
            pause=Pause.beside(ground.path),
            bookkeeper=Bookkeeper(store, ground.path),
        )
        left = await store.load(subagent)
        assert left is not None
        taken, kept = await manager._inherit(left), await store.load(subagent)
        assert kept is not None
        return dict(timers(taken.state))["lifetime"], dict(timers(kept.state))["lifetime"]


@pytest.mark.requirement("D04.11")
async def test_a_reboot_moves_deadlines_once_and_no_later_manager_of_its_boot_does(ground: Ground) -> None:
    """What a boot was seen to last has passed; what nobody saw has not."""
    ground.clock = ManualClock(now=8_640_000_000)
    limits = Limits(lifetime=3_600.0, restarts=0)
    subagent = await left_behind(ground, READY, ChannelClosed(1, "eof"), limits=limits)
    for boot, now, left in (("second", 5_000, 3_600_000), ("third", 1_000_000_000, 3_480_000)):
        ground.clock = ManualClock(now=now)
        ground.clock.boot = boot
        for _ in range(3):
            assert await lifetimes(ground, subagent) == (now + left, now + left)
            ground.clock.advance(60_000)
    ground.swept = True
    async with ground.runtime() as runtime:
        await until(runtime, subagent, lambda each: each.newest.state.over)
    assert len(look(ground.path, "SELECT 1 FROM event WHERE kind = 'boot_began'")) == 2


class KeptInput:
    """A channel below which `accepted` bytes of input are kept for an agent that says nothing."""

    pid = exit_code = None

    def __init__(self, accepted: int) -> None:
        self.input_end = accepted
        self.written = b""
        self.prompted = asyncio.Event()

    async def send(self, data: bytes) -> None:
        self.written += data
        self.input_end += len(data)
        if b"session/prompt" in data:
            self.prompted.set()

    async def acknowledge(self, stdout: int, stderr: int | None = None) -> None: ...

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    async def close(self) -> None: ...


async def test_a_cancelled_prompt_that_was_never_written_is_not_written_behind_its_cancel(ground: Ground) -> None:
    laid, cancel = PromptLaid(1, f"{ID}.t1", 7, 319), CancelTask(f"{ID}.t1", "parent", "enough")
    subagent = await left_behind(ground, READY, laid, cancel)
    channel = KeptInput(accepted=319)
    ground.adopted = BareAgent(ground, channel)
    async with ground.runtime() as runtime:
        view = await until(runtime, subagent, lambda each: each.newest.state.over)
        assert (view.newest.state, view.status) == (TaskState.CANCELLED, Status.IDLE)
    assert channel.written == b""
    await judged(ground, subagent)


class Asking(BareAgent):
    """Its agent wants to know something as soon as it is in reach: what we do not serve, so it is refused."""

    async def recover(self) -> bool:
        assert self.receiver is not None
        self.receiver.on_stdout(b'{"jsonrpc":"2.0","id":1,"method":"fs/read_text_file","params":{}}\n')
        for _ in range(100):
            await asyncio.sleep(0)  # whoever can write now does
        return True


async def test_a_prompt_that_was_never_written_is_known_as_such_whatever_the_agent_asks_first(ground: Ground) -> None:
    subagent = await left_behind(ground, READY, PromptLaid(1, f"{ID}.t1", 7, 319))
    channel = KeptInput(accepted=319)
    ground.adopted = Asking(ground, channel)
    async with ground.runtime():
        async with asyncio.timeout(BOUND):
            await channel.prompted.wait()
    assert channel.written.index(b"does not serve") < channel.written.index(b"session/prompt")
    await judged(ground, subagent)


class Log(KeptInput):
    """Knows what was in the log when the first line was written."""

    def __init__(self, accepted: int, store: Path) -> None:
        super().__init__(accepted)
        self._store = store
        self.kinds: list[str] | None = None

    async def send(self, data: bytes) -> None:
        if self.kinds is None:
            with closing(sqlite3.connect(self._store)) as log:
                self.kinds = [kind for (kind,) in log.execute("SELECT kind FROM event ORDER BY seq")]
        await super().send(data)


async def test_nothing_is_written_to_an_adopted_agent_before_the_log_has_what_it_was_given(ground: Ground) -> None:
    subagent = await left_behind(ground, READY, PromptLaid(1, f"{ID}.t1", 7, 319))
    channel = Log(319, ground.path)
    ground.adopted = Asking(ground, channel)
    async with ground.runtime():
        async with asyncio.timeout(BOUND):
            await channel.prompted.wait()
    assert channel.kinds is not None
    assert "task_retried" in channel.kinds
    await judged(ground, subagent)


MANAGER = """
import asyncio, os, sys
from pathlib import Path
from tests.contract.conftest import PARENT, Place, config_for
from acp_runtime.manager.local_launcher import LocalLauncher
from acp_runtime.core.model import Limits

async def main(root):
    config = config_for(root, None)
    place = Place("local", root, config, lambda: LocalLauncher(root / "agents", os.environ), sys.executable)
    place.kind("scripted")
    async with place.runtime() as runtime:
        view = await runtime.spawn(PARENT, place.request("[[say:half way]][[hang]]", limits=Limits(restarts=0)))
        await place.until(runtime, view.id, lambda each: each.newest.result == "half way")
        print(view.id, flush=True)
        await asyncio.Event().wait()

asyncio.run(main(Path(sys.argv[1])))
"""


def killed_manager(ground: Ground) -> str:
    """Run a manager until its agent is in the middle of a task, kill it, and return the subagent's id."""
    (ground.folder / "repo").mkdir()
    argv = (sys.executable, "-c", MANAGER, str(ground.folder))
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True) as manager:
        assert manager.stdout is not None
        subagent = manager.stdout.readline().strip()
        manager.kill()
    assert subagent.startswith("bg-")
    return subagent


async def test_a_manager_killed_in_mid_task_is_followed_by_one_that_tells_the_truth(ground: Ground) -> None:
    subagent = await asyncio.to_thread(killed_manager, ground)
    ground.clock = SystemClock()
    async with ground.runtime() as runtime:
        view = await until(runtime, subagent, lambda each: each.status is Status.ERROR)
        assert view.newest.state is TaskState.INTERRUPTED
        assert view.newest.result == "half way"
        assert "the outcome is unknown" in view.newest.cause
        assert await runtime.list_subagents(PARENT) == []
        async with runtime.turn(PARENT) as turn:
            assert len(turn.nudges) == 1
            assert "interrupted" in turn.text
    assert "launch" not in ground.told
    await judged(ground, subagent)
