"""Typed events for hosts that were written for the original: its names, new and old, and each event really sent."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from acp_runtime.callers import Leader
from acp_runtime.core.status import Status
from acp_runtime.service.delegate_events import (
    LEGACY,
    MAX_TITLES,
    Delegated,
    DelegateEvent,
    _Relay,
    delegate_events,
    event_of,
)
from acp_runtime.views import EventView
from tests.integration.manager.conftest import BOUND, PARENT, Ground, until
from tests.integration.service.test_leading import site

SIX = "".join(f"[[write:f{number}|x]]" for number in range(6))


@pytest.mark.requirement("O08")
@pytest.mark.parametrize(
    ("word", "event"),
    [
        *((event, event) for event in DelegateEvent),
        *((str(event), event) for event in DelegateEvent),
        *LEGACY.items(),
        ("delegate.task_unheard_of", None), ("", None), (None, None), (7, None), (["_thinking"], None),
    ],
)  # fmt: skip
def test_an_event_is_known_by_each_of_its_names_and_an_unknown_one_is_none(word: object, event: object) -> None:
    assert event_of(word) is event


async def heard(told: AsyncIterator[Delegated], *wanted: str) -> list[Delegated]:
    """Return what is told until a task of each of these has ended.

    Who leads them is woken when they end, for one or for several at once, and its end may be told before theirs.
    """
    found: list[Delegated] = []
    async with asyncio.timeout(BOUND):
        while not {*wanted} <= {each.subagent_id for each in found if each.result is not None}:
            found.append(await anext(told))
    return found


@pytest.mark.requirement("O08")
async def test_the_whole_life_of_a_tree_is_told_with_whose_it_is(ground: Ground) -> None:
    async with site(ground) as at:
        top = await at.lead("[[think:hm]][[say:begun]]")
        leaf = await at.leaf(top, f"[[wait:go]]{SIX}[[failtool:broken]][[say:six files]]")
        other = await at.leaf(top, "[[error:-32000|no]]")
        (ground.folder / "go").touch()
        async with delegate_events(at.runtime, PARENT, replay=True) as told:
            found = await heard(told, top.id, leaf.id, other.id)
        mine = [each for each in found if each.subagent_id == leaf.id]
        assert [each.event.removeprefix("delegate.") for each in mine] == [
            "task_spawned", *["tool_started", "tool_completed"] * 5, "task_progress",
            *["tool_started", "tool_completed"] * 2, "task_progress", "task_completed",
        ]  # fmt: skip
        assert [len(each.tools) for each in mine if each.event is DelegateEvent.TASK_PROGRESS] == [5, 2]
        assert [each.text for each in mine if each.event is DelegateEvent.TOOL_COMPLETED] == ["completed"] * 6 + [
            "failed"
        ]
        last = mine[-1]
        assert (last.parent_id, last.depth, last.goal, last.tool_count) == (top.id, 2, "work", 7)
        assert (last.task_index, last.task_count, last.toolsets) == (0, 2, ())
        assert last.result is not None
        assert (last.result.status, last.result.summary, last.result.error) == ("completed", "six files", "")
        assert (last.result.exit_reason, last.result.task_index) == ("end_turn", 0)
        assert last.result.duration_seconds >= 0
        failed = next(each for each in found if each.event is DelegateEvent.TASK_FAILED)
        assert (failed.subagent_id, failed.task_index) == (other.id, 1)
        assert failed.result is not None
        assert failed.result.status == "error"
        assert failed.result.error
        thought = next(each for each in found if each.event is DelegateEvent.TASK_THINKING)
        assert (thought.subagent_id, thought.text, thought.legacy) == (top.id, "hm", "_thinking")
        assert (thought.parent_id, thought.depth, thought.toolsets) == (None, 1, ("delegation",))
        unread = (await at.runtime.status(PARENT, top.id)).unread
        assert unread > 0, "it reads no page of the parent's"


@pytest.mark.requirement("O08")
async def test_only_what_is_wanted_is_told_by_its_old_names_too_and_nothing_from_before(ground: Ground) -> None:
    async with site(ground) as at:
        before = await at.lead("[[write:a|b]][[say:x]]")
        wanted = ["tool.started", DelegateEvent.TASK_COMPLETED, "no such event"]
        async with delegate_events(at.runtime, PARENT, kinds=wanted) as told:
            led = await at.runtime.spawn(Leader(before.id), ground.request("[[write:c|d]][[say:y]]", purpose="work"))
            found = await heard(told, led.id)
        mine = [each.event for each in found if each.subagent_id == led.id]
        assert mine == [DelegateEvent.TOOL_STARTED, DelegateEvent.TASK_COMPLETED]
        # Its leader is woken by its end, and may have come to an end of that first.
        others = [each for each in found if each.subagent_id != led.id]
        assert all(each.result is not None and each.result.summary != "x" for each in others)


@pytest.mark.requirement("O08")
async def test_who_is_deleted_while_others_are_told_of_ends_nothing(ground: Ground) -> None:
    async with site(ground) as at:
        first, second, third = [
            await at.runtime.spawn(PARENT, ground.request("[[think:hm]][[say:x]]")) for _ in range(3)
        ]
        for each in (first, second, third):
            await until(at.runtime, each.id, lambda found: found.status is Status.IDLE)
        found = []
        async with asyncio.timeout(BOUND), delegate_events(at.runtime, PARENT, replay=True) as told:
            async for each in told:
                found.append((each.event, each.subagent_id))
                if found[-1] == (DelegateEvent.TASK_THINKING, second.id):
                    await at.runtime.stop(PARENT, second.id)
                    await at.runtime.remove(PARENT, second.id)
                if found[-1] == (DelegateEvent.TASK_COMPLETED, third.id):
                    break
        assert found[0] == (DelegateEvent.TASK_SPAWNED, first.id)
        assert (DelegateEvent.TASK_COMPLETED, second.id) not in found


def event(kind: str, text: str = "", **data: Any) -> EventView:
    return EventView(1, kind, text, "", data=data)


@pytest.mark.requirement("O08")
def test_of_the_tool_calls_of_a_long_task_so_many_are_kept_and_none_after_its_end() -> None:
    relay, told = _Relay(), 0
    for number in range(2 * MAX_TITLES):
        row = event("tool_call", f"call {number}", tool=str(number))
        told += sum(len(tools) for kind, _, tools in relay.take(row) if kind is DelegateEvent.TASK_PROGRESS)
        assert max(len(relay.titles), len(relay.batch)) <= MAX_TITLES
    told += sum(
        len(tools) for kind, _, tools in relay.take(event("task_complete")) if kind is DelegateEvent.TASK_PROGRESS
    )
    assert (told, relay.titles, relay.batch) == (2 * MAX_TITLES, {}, [])
