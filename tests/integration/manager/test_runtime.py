"""The manager around its actors: what a caller, a disk or an agent does at a bad moment."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest

from acp_runtime.clock import SystemClock
from acp_runtime.core.confinement import Confinement, Egress
from acp_runtime.core.errors import Rejected
from acp_runtime.core.events import TaskQueued
from acp_runtime.core.model import Limits, TaskState
from acp_runtime.core.status import Status
from acp_runtime.presets import Network, Preset
from acp_runtime.session.catalogue import AgentKind
from acp_runtime.store.store import Store
from tests.integration.manager.conftest import BOUND, PARENT, Ground, log_says, until, write_lock
from tests.integration.store.conftest import look
from tests.ledger import check_log

OVER = ("stopped", "failed")


async def lives(ground: Ground) -> list[str]:
    """Judge every log of the store that nobody owns any more, and return how its subagents stand."""
    async with Store.open(ground.path, ground.clock) as store:
        states = []
        for row in await store.query("SELECT id, lifecycle FROM subagent ORDER BY created_seq"):
            state = check_log([each.event for each in await store.events(row["id"], 0, None)])
            assert state.lifecycle == row["lifecycle"]
            states.append(row["lifecycle"])
        return states


async def test_a_spawn_whose_caller_gave_up_while_it_was_stored_has_a_manager_all_the_same(ground: Ground) -> None:
    ground.starts = asyncio.Event()
    async with ground.runtime() as runtime:
        with write_lock(ground.path):
            spawning = asyncio.create_task(runtime.spawn(PARENT, ground.request("x")))
            # Steps of the event loop, until the transaction waits for the lock in the store's thread.
            for _ in range(10):
                await asyncio.sleep(0)
            spawning.cancel()
            await asyncio.wait([spawning])
        async with asyncio.timeout(BOUND):
            await ground.begun.wait()
    assert await lives(ground) == ["stopped"]


async def test_a_spawn_while_the_manager_is_closing_is_refused_and_leaves_nothing(ground: Ground) -> None:
    ground.starts, ground.gives_up = asyncio.Event(), asyncio.Event()
    stack = AsyncExitStack()
    runtime = await stack.enter_async_context(ground.runtime())
    await runtime.spawn(PARENT, ground.request("x"))
    await ground.begun.wait()
    closing = asyncio.create_task(stack.aclose())
    async with asyncio.timeout(BOUND):
        await ground.cancelled.wait()
        with pytest.raises(Rejected, match="is being closed") as caught:
            await runtime.spawn(PARENT, ground.request("y"))
        ground.gives_up.set()
        await closing
    assert caught.value.kind == "closing"
    assert ground.told == ["launch", "sweep", "close"]
    assert await lives(ground) == ["stopped"]


async def test_a_count_of_changed_files_that_fails_does_not_cost_the_task_its_result(ground: Ground) -> None:
    ground.count_fails = OSError("too many open files")
    async with ground.runtime() as runtime:
        view = await runtime.spawn(PARENT, ground.request("[[say:done]]"))
        view = await until(runtime, view.id, lambda each: each.newest.state.over)
        assert (view.newest.state, view.newest.result) == (TaskState.COMPLETED, "done")
        assert view.newest.files_changed is None


async def test_an_agent_that_has_answered_is_not_taken_for_one_that_ignores_its_cancel(ground: Ground) -> None:
    """A slow engine is still counting its files when the cancel comes."""
    ground.clock, ground.counts = SystemClock(), asyncio.Event()
    async with ground.runtime() as runtime:
        view = await runtime.spawn(PARENT, ground.request("[[say:done]]"))
        await until(runtime, view.id, lambda each: each.newest.result == "done")
        async with asyncio.timeout(BOUND):
            await ground.counting.wait()
        await runtime.cancel(PARENT, view.id)
        view = await until(runtime, view.id, lambda each: each.newest.state.over)
        assert (view.status, view.newest.result, view.newest.files_changed) == (Status.IDLE, "done", None)
        ground.counts.set()
        await runtime.send(PARENT, view.id, "[[say:again]]")
        view = await until(runtime, view.id, lambda each: each.newest.state.over and each.newest.number == 2)
        assert (view.newest.state, view.newest.files_changed) == (TaskState.COMPLETED, 1)


async def test_an_agent_that_works_while_the_disk_is_full_loses_nothing(ground: Ground) -> None:
    go = ground.folder / "go"
    async with ground.runtime() as runtime:
        view = await runtime.spawn(PARENT, ground.request(f"[[say:before]][[wait:{go}]][[updates:5000]]"))
        await until(runtime, view.id, lambda each: each.newest.result == "before")
        store: Store = runtime._store
        (pages,) = await store.query("PRAGMA page_count")
        await store.query(f"PRAGMA max_page_count = {pages['page_count']}")
        with log_says("trying again") as said:
            await asyncio.to_thread(go.touch)
            await said.wait()
        await store.query("PRAGMA max_page_count = 1000000")
        ground.clock.advance(1_000)
        view = await until(runtime, view.id, lambda each: each.newest.state.over)
        assert view.newest.state is TaskState.COMPLETED
        assert view.newest.result == "before" + "".join(f"{number}\n" for number in range(5000))


async def test_a_manager_that_was_replaced_lets_its_agents_go_and_ends_none(ground: Ground) -> None:
    go = ground.folder / "go"
    async with ground.runtime() as runtime:
        view = await runtime.spawn(PARENT, ground.request(f"[[say:one]][[wait:{go}]][[say:two]][[hang]]"))
        await until(runtime, view.id, lambda each: each.newest.result == "one")
        actor = runtime._supervisor.actor(view.id)
        assert actor is not None
        await runtime._store.query("UPDATE meta SET value = 9 WHERE key = 'epoch'")
        await asyncio.to_thread(go.touch)
        async with asyncio.timeout(BOUND):
            await actor.over.wait()
    assert ground.told == ["launch", "release", "close"]
    assert look(ground.path, "SELECT state FROM task") == [("running",)]


async def test_a_stop_returns_also_when_the_agents_end_cannot_be_confirmed(ground: Ground) -> None:
    ground.starts, ground.swept = asyncio.Event(), False
    async with ground.runtime() as runtime:
        view = await runtime.spawn(PARENT, ground.request("x"))
        async with asyncio.timeout(BOUND):
            view = await runtime.stop(PARENT, view.id)
        assert (view.status, view.confirmed) == (Status.STOPPED, False)
    assert await lives(ground) == ["stopped"]


@pytest.mark.requirement("D08.13")
async def test_an_end_that_takes_longer_than_its_parent_waits_goes_on_and_is_not_begun_again(ground: Ground) -> None:
    ground.ends = asyncio.Event()
    async with ground.runtime() as runtime:
        view = await runtime.spawn(PARENT, ground.request("[[say:done]]", keep=True))
        await until(runtime, view.id, lambda each: each.newest.state.over)
        stopping = asyncio.create_task(runtime.stop(PARENT, view.id))
        async with asyncio.timeout(BOUND):
            await ground.ending.wait()
            ground.clock.advance(60_000)
            await until(runtime, view.id, lambda each: not each.confirmed)
            with pytest.raises(Rejected, match="still being removed; try again later"):
                await runtime.resume(PARENT, view.id, "[[say:on]]")
            ground.ends.set()
            await stopping
    assert ground.told == ["launch", "end", "close"]


async def test_deadlines_that_are_none_are_refused_before_anything_is_stored(ground: Ground) -> None:
    async with ground.runtime() as runtime:
        with pytest.raises(ValueError, match=r"limits\.task is -1"):
            await runtime.spawn(PARENT, ground.request("x", limits=replace(Limits(), task=-1.0)))
    assert await lives(ground) == []


async def test_a_folder_whose_name_is_no_text_is_refused_by_name(ground: Ground) -> None:
    folder = ground.folder / "bad\udcff"
    await asyncio.to_thread(folder.mkdir)
    async with ground.runtime() as runtime:
        with pytest.raises(Rejected, match="is not UTF-8") as caught:
            await runtime.spawn(PARENT, ground.request("x", workspace=folder))
        assert caught.value.kind == "invalid"
    assert await lives(ground) == []


@pytest.mark.requirement("D09.6")
async def test_a_key_in_place_of_its_source_is_refused_and_not_stored(ground: Ground) -> None:
    async with ground.runtime() as runtime:
        with pytest.raises(Rejected, match="never the key itself") as caught:
            await runtime.spawn(PARENT, ground.request("x", model_key="sk-canary-4711"))
        assert (caught.value.kind, "canary" in str(caught.value)) == ("bad_key_source", False)
    assert await lives(ground) == []


async def test_what_is_open_can_be_asked_for_by_any_text(ground: Ground) -> None:
    async with ground.runtime() as runtime:
        with pytest.raises(Rejected, match="Unknown background subagent"):
            await runtime.status(PARENT, "bg-\udcff")
        assert await runtime.list_subagents("\udcff") == []


async def test_an_agent_may_use_the_id_of_a_question_again(ground: Ground) -> None:
    """Ids of requests are unique among open ones only: an agent that counts from 1 in every turn may do so."""
    argv = (ground.kinds["scripted"].argv[0], "-c", ASKS_AS_ONE)
    ground.kinds["asker"] = AgentKind("asker", argv)
    async with ground.runtime() as runtime:
        view = await runtime.spawn(PARENT, ground.request("ask", agent="asker"))
        view = await until(runtime, view.id, lambda each: each.newest.state.over)
        await runtime.send(PARENT, view.id, "ask again")
        view = await until(runtime, view.id, lambda each: each.newest.state.over)
        assert [task.result for task in view.tasks] == ["yes yes "] * 2
    assert await lives(ground) == ["stopped"]


# Asks for permission twice in each turn, both times as request 1, and says what it was answered.
ASKS_AS_ONE = """
import json, sys
def put(**fields): print(json.dumps({"jsonrpc": "2.0", **fields}), flush=True)
def update(text):
    put(method="session/update", params={"sessionId": "s", "update": {"sessionUpdate": "agent_message_chunk",
        "content": {"type": "text", "text": text}}})
def ask():
    put(id=1, method="session/request_permission", params={"sessionId": "s", "toolCall": {"toolCallId": "t"},
        "options": [{"optionId": "yes", "name": "Yes", "kind": "allow_once"}]})
    outcome = json.loads(sys.stdin.readline())["result"]["outcome"]
    update(outcome.get("optionId", outcome["outcome"]) + " ")
for line in sys.stdin:
    message = json.loads(line)
    match message.get("method"):
        case "initialize": put(id=message["id"], result={"protocolVersion": 1})
        case "session/new": put(id=message["id"], result={"sessionId": "s"})
        case "session/prompt":
            ask(); ask()
            put(id=message["id"], result={"stopReason": "end_turn"})
"""


async def test_a_subagent_whose_actor_failed_is_told_and_not_left_open(ground: Ground) -> None:
    """Here another writer has moved the stream on; whatever ends an actor, its parent must not wait for ever."""
    go = ground.folder / "go"
    async with ground.runtime() as runtime:
        view = await runtime.spawn(PARENT, ground.request(f"[[say:one]][[wait:{go}]][[say:two]][[hang]]"))
        await until(runtime, view.id, lambda each: each.newest.result == "one")
        actor = runtime._supervisor.actor(view.id)
        assert actor is not None
        extra = TaskQueued(at=ground.clock.now(), task_id=f"{view.id}.t2", number=2, text="x")
        await runtime._store.commit(view.id, actor.state, actor._version, [extra])
        await asyncio.to_thread(go.touch)
        view = await until(runtime, view.id, lambda each: each.status is Status.ERROR and each.newest.state.over)
        assert [task.state for task in view.tasks] == [TaskState.INTERRUPTED, TaskState.CANCELLED]
        assert "the manager failed" in view.cause
        async with asyncio.timeout(BOUND):
            await runtime.stop(PARENT, view.id)
        assert ground.told == ["launch", "end"]
        async with runtime.turn(PARENT) as turn:
            assert len(turn.nudges) == 2
    assert await lives(ground) == ["failed"]


async def test_a_task_whose_delivery_failed_by_a_bug_is_told_and_not_waited_for(ground: Ground) -> None:
    def bug() -> None:
        raise ZeroDivisionError

    ground.way_of = lambda _request: bug
    ground.presets = (Preset("web", "", Confinement(), Network.EGRESS, egress=Egress(("example.org",))),)
    async with ground.runtime() as runtime:
        view = await runtime.spawn(PARENT, ground.request("[[say:x]]", preset="web"))
        view = await until(runtime, view.id, lambda each: each.status is Status.ERROR and each.newest.state.over)
        assert (view.newest.state, view.error_kind) == (TaskState.INTERRUPTED, "internal_error")
        assert "the manager failed at a task: ZeroDivisionError()" in view.cause


@pytest.mark.parametrize("when", ["starting", "working"])
async def test_an_end_that_fails_is_told_as_unconfirmed_at_once(ground: Ground, when: str) -> None:
    ground.end_fails = OSError("the engine said something nobody expected")
    if when == "starting":
        ground.starts = asyncio.Event()
    async with ground.runtime() as runtime:
        view = await runtime.spawn(PARENT, ground.request("[[say:one]][[hang]]"))
        await ground.begun.wait()
        if when == "working":
            await until(runtime, view.id, lambda each: each.newest.result == "one")
        async with asyncio.timeout(BOUND):
            view = await runtime.stop(PARENT, view.id)
        assert (view.status, view.confirmed) == (Status.STOPPED, False)
    assert await lives(ground) == ["stopped"]
