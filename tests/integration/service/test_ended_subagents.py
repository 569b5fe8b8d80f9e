"""What stays of an ended subagent: it is resumed, removed, pruned; and what a parent may have at once."""

import asyncio
from dataclasses import replace

import pytest

from acp_runtime.callers import OPERATOR
from acp_runtime.core.admission import Admission
from acp_runtime.core.errors import Rejected
from acp_runtime.core.model import TaskState
from acp_runtime.core.status import Status
from acp_runtime.manager.launcher import LaunchError
from acp_runtime.service import Runtime
from tests.integration.manager.conftest import BOUND, PARENT, Ground, until
from tests.integration.service.conftest import STRANGER, Bench, done


@pytest.mark.requirement("P06")
async def test_limits_hold_for_a_parent_and_for_all_and_name_what_can_be_stopped(ground: Ground) -> None:
    """B5: of 64 spawns at the same time against a limit of two, two are let in."""
    async with ground.runtime() as opened:
        config = replace(opened.config, admission=Admission(per_parent=2, total=3))
    async with Runtime.open(ground.path, launcher=ground, config=config) as runtime:
        bench = Bench(ground, runtime)
        told = await asyncio.gather(*(bench.spawn(f"[[wait:{bench.file('go')}]]") for _ in range(64)))
        good, bad = [each for each in told if each["success"]], [each for each in told if not each["success"]]
        assert (len(good), len(bad)) == (2, 62)
        for each in bad:
            assert each["error"] == "Background subagent limit reached for this session."
            assert each["kind"] == "limit_reached"
            assert {one["id"] for one in each["stoppable_subagents"]} == {one["id"] for one in good}
        stranger = bench.another(STRANGER)
        assert (await stranger.spawn("[[say:x]]"))["success"]
        refused = await bench.another("third").spawn("x")
        assert (refused["error"], refused["stoppable_subagents"]) == ("Global background subagent limit reached.", [])
        await bench.call("stop_background_subagent", id=good[0]["id"])
        assert (await bench.spawn("[[say:x]]"))["success"], "a place that was given up is free"
        with pytest.raises(Rejected, match="limit reached"):
            await runtime.spawn(PARENT, ground.request("x"))


async def test_an_ended_subagent_that_was_kept_is_started_again_with_its_next_task(
    bench: Bench, runtime: Runtime
) -> None:
    view = await done(bench, "[[say:x]]", keep=True)
    with pytest.raises(Rejected) as caught:
        await runtime.resume(PARENT, view.id, "x")
    assert caught.value.kind == "still_open"
    ended = await runtime.stop(PARENT, view.id, finished=True)
    assert (ended.status, ended.resumable) == (Status.COMPLETED, True)
    resumed = await runtime.resume(PARENT, view.id, "[[say:and on]]")
    assert (resumed.attempt, resumed.status) == (2, Status.STARTING)
    waited = await runtime.wait(PARENT, [view.id], seconds=BOUND)
    assert [task.state for task in waited.views[0].tasks] == [TaskState.COMPLETED, TaskState.COMPLETED]
    await runtime.stop(PARENT, view.id, finished=True)
    both = (runtime.resume(PARENT, view.id, "[[say:at once]]") for _ in range(2))
    refused = [each for each in await asyncio.gather(*both, return_exceptions=True) if isinstance(each, Exception)]
    assert [getattr(each, "kind", each) for each in refused] == ["still_open"]
    once = await done(bench, "[[say:x]]")
    await runtime.stop(PARENT, once.id)
    with pytest.raises(Rejected) as caught:
        await runtime.resume(PARENT, once.id, "x")
    assert caught.value.kind == "not_resumable"


@pytest.mark.parametrize("text", ["", " \n", "nul\0"])
async def test_a_message_that_says_nothing_is_refused(bench: Bench, runtime: Runtime, text: str) -> None:
    view = await done(bench, "[[say:x]]")
    for verb in (runtime.send, runtime.resume):
        with pytest.raises(Rejected, match="message") as caught:
            await verb(PARENT, view.id, text)
        assert caught.value.kind == "invalid"


async def test_equal_messages_at_the_same_time_are_told_each_its_own_place(bench: Bench, runtime: Runtime) -> None:
    view = await runtime.spawn(PARENT, bench.ground.request(f"[[wait:{bench.file('go')}]]"))
    await until(runtime, view.id, lambda each: each.current_task is not None)
    sent = await asyncio.gather(*(runtime.send(PARENT, view.id, "[[say:same]]") for _ in range(4)))
    places = [each.sentence.removeprefix(f"{view.name} works on it after ") for each in sent]
    assert sorted(places) == [f"{n} other task(s)." for n in range(1, 5)]
    bench.say_go()


async def test_who_failed_because_nothing_was_kept_is_not_called_resumable(bench: Bench, runtime: Runtime) -> None:
    view = await done(bench, "[[say:x]]", keep=True)
    await runtime.stop(PARENT, view.id)
    bench.ground.launch_fails = LaunchError("nothing_kept", "what it left is gone")
    await runtime.resume(PARENT, view.id, "[[say:on]]")
    view = await until(runtime, view.id, lambda each: each.status.over and each.settled)
    assert (view.error_kind, view.resumable) == ("nothing_kept", False)
    with pytest.raises(Rejected) as caught:
        await runtime.send(PARENT, view.id, "x")
    assert "subagents resume" not in str(caught.value)


async def test_what_is_left_of_an_ended_subagent_is_removed_for_good(bench: Bench, runtime: Runtime) -> None:
    view = await done(bench, "[[say:x]]", keep=True)
    with pytest.raises(Rejected) as caught:
        await runtime.remove(PARENT, view.id)
    assert caught.value.kind == "still_open"
    await runtime.stop(PARENT, view.id)
    with pytest.raises(Rejected) as caught:
        await runtime.remove(OPERATOR, view.id)
    assert caught.value.kind == "not_acknowledged", "the parent was not told yet"
    bench.ground.swept = False
    with pytest.raises(Rejected) as caught:
        await runtime.remove(PARENT, view.id)
    assert caught.value.kind == "not_removed"
    assert (await runtime.status(PARENT, view.id)).id == view.id, "what is left must still be known"
    bench.ground.swept = True
    await runtime.remove(PARENT, view.id)
    assert bench.ground.told[-1] == "discard"
    assert await runtime.list_subagents(PARENT, ended=True) == []
    with pytest.raises(Rejected, match="Unknown background subagent"):
        await runtime.status(PARENT, view.id)
    page = await runtime.poll(PARENT, view.id, since=3)
    assert (page.rows, page.next_seq, page.expired) == ((), 3, True)
    told = await bench.call("poll_background_subagent", id=view.id)
    assert (told["expired"], told["done"], told["events"]) == (True, True, [])
    with pytest.raises(Rejected, match="Unknown background subagent"):
        await runtime.poll(STRANGER, view.id)


async def test_a_prune_takes_nothing_that_is_young_or_was_not_told(bench: Bench, runtime: Runtime) -> None:
    view = await done(bench, "[[say:x]]")
    await runtime.stop(PARENT, view.id)
    assert (await runtime.prune(PARENT, older_than=0)).subagents == (), "its end was not told yet"
    async with runtime.turn(PARENT):
        pass
    assert (await runtime.prune(PARENT, older_than=3600)).subagents == ()
    assert (await runtime.status(PARENT, view.id)).id == view.id
    for wrong in (-1.0, float("nan")):
        with pytest.raises(Rejected, match="older_than"):
            await runtime.prune(PARENT, older_than=wrong)


async def test_a_prune_keeps_what_the_engine_did_not_let_go(bench: Bench, runtime: Runtime) -> None:
    ids = []
    for keep in (False, True):
        view = await done(bench, "[[say:x]]", keep=keep)
        await runtime.stop(PARENT, view.id)
        ids.append(view.id)
    async with runtime.turn(PARENT):
        pass
    bench.ground.swept = False
    assert set((await runtime.prune(PARENT, older_than=0, dry_run=True)).subagents) == set(ids)
    assert (await runtime.prune(STRANGER, older_than=0)).subagents == ()
    pruned = await runtime.prune(PARENT, older_than=0)
    assert (pruned.subagents, pruned.dry_run) == ((ids[0],), False)
    assert pruned.bytes > 0
    assert [each.id for each in await runtime.list_subagents(PARENT, ended=True)] == [ids[1]]
    bench.ground.swept = True
    assert (await runtime.prune(OPERATOR, older_than=0)).subagents == (ids[1],)
    usage = await runtime.disk(PARENT)
    assert (usage.subagents, usage.open_subagents, usage.nudges_open) == (0, 0, 0)
    assert usage.store_bytes > 0


async def test_a_search_finds_a_parents_own_words(bench: Bench, runtime: Runtime) -> None:
    view = await done(bench, "[[say:the zebra crossed the road]]")
    other = await runtime.spawn(STRANGER, bench.ground.request("[[say:another zebra]]"))
    await runtime.wait(STRANGER, [other.id], seconds=BOUND)
    (hit,) = await runtime.search(PARENT, "zebra road")
    assert (hit.subagent, hit.task, hit.where) == (view.id, f"{view.id}.t1", "result")
    assert ">>>zebra<<<" in hit.snippet
    assert {each.subagent for each in await runtime.search(OPERATOR, "zebra")} == {view.id, other.id}
    assert await runtime.search(PARENT, "giraffe") == []
