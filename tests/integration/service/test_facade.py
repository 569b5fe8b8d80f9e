"""Who may do what, and what every verb of the facade answers."""

import asyncio
from contextlib import aclosing, suppress
from dataclasses import replace
from typing import Any, get_type_hints

import pytest
from pydantic import TypeAdapter

from acp_runtime import views
from acp_runtime.callers import OPERATOR
from acp_runtime.clock import ManualClock
from acp_runtime.core.errors import Rejected
from acp_runtime.core.model import Permissions, TaskState
from acp_runtime.core.turns import MAX_NUDGES, Origin
from acp_runtime.service import Runtime
from acp_runtime.views import Outcome, WaitReason
from tests.integration.manager.conftest import BOUND, PARENT, Ground, until
from tests.integration.service.conftest import STRANGER, Bench, done

# ---- who may do what


@pytest.mark.requirement("P13")
async def test_a_foreign_subagent_is_an_unknown_one_to_every_verb(bench: Bench, runtime: Runtime) -> None:
    view = await done(bench, "[[say:x]]")
    verbs: dict[str, dict[str, Any]] = {
        "send": {"text": "x"},
        "cancel": {},
        "answer": {"request": "r", "option": "o"},
        "stop": {},
        "resume": {"text": "x"},
        "remove": {},
        "status": {},
        "events": {},
        "poll": {},
        "transcript": {},
        "work": {},
        "check": {"command": "true", "seconds": 1},
    }
    for name, arguments in verbs.items():
        told = []
        for ident in (view.id, "bg-0000000000"):
            with pytest.raises(Rejected) as caught:
                await getattr(runtime, name)(STRANGER, ident, **arguments)
            told.append((caught.value.kind, str(caught.value).replace(ident, "ID"), caught.value.data))
        assert told[0] == told[1] == ("unknown_subagent", "Unknown background subagent: ID", {}), name
    with pytest.raises(Rejected, match=f"Unknown background subagent: {view.id}"):
        await runtime.find(STRANGER, view.id)
    with pytest.raises(Rejected, match=f"Unknown background subagent: {view.id}"):
        await runtime.wait(STRANGER, [view.id], seconds=0)
    assert await runtime.list_subagents(STRANGER, ended=True) == []
    assert await runtime.nudges(STRANGER) == []
    assert (await runtime.status(PARENT, view.id)).seq == view.seq, "nothing of all this left a trace"


async def test_the_operator_sees_and_does_everything_and_consumes_nothing(bench: Bench, runtime: Runtime) -> None:
    view = await done(bench, "[[say:x]]")
    other = await runtime.spawn(STRANGER, bench.ground.request("[[say:y]]"))
    await runtime.wait(STRANGER, [other.id], seconds=BOUND)
    assert {each.id for each in await runtime.list_subagents(OPERATOR)} == {view.id, other.id}
    before = (await runtime.status(PARENT, view.id)).unread
    page = await runtime.poll(OPERATOR, view.id)
    assert page.rows
    assert (await runtime.status(PARENT, view.id)).unread == before, "the operator's reading marked the parent's log"
    assert {each.parent for each in await runtime.nudges(OPERATOR)} == {PARENT, STRANGER}
    sent = await runtime.send(OPERATOR, view.id, "[[say:z]]")
    await runtime.wait(OPERATOR, [view.id], seconds=BOUND)
    assert sent.outcome is Outcome.DISPATCHED
    stopped = await runtime.stop(OPERATOR, other.id, reason="enough of it")
    assert (stopped.reason, stopped.cause) == ("stopped_by_operator", "enough of it")
    async with runtime.turn(STRANGER) as turn:
        assert "enough of it" in turn.text, "what the operator did is news to the parent"
    async with runtime.turn(PARENT) as turn:
        assert len(turn.nudges) == 2
    for asked in (runtime.begin_turn(OPERATOR, "cli", "1"), anext(runtime.wakeups(OPERATOR))):
        with pytest.raises(Rejected) as caught:
            await asked
        assert caught.value.kind == "no_turns"


async def test_what_the_operator_spawns_has_an_owner(bench: Bench, runtime: Runtime) -> None:
    view = await runtime.spawn(OPERATOR, bench.ground.request("[[say:x]]"))
    assert view.parent == "operator"
    assert [each.id for each in await runtime.list_subagents("operator")] == [view.id]


@pytest.mark.requirement("D10.5")
async def test_no_parent_comes_in_under_the_operators_name(bench: Bench, runtime: Runtime) -> None:
    for asked in (
        runtime.spawn("operator", bench.ground.request("[[say:x]]")),
        runtime.alias(PARENT, "operator"),
        runtime.alias("operator", "other"),
    ):
        with pytest.raises(Rejected, match="'operator' is no name for a parent"):
            await asked
    told = await bench.another("operator").call("list_background_subagents")
    assert (told["success"], told["kind"]) == (False, "invalid")


@pytest.mark.parametrize("nobody", ["", " ", "\u200b\u2060"])
async def test_a_parent_has_a_name_that_can_be_seen(bench: Bench, runtime: Runtime, nobody: str) -> None:
    for asked in (
        runtime.spawn(nobody, bench.ground.request("[[say:x]]")),
        runtime.begin_turn(nobody, "python", "1"),
        runtime.alias(PARENT, nobody),
        runtime.alias(nobody, "other"),
    ):
        with pytest.raises(Rejected, match="the parent has no name") as caught:
            await asked
        assert caught.value.kind == "invalid"
    assert bench.ground.told == []


@pytest.mark.parametrize(("word", "why"), [("", "is blank"), (" ", "is blank"), ("x" * 201, "201 characters long")])
async def test_a_turn_and_its_door_are_called_by_a_word(runtime: Runtime, word: str, why: str) -> None:
    for name, asked in (
        ("door", runtime.begin_turn(PARENT, word, "1")),
        ("turn_id", runtime.begin_turn(PARENT, "python", word)),
    ):
        with pytest.raises(Rejected, match=f"{name} .*{why}") as caught:
            await asked
        assert caught.value.kind == "invalid"


async def test_a_value_that_nothing_is_called_by_is_named_in_short(bench: Bench, runtime: Runtime) -> None:
    spawned = await bench.runtime.spawn(PARENT, bench.ground.request("[[ask:allow_once]]", permissions=Permissions.ASK))
    view = await bench.until(spawned.id, lambda each: bool(each.requests))
    (request,) = view.requests
    long = "\x1b[31m" + "x" * 100_000
    for asked, remedy in (
        (runtime.commit_turn(long), "use the one that begin_turn returned"),
        (runtime.revive(PARENT, long), "only a dead one"),
        (runtime.transcript(PARENT, view.id, task=long), f"has no task '{'x' * 20}"),
        (runtime.nudges(PARENT, state=long), "pending, claimed, committed, superseded, dead"),
        (runtime.answer(PARENT, view.id, long, "opt-0"), f"open: {request.id}"),
        (runtime.answer(PARENT, view.id, request.id, long), 'offered: "opt-0"'),
        (runtime.spawn(PARENT, bench.ground.request("hi", agent=long)), "Known kinds: scripted"),
        (runtime.spawn(PARENT, bench.ground.request("hi", preset=long)), "Available: "),
    ):
        with pytest.raises(Rejected, match=remedy) as caught:
            await asked
        assert "xxx" in str(caught.value)
        assert "\x1b" not in str(caught.value)
        assert len(str(caught.value)) < 200


async def test_a_reason_is_kept_and_told_in_one_line_of_bounded_length(bench: Bench, runtime: Runtime) -> None:
    view = await runtime.spawn(PARENT, bench.ground.request("[[hang-politely]]"))
    await bench.until(view.id, lambda each: each.current_task is not None)
    known, long = {"id": view.id}, "no\nlonger wanted " + "x" * 100_000
    cancelled = await bench.call("stop_background_subagent", **known, scope="task", reason=long)
    stopped = await bench.call("stop_background_subagent", **known, reason=long)
    view = await runtime.status(PARENT, view.id)
    for told in (cancelled["reason"], stopped["reason"], view.newest.cause, view.cause):
        assert (told[:17], len(told), told[-1]) == ("no longer wanted ", 1_000, "…")


@pytest.mark.parametrize("nothing", [" ", "\u200b\u2060\n"])
async def test_a_task_or_a_purpose_in_which_there_is_nothing_to_see_is_refused(
    bench: Bench, runtime: Runtime, nothing: str
) -> None:
    with pytest.raises(Rejected, match="task is required"):
        await runtime.spawn(PARENT, bench.ground.request(nothing))
    with pytest.raises(Rejected, match="purpose is blank"):
        await runtime.spawn(PARENT, bench.ground.request("[[say:x]]", purpose=nothing))
    with pytest.raises(Rejected, match="instructions holds a NUL"):
        await runtime.spawn(PARENT, bench.ground.request("[[say:x]]", instructions="nul\0"))
    assert bench.ground.told == []


async def test_an_alias_of_a_parent_is_the_parent_to_every_verb(bench: Bench, runtime: Runtime) -> None:
    """B14: a host that rotates its session id keeps its subagents."""
    view = await done(bench, "[[say:x]]")
    await runtime.alias(PARENT, "rotated")
    assert (await runtime.status("rotated", view.id)).id == view.id
    assert [each.id for each in await runtime.list_subagents("rotated")] == [view.id]
    assert await runtime.find("rotated", view.name) == view.id
    assert len(await runtime.nudges("rotated")) == 1
    young = await runtime.spawn("rotated", bench.ground.request("[[say:y]]"))
    assert young.parent == PARENT
    await runtime.poll("rotated", view.id)
    assert (await runtime.status(PARENT, view.id)).unread == 0
    async with runtime.turn("rotated") as turn:
        assert view.id in turn.text
    with pytest.raises(Rejected) as caught:
        await runtime.alias(STRANGER, "rotated")
    assert caught.value.kind == "alias_taken"


# ---- finding


async def test_a_word_means_an_id_the_beginning_of_one_or_a_name(bench: Bench, runtime: Runtime) -> None:
    view = await done(bench, "[[say:x]]")
    for wanted in (view.id, view.id[:6], view.id[3:6], "bg", view.name):
        assert await runtime.find(PARENT, wanted) == view.id
    for wanted in ("", "%", "nobody", view.name[:3], f"{view.id}0"):
        with pytest.raises(Rejected) as caught:
            await runtime.find(PARENT, wanted)
        assert caught.value.kind == "unknown_subagent"


async def test_a_word_that_means_several_is_refused_with_the_candidates(bench: Bench, runtime: Runtime) -> None:
    ids = [(await runtime.spawn(PARENT, bench.ground.request(f"[[say:{n}]]"))).id for n in range(2)]
    with pytest.raises(Rejected) as caught:
        await runtime.find(PARENT, "bg-")
    assert caught.value.kind == "ambiguous"
    assert set(caught.value.data["candidates"]) == set(ids)
    assert all(ident in str(caught.value) for ident in ids)


# ---- waiting


async def test_a_wait_sees_what_ended_between_two_calls(bench: Bench, runtime: Runtime) -> None:
    view = await runtime.spawn(PARENT, bench.ground.request("[[say:x]]"))
    first = await runtime.wait(PARENT, [view.id], mode="any_change", seconds=0)
    await until(runtime, view.id, lambda each: each.settled)
    second = await runtime.wait(PARENT, [view.id], mode="any_change", seconds=0, since=first.seq)
    assert second.reason in (WaitReason.ENDED, WaitReason.CHANGE)
    assert second.views[0].newest.state is TaskState.COMPLETED


@pytest.mark.parametrize("count", [0, 101])
async def test_a_wait_is_for_some_but_not_for_any_number(runtime: Runtime, count: int) -> None:
    with pytest.raises(Rejected, match="name 1 to 100 subagents"):
        await runtime.wait(PARENT, ["bg-0000000000"] * count, seconds=0)


async def test_a_subagent_that_is_being_stopped_has_not_ended_for_who_waits(bench: Bench, runtime: Runtime) -> None:
    view = await runtime.spawn(PARENT, bench.ground.request("[[hang-politely]]"))
    await until(runtime, view.id, lambda each: each.current_task is not None)
    waiting = asyncio.create_task(runtime.wait(PARENT, [view.id], seconds=BOUND))
    await runtime.stop(PARENT, view.id)
    waited = await waiting
    assert waited.reason is WaitReason.ENDED
    assert waited.views[0].newest.state is TaskState.CANCELLED


# ---- turns


async def test_a_turn_that_fails_offers_its_nudges_again_and_a_clean_one_does_not(
    bench: Bench, runtime: Runtime
) -> None:
    await done(bench, "[[say:the result]]")
    with suppress(ZeroDivisionError):
        async with runtime.turn(PARENT) as failed:
            raise ZeroDivisionError
    async with runtime.turn(PARENT) as clean:
        assert clean.nudges == failed.nudges
        assert "the result" in clean.text, "B9: a nudge carries what came out"
    async with runtime.turn(PARENT) as after:
        assert after.nudges == ()


async def test_an_idle_parent_is_woken_and_left_in_peace_when_it_only_wakes(bench: Bench, runtime: Runtime) -> None:
    """B26: a completion does not wait for the parent's next turn."""
    async with aclosing(runtime.wakeups(PARENT)) as wakeups:
        for number in range(runtime.config.nudges.wakes):
            waiting = asyncio.create_task(anext(wakeups))
            await done(bench, f"[[say:{number}]]")
            async with asyncio.timeout(BOUND):
                woken = await waiting
            assert len(woken.nudges) == 1
            turn = await runtime.begin_turn(PARENT, "python", f"wake {number}", origin=Origin.WAKE)
            assert set(woken.nudges) <= set(turn.nudges)
            await runtime.commit_turn(turn.token)
        waiting = asyncio.create_task(anext(wakeups))
        view = await done(bench, "[[say:one too many]]")
        await runtime.stop(PARENT, view.id)
        assert not waiting.done(), "a loop of wake-ups must not trap the parent"
        turn = await runtime.begin_turn(PARENT, "python", "its user's")
        assert len(turn.nudges) == 1, "what no wake-up told is told at the next turn"
        await runtime.commit_turn(turn.token)
        await done(bench, "[[say:and again]]")
        async with asyncio.timeout(BOUND):
            assert len((await waiting).nudges) == 1


async def test_who_is_told_more_than_a_turn_can_tell_is_woken_for_the_rest(bench: Bench, runtime: Runtime) -> None:
    view = await done(bench, "[[say:first]]")
    for number in range(MAX_NUDGES + 2):
        await runtime.send(PARENT, view.id, f"[[say:{number}]]")
        await until(runtime, view.id, lambda each: each.settled)
    async with aclosing(runtime.wakeups(PARENT)) as wakeups, asyncio.timeout(BOUND):
        assert len((await anext(wakeups)).nudges) == MAX_NUDGES + 3
        async with runtime.turn(PARENT) as turn:
            assert len(turn.nudges) == MAX_NUDGES
        assert len((await anext(wakeups)).nudges) == 3


async def test_a_claim_that_runs_out_wakes_the_parent_again(ground: Ground) -> None:
    ground.clock = ManualClock(now=1_000)
    async with ground.runtime() as runtime:
        view = await runtime.spawn(PARENT, ground.request("[[say:x]]"))
        await until(runtime, view.id, lambda each: each.settled)
        turn = await runtime.begin_turn(PARENT, "python", "never committed")
        async with aclosing(runtime.wakeups(PARENT)) as wakeups:
            waiting = asyncio.create_task(anext(wakeups))
            # The wake-up looks, and finds everything claimed, before the clock goes on.
            await runtime.nudges(PARENT)
            await runtime.nudges(PARENT)
            ground.clock.advance(round(runtime.config.nudges.claim * 1000))
            async with asyncio.timeout(BOUND):
                assert (await waiting).nudges == turn.nudges


# ---- reading


async def test_a_transcript_is_of_one_task_or_of_all_with_whole_messages(bench: Bench, runtime: Runtime) -> None:
    view = await done(bench, "[[say:one ]][[say:two]][[write:file.txt|text]][[say:three]]")
    await runtime.send(PARENT, view.id, "[[say:second task]]")
    await runtime.wait(PARENT, [view.id], seconds=BOUND)
    first = await runtime.transcript(PARENT, view.id, task=f"{view.id}.t1")
    told = [(each.kind, each.text) for each in first.entries if "message" in each.kind or "tool" in each.kind]
    assert told == [
        ("agent_message_chunk", "one two"),
        ("tool_call", "write file.txt"),
        ("agent_message_chunk", "three"),
    ]
    (tool,) = (each for each in first.entries if each.kind == "tool_call")
    assert (tool.data["status"], tool.data["detail"]) == ("completed", "wrote 4 characters")
    every = await runtime.transcript(PARENT, view.id)
    assert len(every.entries) > len(first.entries)
    assert every.cut is False


async def test_a_page_is_as_long_as_asked_for_and_the_next_goes_on(bench: Bench, runtime: Runtime) -> None:
    view = await done(bench, "[[write:a|a]][[write:b|b]][[say:x]]")
    whole = await runtime.poll(OPERATOR, view.id, since=0)
    kinds, since, left = [], 0, 1
    while left:
        page = await runtime.poll(OPERATOR, view.id, since=since, limit=3)
        kinds += [each.kind for each in page.rows]
        since, left = page.next_seq, page.unread
    assert kinds == [each.kind for each in whole.rows]
    assert (whole.unread, whole.expired) == (0, False)


async def test_every_view_crosses_a_socket_and_comes_back_equal(bench: Bench, runtime: Runtime) -> None:
    request = bench.ground.request("[[ask:allow_once,reject_once]]", permissions=Permissions.ASK, keep=True)
    view = await runtime.spawn(PARENT, request)
    view = await until(runtime, view.id, lambda each: bool(each.requests))
    await runtime.answer(PARENT, view.id, view.requests[0].id, "opt-0")
    waited = await runtime.wait(PARENT, [view.id], seconds=BOUND)
    sent = await runtime.send(PARENT, view.id, "[[say:x]]")
    for value in (
        view,
        waited,
        sent,
        await runtime.poll(OPERATOR, view.id),
        await runtime.transcript(PARENT, view.id),
        await runtime.nudges(OPERATOR),
        await runtime.stop(PARENT, view.id),
    ):
        adapter: TypeAdapter[Any] = TypeAdapter(list[views.NudgeView] if isinstance(value, list) else type(value))
        assert adapter.validate_json(adapter.dump_json(value)) == value
    for name in (
        "SubagentView",
        "Waited",
        "Sent",
        "Page",
        "Transcript",
        "Hit",
        "Pruned",
        "Disk",
        "UsageView",
        "Wakeup",
    ):
        assert get_type_hints(getattr(views, name)), name


async def test_a_view_shows_when_the_subagent_will_be_stopped(ground: Ground) -> None:
    ground.clock = ManualClock()
    async with ground.runtime() as runtime:
        limits = replace(runtime.config.limits, idle=900.0, lifetime=7200.0)
        view = await runtime.spawn(PARENT, ground.request("[[say:x]]", limits=limits))
        assert (view.idle_timeout_at, view.max_lifetime_at) == (None, "2026-01-01T02:00:00.000Z")
        view = await until(runtime, view.id, lambda each: each.settled)
        assert view.idle_timeout_at == "2026-01-01T00:15:00.000Z"
        view = await runtime.stop(PARENT, view.id)
        assert (view.idle_timeout_at, view.max_lifetime_at) == (None, None)
