"""One facade, four ways to it: in process, over the daemon, and both without await. What holds of one holds of all."""

import asyncio
import inspect
import sqlite3
from collections.abc import AsyncIterator
from contextlib import aclosing, closing, suppress
from typing import Any

import pytest

from acp_runtime.api.daemon import STORE
from acp_runtime.api.methods import EXPOSED
from acp_runtime.callers import OPERATOR
from acp_runtime.client import RemoteRuntime
from acp_runtime.core.errors import Rejected
from acp_runtime.core.model import Permissions, TaskState
from acp_runtime.core.status import Status
from acp_runtime.manager.launcher import LaunchError
from acp_runtime.service import Runtime
from acp_runtime.sync import SyncRuntime
from tests.integration.api.conftest import BOUND, PARENT, WAYS, Site

ASYNC_ONLY = {"open", "connect", "events", "config", "ownership", "renew_lease"}


@pytest.fixture(params=WAYS)
async def facade(request: pytest.FixtureRequest, site: Site) -> AsyncIterator[Any]:
    async with getattr(site, request.param)() as facade:
        yield facade


@pytest.mark.parametrize("other", [RemoteRuntime, SyncRuntime])
def test_every_method_of_the_facade_is_there_with_the_same_arguments(other: type) -> None:
    for name, method in inspect.getmembers(Runtime):
        if name.startswith("_") or name in ASYNC_ONLY:
            continue
        found = getattr(other, name)
        if not isinstance(method, property):
            assert inspect.signature(found).parameters == inspect.signature(method).parameters, name


def test_what_the_daemon_exposes_is_the_facade() -> None:
    public = {name for name, _ in inspect.getmembers(Runtime, inspect.isfunction) if not name.startswith("_")}
    assert set(EXPOSED) == public - ASYNC_ONLY - {"turn", "wakeups", "changed"}


async def test_the_life_of_a_subagent_is_told_the_same_way(facade: Any, site: Site) -> None:
    view = await facade.spawn(PARENT, site.request("[[write:new.txt|\u00e9\u2713]][[say:I am done.]]", purpose="sheep"))
    assert view.parent == PARENT
    waited = await facade.wait(PARENT, (view.id,), seconds=BOUND)
    assert (waited.reason, waited.views[0].newest.result) == ("ended", "I am done.")
    assert waited.views[0] == await facade.status(PARENT, view.id)
    assert [each.id for each in await facade.list_subagents(OPERATOR)] == [view.id]
    assert await facade.find(PARENT, view.name) == view.id

    async with facade.turn(PARENT) as turn:
        assert "I am done." in turn.text
    unread = await facade.poll(PARENT, view.id)
    assert unread.rows
    assert unread == await facade.poll(PARENT, view.id, since=0)
    assert (await facade.poll(PARENT, view.id)).rows == ()
    assert any(each.text == "I am done." for each in (await facade.transcript(PARENT, view.id)).entries)

    checked = await facade.check(PARENT, view.id, "cat new.txt; exit 3", seconds=BOUND)
    assert (checked.exit_code, checked.output) == (3, "\u00e9\u2713")
    ended = await facade.stop(PARENT, view.id, finished=True)
    assert ended.status is Status.COMPLETED
    assert ended == await facade.stop(PARENT, view.id)
    work = await facade.work(PARENT, view.id)
    assert (work.files, work.insertions) == (1, 1)
    assert b"new.txt" in work.patch
    assert [each.state for each in await facade.nudges(PARENT)] == ["committed"]


@pytest.mark.requirement("B26")
async def test_a_question_is_answered_and_a_parent_is_woken(facade: Any, site: Site) -> None:
    task = "[[ask:allow_once,reject_once]]"
    view = await facade.spawn(PARENT, site.request(task, permissions=Permissions.ASK))
    waited = await facade.wait(PARENT, (view.id,), seconds=BOUND)
    assert waited.reason == "question"
    asked = waited.views[0].requests[0]
    assert [(each.id, each.kind) for each in asked.options] == [("opt-0", "allow_once"), ("opt-1", "reject_once")]
    async with asyncio.timeout(BOUND), aclosing(facade.wakeups(PARENT)) as wakeups:
        first = await anext(wakeups)
    with pytest.raises(Rejected) as refused:
        await facade.answer(PARENT, view.id, asked.id, "opt-7")
    assert refused.value.kind == "option_unknown"
    await facade.answer(PARENT, view.id, asked.id, "opt-1")
    await facade.wait(PARENT, (view.id,), seconds=BOUND)
    sent = await facade.send(PARENT, view.id, "[[hang-politely]]")
    assert sent.outcome == "dispatched"
    assert (await facade.send(PARENT, view.id, "[[say:later]]")).outcome == "queued"
    after = await facade.cancel(PARENT, view.id)
    waited = await facade.wait(PARENT, (view.id,), seconds=BOUND)
    assert [each.state for each in waited.views[0].tasks[1:]] == [TaskState.CANCELLED, TaskState.COMPLETED]
    assert after.id == view.id
    with suppress(ZeroDivisionError):
        async with facade.turn(PARENT) as turn:
            raise ZeroDivisionError
    async with facade.turn(PARENT) as again:
        assert again.nudges == turn.nudges
        assert again.nudges
    assert set(first.nudges) & {each.id for each in await facade.nudges(PARENT)}


async def test_what_is_refused_is_refused_in_the_same_words(facade: Any, site: Site) -> None:
    told = []
    for asked in (
        facade.status(PARENT, "bg-none"),
        facade.send(PARENT, "bg-none", "x"),
        facade.spawn(PARENT, site.request("x", agent="nobody")),
        facade.vet(PARENT, site.request("x", agent="nobody")),
        facade.spawn(PARENT, site.request(" ")),
        facade.spawn(PARENT, site.request("x", workspace=site.root / "none")),
        facade.find(PARENT, ""),
        facade.commit_turn("none"),
        facade.begin_turn(OPERATOR, "python", "t"),
    ):
        with pytest.raises(Rejected) as refused:
            await asked
        told.append((refused.value.kind, str(refused.value), refused.value.data))
    assert told[0] == ("unknown_subagent", "Unknown background subagent: bg-none", {})
    assert [kind for kind, _, _ in told] == [
        "unknown_subagent", "unknown_subagent", "unknown_agent", "unknown_agent", "invalid", "invalid",
        "unknown_subagent", "unknown_turn", "no_turns",
    ]  # fmt: skip
    assert all(sentence for _, sentence, _ in told)


@pytest.mark.requirement("P16")
async def test_a_turn_that_cannot_be_stored_is_the_parents_turn_all_the_same(facade: Any, site: Site) -> None:
    view = await facade.spawn(PARENT, site.request("[[say:told late]]"))
    await facade.wait(PARENT, (view.id,), seconds=BOUND)
    with closing(sqlite3.connect(site.config.state_dir / STORE, isolation_level=None)) as store:
        for kind in ("turn_begun", "turn_committed"):
            name = f"CREATE TRIGGER {kind} BEFORE INSERT ON event WHEN new.kind = '{kind}'"
            store.execute(f"{name} BEGIN SELECT raise(ABORT, 'full'); END")
        async with facade.turn(PARENT) as turn:
            assert (turn.text, turn.nudges) == ("", ())
        store.execute("DROP TRIGGER turn_begun")
        async with facade.turn(PARENT) as turn:
            assert "told late" in turn.text
        store.execute("DROP TRIGGER turn_committed")
    async with facade.turn(PARENT) as turn:
        assert "told late" in turn.text, "what was not acknowledged is shown again"
    async with facade.turn(PARENT) as turn:
        assert turn.nudges == ()


async def test_a_parent_without_a_name_or_with_an_endless_one_is_refused_in_our_words(facade: Any, site: Site) -> None:
    for parent in ("", " ", "\u200b", "x" * 1_001):
        for asked in (facade.spawn(parent, site.request("x")), facade.begin_turn(parent, "python", "t")):
            with pytest.raises(Rejected, match=r"^the parent('s name is 1001 characters long| has no name)") as refused:
                await asked
            assert refused.value.kind == "invalid"


WRONG_NUMBERS = (
    ("poll", {"subagent": "bg-none", "since": 10**30}, "since is 1000000000000000000000000000000; it must be a cursor"),
    ("poll", {"subagent": "bg-none", "since": -1}, "since is -1; it must be a cursor"),
    ("wait", {"subagents": ("bg-none",), "seconds": 0, "since": 10**30}, "since is 1000000000000000000000000000000"),
    ("wait", {"subagents": ("bg-none",), "seconds": float("nan")}, "seconds is nan; it must be"),
    ("wait", {"subagents": ("bg-none",), "seconds": -1.0}, "seconds is -1; it must be"),
    ("wait", {"subagents": ("bg-none",), "seconds": 1e300}, "seconds is 1e\\+300; it must be"),
    ("prune", {"older_than": float("inf")}, "older_than is inf; it must be a number of seconds"),
    ("prune", {"older_than": 1e15}, "older_than is 1e\\+15; it must be a number of seconds"),
)


async def test_a_number_that_nothing_can_be_done_with_is_refused_by_name(facade: Any, site: Site) -> None:
    for name, arguments, words in WRONG_NUMBERS:
        with pytest.raises(Rejected, match=words) as refused:
            await getattr(facade, name)(PARENT, **arguments)
        assert refused.value.kind == "invalid", name
    for longest in (-1.0, 0.0, float("nan"), float("inf"), 1e300):
        with pytest.raises(Rejected, match="max_duration is") as refused:
            await facade.spawn(PARENT, site.request("x", max_duration=longest))
        assert refused.value.kind == "invalid", longest
    assert await facade.nudges(OPERATOR, limit=10**30) == []
    assert await facade.search(PARENT, "x", limit=10**30) == []


async def test_half_a_character_is_told_in_our_words(facade: Any, site: Site) -> None:
    """In process it is stored as a question mark; a socket carries no such text."""
    with suppress(Rejected):
        view = await facade.spawn(PARENT, site.request("[[say:half \udc80]]"))
        waited = await facade.wait(PARENT, (view.id,), seconds=BOUND)
        assert waited.views[0].newest.result == "half ?"
        return
    with pytest.raises(Rejected, match="spawn: a text holds a lone surrogate"):
        await facade.spawn(PARENT, site.request("\udc80"))


async def test_a_check_that_cannot_run_is_the_sandboxes_error(facade: Any, site: Site) -> None:
    view = await facade.spawn(PARENT, site.request("[[say:hi]]"))
    await facade.wait(PARENT, (view.id,), seconds=BOUND)
    with pytest.raises((LaunchError, Rejected)) as failed:
        await facade.check(PARENT, view.id, "sleep 60", seconds=0.2)
    assert failed.value.kind


async def test_what_is_asked_after_the_block_is_refused_by_name(site: Site) -> None:
    async with site.sync_in_process() as runtime:
        assert await runtime.list_subagents(PARENT) == []
    with pytest.raises(Rejected, match="the block of this SyncRuntime was left") as refused:
        await runtime.list_subagents(PARENT)
    assert refused.value.kind == "closing"
