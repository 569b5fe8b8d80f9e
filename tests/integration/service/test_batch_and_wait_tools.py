"""Several at once: spawns in one call, and the tool that waits for any of them."""

import asyncio
import sqlite3
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest

from acp_runtime.core.errors import Rejected
from tests.integration.manager.conftest import PARENT
from tests.integration.service.conftest import Bench, refused, working


async def test_several_are_started_in_one_call_each_with_its_own_settings(bench: Bench) -> None:
    more = [{"purpose": f"p{n}", "initial_task": f"[[say:{n}]]", "cwd": "/workspace"} for n in range(2)]
    bench.ground.kinds["other"] = replace(bench.ground.kinds["scripted"], name="other")
    told = await bench.spawn("[[say:first]]", tasks=[*more, {**more[0], "agent_kind": "other"}])
    assert told["success"] is True
    assert [(each["purpose"], each["agent_kind"]) for each in told["subagents"]] == [
        ("a test", "scripted"), ("p0", "scripted"), ("p1", "scripted"), ("p0", "other"),
    ]  # fmt: skip
    results = [(await bench.done(each["id"]))["result"]["text"] for each in told["subagents"]]
    assert results == ["first", "0", "1", "0"]


@pytest.mark.parametrize(
    ("wrong", "kind", "words"),
    [
        ({"cwd": "/etc"}, "invalid", "outside the workspace"),
        ({"cwd": "/workspace/absent"}, "invalid", "is no folder of the workspace"),
        ({"agent_kind": "nobody"}, "unknown_agent", "agent kind: nobody"),
        ({"preset": "nothing"}, "unknown_preset", "nothing"),
        ({"initial_task": "nul\0"}, "invalid", "initial_task holds a NUL"),
        ({"model": "big"}, "override_refused", "model cannot be set"),
    ],
)
async def test_one_mistake_in_a_batch_starts_none_of_it_and_is_told_by_its_place(
    bench: Bench, wrong: dict[str, str], kind: str, words: str
) -> None:
    good = {"purpose": "p", "initial_task": "[[say:x]]", "cwd": "/workspace"}
    sentence = refused(await bench.spawn("[[say:x]]", tasks=[good, {**good, **wrong}]), kind)
    assert sentence.startswith("tasks.1: ")
    assert words in sentence
    assert bench.ground.told == []
    assert await bench.runtime.list_subagents(PARENT, ended=True) == []


async def test_one_of_a_batch_that_cannot_be_stored_hides_none_of_the_others(bench: Bench) -> None:
    more = [{"purpose": f"p{n}", "initial_task": "[[say:x]]", "cwd": "/workspace"} for n in range(2)]
    when = "CREATE TRIGGER full BEFORE INSERT ON subagent WHEN new.purpose = 'p0'"
    with closing(sqlite3.connect(bench.ground.path)) as connection:
        connection.execute(f"{when} BEGIN SELECT raise(ABORT, 'full'); END")
    told = await bench.spawn("[[say:x]]", tasks=more)
    first, second, third = told["subagents"]
    assert (told["success"], second["success"]) == (False, False)
    assert "full" in refused(second, "store_conflict")
    listed = [view.id for view in await bench.runtime.list_subagents(PARENT)]
    assert {first["id"], third["id"]} == set(listed)


async def test_a_start_that_cannot_be_watched_is_told_with_its_id(bench: Bench) -> None:
    """A daemon that is replaced between the two: what was started must not be lost from sight."""

    class Replaced:
        def __getattr__(self, name: str) -> Any:
            return getattr(bench.runtime, name)

        async def wait(self, *_values: Any, **_named: Any) -> Any:
            raise Rejected("closing", "the daemon is being closed")

    bench.ground.starts = asyncio.Event()
    bench.changes["runtime"] = Replaced()
    told = await bench.spawn("[[say:x]]")
    assert (told["success"], told["status"]) == (True, "starting")
    assert [view.id for view in await bench.runtime.list_subagents(PARENT)] == [told["id"]]
    bench.ground.starts.set()


async def test_a_wait_returns_at_the_first_end_at_all_ends_and_at_a_question(bench: Bench) -> None:
    slow, quick = await working(bench, "slow"), await bench.spawn("[[say:quick]]")
    ids = [slow["id"], quick["id"]]
    waited = await bench.call("wait_background_subagents", ids=ids, mode="first")
    assert waited["reason"] == "ended"
    assert [each.get("result", {}).get("text") for each in waited["subagents"]] == [None, "quick"]
    waited = await bench.call("wait_background_subagents", ids=ids, mode="all", timeout=0)
    assert waited["reason"] == "timeout"
    waiting = asyncio.create_task(bench.call("wait_background_subagents", mode="all"))
    bench.say_go("slow")
    waited = await waiting
    assert (waited["reason"], [each["id"] for each in waited["subagents"]]) == ("ended", [slow["id"]])
    assert all("success" not in each for each in waited["subagents"])


async def test_a_wait_for_any_change_misses_nothing_between_two_calls(bench: Bench) -> None:
    told = await working(bench)
    now = await bench.call("wait_background_subagents", ids=[told["id"]], mode="any_change", timeout=0)
    assert now["reason"] == "timeout"
    await bench.call("send_background_subagent", id=told["id"], message="[[say:x]]")
    then = await bench.call("wait_background_subagents", ids=[told["id"]], mode="any_change", since_seq=now["next_seq"])
    assert then["reason"] == "change"
    late = await bench.call(
        "wait_background_subagents", ids=[told["id"]], mode="any_change", since_seq=then["next_seq"], timeout=0
    )
    assert late["reason"] == "timeout"
    bench.say_go()


async def test_a_tool_waits_no_longer_than_its_door_allows(bench: Bench) -> None:
    assert bench.desk.bounded(300) < 45
    bench.changes["longest_wait"] = 0.01
    told = await working(bench)
    waited = await bench.call("wait_background_subagents", ids=[told["id"]], timeout=10_000)
    assert waited["reason"] == "timeout"
    bench.say_go()


async def test_waiting_for_nobody_is_told_at_once(bench: Bench) -> None:
    for _ in range(2):
        waited = await bench.call("wait_background_subagents")
        assert (waited["subagents"], waited["note"]) == ([], "None of your subagents works on a task.")
        await bench.done((await bench.spawn("[[say:idle now]]"))["id"])


async def test_a_wait_for_all_that_work_is_not_ended_by_one_that_has_nothing_to_do(bench: Bench) -> None:
    idle = await bench.spawn("[[say:x]]")
    await bench.done(idle["id"])
    busy = await working(bench)
    waited = await bench.call("wait_background_subagents", timeout=0)
    assert (waited["reason"], [each["id"] for each in waited["subagents"]]) == ("timeout", [busy["id"]])
    waiting = asyncio.create_task(bench.call("wait_background_subagents"))
    bench.say_go()
    assert (await waiting)["reason"] == "ended"


async def test_a_wait_that_goes_on_from_a_cursor_returns_for_each_end_once(bench: Bench) -> None:
    files = ("one", "two", "three")
    ids = [(await working(bench, file))["id"] for file in files]
    since, seen = 0, []
    for file in files:
        bench.say_go(file)
        waited = await bench.call("wait_background_subagents", since_seq=since)
        assert waited["reason"] == "ended"
        seen.append({each["id"] for each in waited["subagents"] if each.get("done")})
        since = waited["next_seq"]
        if file != files[-1]:
            still = await bench.call("wait_background_subagents", ids=ids, since_seq=since, timeout=0)
            assert still["reason"] == "timeout", "what was returned for counts no more"
    assert [ident in ended for ident, ended in zip(ids, seen, strict=True)] == [True, True, True]


async def test_an_end_between_two_waits_for_all_that_work_is_not_missed(bench: Bench) -> None:
    stays, ends = await working(bench, "stays"), await working(bench, "ends")
    now = await bench.call("wait_background_subagents", timeout=0)
    await bench.call("stop_background_subagent", id=ends["id"])
    then = await bench.call("wait_background_subagents", since_seq=now["next_seq"], timeout=0)
    assert (then["reason"], {each["id"] for each in then["subagents"]}) == ("ended", {stays["id"], ends["id"]})
    bench.say_go("stays")
