"""What a manager does for subagents that lead others: it tells them of theirs, wakes them, and leaves nobody behind."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from acp_runtime.callers import OPERATOR, Leader
from acp_runtime.clock import SystemClock
from acp_runtime.core.decide import decide
from acp_runtime.core.errors import Rejected
from acp_runtime.core.inputs import LoginExpired, PromptAnswered, SessionReady, StopSubagent
from acp_runtime.core.lineage import Lineage, Orchestration, Role, name_of
from acp_runtime.core.logins import AGAIN
from acp_runtime.core.model import Limits, Order, Reason, TaskState
from acp_runtime.core.status import Status
from acp_runtime.manager.leading import DOOR
from acp_runtime.mcp.turns import Telling
from acp_runtime.service import Runtime
from acp_runtime.store.store import Store
from acp_runtime.views import SubagentView, WaitReason
from tests.histories import fold, spawn
from tests.integration.manager.conftest import BOUND, PARENT, Ground, log_says, until

LEADER, MIDDLE, LEAF = "bg-0000000001", "bg-0000000002", "bg-0000000003"
ENDED = "SELECT stream FROM event WHERE kind IN ('subagent_stopped', 'subagent_failed') ORDER BY seq"


@dataclass
class Site:
    """A parent with trees as deep as three levels."""

    ground: Ground
    runtime: Runtime

    async def lead(self, task: str = "[[say:begun]]", parent: str = PARENT, **changes: Any) -> SubagentView:
        view = await self.runtime.spawn(
            parent, self.ground.request(task, role="orchestrator", purpose="lead", **changes)
        )
        return await until(self.runtime, view.id, lambda found: found.status is Status.IDLE)

    async def leaf(self, leader: SubagentView, task: str = "[[wait:go]]") -> SubagentView:
        return await self.runtime.spawn(Leader(leader.id), self.ground.request(task, purpose="work"))

    async def ended(self) -> list[str]:
        return [row["stream"] for row in await self.runtime._store.query(ENDED)]

    async def order_of_ends(self, last: str) -> list[str]:
        """Return who ended, in order, once this one has."""
        async with asyncio.timeout(BOUND):
            while True:
                tick, found = self.runtime.tick, await self.ended()
                if last in found:
                    return found
                await self.runtime.changed(tick)


@asynccontextmanager
async def site(ground: Ground, **orchestration: Any) -> AsyncIterator[Site]:
    ground.clock = SystemClock()
    ground.changes["orchestration"] = Orchestration(**{"max_spawn_depth": 3, **orchestration})
    async with ground.runtime() as runtime:
        yield Site(ground, runtime)


async def test_a_stop_ends_those_below_first_and_each_is_told_why(ground: Ground) -> None:
    async with site(ground) as at:
        top = await at.lead()
        middle = await at.lead(parent=Leader(top.id))
        leaves = [await at.leaf(middle), await at.leaf(middle), await at.leaf(top)]
        beside = await at.runtime.spawn(PARENT, ground.request("[[wait:go]]"))
        stopped = await at.runtime.stop(PARENT, top.id, reason="enough of this")
        assert (stopped.status, stopped.reason) == (Status.STOPPED, "stopped_by_parent")
        order = await at.ended()
        assert set(order[:-2]) == {leaf.id for leaf in leaves}
        assert order[-2:] == [middle.id, top.id]
        for leaf, leader in ((leaves[0], middle), (leaves[2], top)):
            view = await at.runtime.status(PARENT, leaf.id)
            assert (view.status, view.reason) == (Status.STOPPED, "parent_ended")
            assert view.cause.startswith(f"{leader.id}, which led it, ended: ")
            assert "enough of this" in view.cause
            assert view.newest.state == "cancelled"
        told = [each.subagent for each in await at.runtime.nudges(Leader(middle.id))]
        assert {leaves[0].id, leaves[1].id} == set(told)
        assert not (await at.runtime.status(PARENT, beside.id)).status.over
        (ground.folder / "go").touch()


async def test_what_is_left_below_one_that_ended_can_be_removed_though_nobody_was_told_of_it(ground: Ground) -> None:
    async with site(ground) as at:
        top = await at.lead()
        leaf, untold = await at.leaf(top), await at.leaf(top, "[[wait:never]]")
        await until(at.runtime, leaf.id, lambda view: view.current_task is not None)
        await at.runtime.stop(PARENT, leaf.id)
        with pytest.raises(Rejected, match="nudges that its parent has not acknowledged"):
            await at.runtime.remove(PARENT, leaf.id)
        await at.runtime.stop(PARENT, top.id)
        for caller, each in ((OPERATOR, leaf), (PARENT, untold), (PARENT, top)):
            await at.runtime.remove(caller, each.id)
        assert await at.runtime.tree(PARENT, ended=True) == []


async def test_who_ends_by_itself_takes_those_below_along(ground: Ground) -> None:
    async with site(ground) as at:
        top = await at.runtime.spawn(PARENT, ground.request("[[wait:die]][[exit:3]]", role="orchestrator"))
        leaf = await at.leaf(top)
        await until(at.runtime, leaf.id, lambda view: view.current_task is not None)
        (ground.folder / "die").touch()
        assert await at.order_of_ends(top.id) == [leaf.id, top.id]
        assert (await at.runtime.status(PARENT, top.id)).status is Status.ERROR
        assert (await at.runtime.status(PARENT, leaf.id)).reason == "parent_ended"


@pytest.mark.requirement("T24")
async def test_nobody_is_let_in_below_one_that_is_being_stopped(ground: Ground) -> None:
    async with site(ground) as at:
        top = await at.lead()
        leaf = await at.leaf(top)
        await until(at.runtime, leaf.id, lambda view: view.current_task is not None)
        ground.ends = asyncio.Event()
        stopping = asyncio.create_task(at.runtime.stop(PARENT, top.id))
        async with asyncio.timeout(BOUND):
            await ground.ending.wait()
        with pytest.raises(Exception, match="has ended or is being stopped"):
            await at.leaf(top)
        assert not (await at.ended())
        ground.ends.set()
        await stopping
        with pytest.raises(Exception, match="has ended, so it may spawn no more"):
            await at.leaf(top)


async def left_behind(ground: Ground, ident: str, above: tuple[str, ...], *, role: Role, stopped: bool = False) -> None:
    """Leave a subagent in the store as a manager that was killed would have."""
    order = Order(agent="scripted", workspace=str(ground.folder), keep=True, lineage=Lineage(role, above, 3))
    given = spawn(ident, parent=above[0], order=order, task="[[say:x]]", limits=Limits(restarts=0))
    async with Store.open(ground.path, ground.clock) as store:
        now, state, log = ground.clock.now(), None, []
        inputs = [given, SessionReady(1, "s", "agent", "1"), PromptAnswered(1, f"{ident}.t1", "end_turn", 0)]
        if stopped:
            inputs.append(StopSubagent(Reason.STOPPED_BY_PARENT, "parent", "enough"))
        for each in inputs:
            events, _ = decide(state, each, now)
            state, log = fold(state, events), [*log, *events]
        await store.commit(ident, None, 0, log)


async def test_the_manager_after_one_that_was_killed_goes_on_with_the_end_of_a_tree(ground: Ground) -> None:
    ground.clock = SystemClock()
    ground.swept = False  # nothing proves that they died with their manager
    await left_behind(ground, LEADER, (PARENT,), role=Role.ORCHESTRATOR, stopped=True)
    await left_behind(ground, MIDDLE, (name_of(LEADER), PARENT), role=Role.ORCHESTRATOR)
    await left_behind(ground, LEAF, (name_of(MIDDLE), name_of(LEADER), PARENT), role=Role.LEAF)
    async with site(ground) as at:
        assert await at.order_of_ends(LEADER) == [LEAF, MIDDLE, LEADER]
        assert (await at.runtime.status(PARENT, MIDDLE)).cause == f"{LEADER}, which led it, ended: enough"


async def test_who_is_found_without_the_one_that_led_it_is_ended(ground: Ground) -> None:
    ground.clock = SystemClock()
    ground.swept = False
    await left_behind(ground, LEAF, (name_of(LEADER), PARENT), role=Role.LEAF)
    async with site(ground) as at:
        view = await until(at.runtime, LEAF, lambda found: found.status.over)
        assert (view.reason, view.cause) == ("parent_ended", "the subagent that led it had ended")


@pytest.mark.requirement("O06")
async def test_who_ended_its_turn_is_woken_with_the_results_of_all_and_joins_them(ground: Ground) -> None:
    async with site(ground) as at:
        top = await at.runtime.spawn(PARENT, ground.request("[[wait:led]][[say:begun]]", role="orchestrator"))
        leaves = [await at.leaf(top, f"[[wait:go{number}]][[say:result {number}]]") for number in (1, 2)]
        (ground.folder / "led").touch()
        asleep = await until(at.runtime, top.id, lambda view: view.newest.state.over)
        assert asleep.awaits
        assert not asleep.settled
        (ground.folder / "go1").touch()
        await until(at.runtime, leaves[0].id, lambda view: view.newest.state.over)
        assert len((await at.runtime.status(PARENT, top.id)).tasks) == 1, "one of its own still works"
        (ground.folder / "go2").touch()
        waited = await at.runtime.wait(PARENT, [top.id], seconds=BOUND)
        assert waited.reason is WaitReason.ENDED
        begun, joined = waited.views[0].tasks
        assert begun.result == "begun"
        assert joined.text.startswith("(From the manager: there is news of your subagents")
        # The scripted agent echoes its prompt: what stood in it behind the task.
        assert "result 1" in joined.result
        assert "result 2" in joined.result
        assert {each.state for each in await at.runtime.nudges(Leader(top.id))} == {"committed"}
        # What is written after the end, that the news were acknowledged, changes nothing that a wait tells.
        again = await at.runtime.wait(PARENT, [top.id], seconds=0)
        assert (again.views, again.reason) == (waited.views, waited.reason)


async def test_every_prompt_shows_it_whom_it_leads(ground: Ground) -> None:
    async with site(ground) as at:
        top = await at.lead()
        leaf = await at.leaf(top)
        await at.runtime.send(PARENT, top.id, "who works for you?")
        shown = await until(at.runtime, top.id, lambda view: len(view.tasks) == 2 and view.newest.state.over)
        assert shown.newest.text == "who works for you?"
        assert re.search(rf"who works for you\?\n\n<background-subagents>\n.*{leaf.id}", shown.newest.result, re.DOTALL)
        assert "<background-subagents>" not in (await at.runtime.status(PARENT, leaf.id)).newest.result
        (ground.folder / "go").touch()


async def test_a_task_that_waited_for_its_login_is_given_again_with_what_is_new_by_then(ground: Ground) -> None:
    async with site(ground) as at:
        top = await at.lead(model_key="env:NOT_THERE")
        leaf = await at.leaf(top, "[[wait:go]][[say:result]]")
        await at.runtime.send(PARENT, top.id, "[[say:at it]][[wait:led]]")
        await until(at.runtime, top.id, lambda view: view.newest.result == "at it")
        await at.runtime._supervisor.ask(top.id, LoginExpired(1, "no key"))
        (ground.folder / "led").touch()
        await until(at.runtime, top.id, lambda view: view.newest.state is TaskState.QUEUED)
        (ground.folder / "go").touch()
        await until(at.runtime, leaf.id, lambda view: view.settled)
        await at.runtime.answer(PARENT, top.id, "l1", AGAIN)
        await until(at.runtime, top.id, lambda view: view.settled)
        shown = "SELECT text FROM turn WHERE parent = ? AND turn_id LIKE ? ORDER BY begun_seq"
        found = await at.runtime._store.query(shown, name_of(top.id), f"{top.id}.t2.%")
        assert ["result" in row["text"] for row in found] == [False, True]


async def test_news_wake_an_idle_one_so_often_and_then_leave_it_in_peace(ground: Ground) -> None:
    async with site(ground, wakes=2, max_concurrent_children=9) as at:
        top = await at.lead()
        for number in range(1, 4):
            leaf = await at.leaf(top, "[[say:x]]")
            await until(at.runtime, leaf.id, lambda view: view.newest.state.over)
            found = await until(at.runtime, top.id, lambda view: view.settled)
            assert len(found.tasks) == 1 + min(number, 2)
        await at.runtime.send(PARENT, top.id, "and now?")
        found = await until(at.runtime, top.id, lambda view: view.settled and view.newest.text == "and now?")
        assert leaf.id in found.newest.result, "what nobody was woken for stands in the next prompt"
        leaf = await at.leaf(top, "[[say:x]]")
        await until(at.runtime, top.id, lambda view: len(view.tasks) == 5 and view.settled)


async def test_a_wake_up_that_the_store_refused_is_tried_again(ground: Ground) -> None:
    async with site(ground) as at:
        top, store = await at.lead(), at.runtime._store
        await store.query(
            "CREATE TRIGGER refusing BEFORE INSERT ON event WHEN new.kind = 'task_queued' "
            "AND json_extract(new.data, '$.woken') BEGIN SELECT abs(-9223372036854775808); END"
        )
        with log_says("is tried again") as said:
            await at.leaf(top, "[[say:done]]")
            await said.wait()
        await store.query("DROP TRIGGER refusing")
        view = await until(at.runtime, top.id, lambda found: len(found.tasks) == 2 and found.newest.state.over)
        assert view.newest.state is TaskState.COMPLETED


async def test_who_ended_starts_nobody_again_below_it_until_it_is_resumed(ground: Ground) -> None:
    async with site(ground) as at:
        top = await at.lead(keep=True)
        leaf = await at.runtime.spawn(Leader(top.id), ground.request("[[say:x]]", keep=True))
        await at.runtime.wait(OPERATOR, [leaf.id], seconds=BOUND)
        await at.runtime.stop(PARENT, top.id)
        with pytest.raises(Exception, match="has ended or is being stopped"):
            await at.runtime.resume(PARENT, leaf.id, "go on")
        await at.runtime.resume(PARENT, top.id, "again")
        await at.runtime.resume(PARENT, leaf.id, "[[say:x]]")
        await at.runtime.wait(OPERATOR, [top.id, leaf.id], seconds=BOUND)


@pytest.mark.requirement("D08.11")
@pytest.mark.parametrize("fate", ["arrived", "lost", "left alone"])
async def test_what_stood_in_an_answer_that_never_came_is_told_again_at_once(ground: Ground, fate: str) -> None:
    async with site(ground) as at:
        top = await at.runtime.spawn(PARENT, ground.request("[[wait:led]][[say:begun]]", role="orchestrator"))
        leaf = await at.leaf(top, "[[say:result]]")
        await until(at.runtime, leaf.id, lambda view: view.settled)
        telling = Telling(at.runtime, Leader(top.id), DOOR)
        with at.runtime._supervisor.leading.telling(top.id, telling.answered):
            assert leaf.id in await telling.block("a call")
            (telling.unsent if fate == "lost" else telling.sent)("a call")
            if fate == "left alone":
                await at.runtime.cancel(PARENT, top.id)
            (ground.folder / "led").touch()
            found = await until(at.runtime, top.id, lambda view: view.settled)
        assert [leaf.id in task.result for task in found.tasks] == ([False] if fate == "arrived" else [False, True])
        assert {each.state for each in await at.runtime.nudges(Leader(top.id))} == {"committed"}


async def test_who_fails_at_its_news_is_not_told_them_over_and_over(ground: Ground) -> None:
    chunk = {"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": "[[error:-32603|no model]]"}}
    told = {"jsonrpc": "2.0", "method": "session/update", "params": {"sessionId": "$SESSION", "update": chunk}}
    said = json.dumps(told).replace("[", "\\u005b").replace("]", "\\u005d")  # the agent that reads it obeys
    async with site(ground) as at:
        top = await at.lead(limits=Limits(retries=0))
        await at.leaf(top, f"[[raw:{said}]]")
        await until(at.runtime, top.id, lambda view: len(view.tasks) == 2 and view.newest.state is TaskState.FAILED)
        beside = await at.runtime.spawn(PARENT, ground.request("[[say:x]]"))
        await until(at.runtime, beside.id, lambda view: view.settled)
        assert len((await at.runtime.status(PARENT, top.id)).tasks) == 2
