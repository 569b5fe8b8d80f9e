"""The eight tools of the default set, as a model's host calls them: real manager, real processes, every answer JSON."""

import asyncio
import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest

from acp_runtime.callers import OPERATOR
from acp_runtime.core.errors import Rejected
from acp_runtime.core.model import Permissions
from acp_runtime.core.status import Status
from acp_runtime.service import Runtime, SpawnRequest
from acp_runtime.session.catalogue import AgentKind
from tests.integration.manager.conftest import PARENT, Ground
from tests.integration.service.conftest import Bench

SUMMARY = {
    "id", "name", "status", "purpose", "cwd", "agent_kind", "unread_count", "current_task", "started_at",
    "last_activity_at", "idle_timeout_at", "max_lifetime_at", "container_id", "acp_process_pid", "acp_session_id",
    "terminal_reason",
}  # fmt: skip


async def working(bench: Bench, file: str = "go", **more: Any) -> dict[str, Any]:
    """Spawn one that works until `say_go(file)`."""
    told = await bench.spawn(f"[[wait:{bench.file(file)}]][[say:{file} done]]", **more)
    await bench.until(told["id"], lambda view: view.status is Status.RUNNING and view.current_task is not None)
    return told


def refused(answer: dict[str, Any], kind: str) -> str:
    """Return the sentence of a refusal of this kind."""
    assert (answer["success"], answer["kind"]) == (False, kind), answer
    return str(answer["error"])


@pytest.mark.requirement("P02")
async def test_a_spawn_returns_when_the_session_is_open_with_all_the_fields(bench: Bench) -> None:
    told = await working(bench, purpose="count sheep")
    assert {**told, "initial_dispatch": None} == {
        "success": True,
        "id": told["id"],
        "name": told["name"],
        "status": "running",
        "purpose": "count sheep",
        "cwd": "/workspace",
        "agent_kind": "scripted",
        "container_id": None,
        "acp_session_id": told["acp_session_id"],
        "initial_dispatch": None,
    }
    assert told["acp_session_id"].startswith("scripted-")
    dispatch = told["initial_dispatch"]
    assert dispatch == {
        "success": True, "id": told["id"], "name": told["name"], "status": "running", "queued": False,
        "queued_messages": 0,
    }  # fmt: skip
    bench.say_go()


@pytest.mark.requirement("P02")
async def test_a_slow_start_is_told_as_starting_instead_of_holding_the_model_up(bench: Bench) -> None:
    bench.ground.starts = asyncio.Event()
    bench.changes["start_wait"] = 0.05
    told = await bench.spawn("[[say:hello]]")
    assert (told["status"], told["acp_session_id"]) == ("starting", None)
    assert told["initial_dispatch"]["queued"] is True
    bench.ground.starts.set()
    assert (await bench.done(told["id"]))["result"]["text"] == "hello"


@pytest.mark.requirement("P03")
@pytest.mark.parametrize("name", ["purpose", "initial_task", "cwd"])
@pytest.mark.parametrize("value", [None, "", "  \n", "\u200b\u2060 \ufeff"])
async def test_what_is_missing_or_blank_is_named_and_nothing_is_started(
    bench: Bench, name: str, value: str | None
) -> None:
    given = {"purpose": "x", "initial_task": "[[say:x]]", "cwd": "/workspace", name: value}
    if value is None:
        del given[name]
    assert refused(await bench.call("spawn_background_subagent", **given), "invalid") == f"{name} is required."
    assert bench.ground.told == []


@pytest.mark.requirement("P03")
async def test_a_blank_message_is_refused_and_the_agent_goes_on(bench: Bench) -> None:
    told = await working(bench)
    assert refused(await bench.call("send_background_subagent", id=told["id"], message=" "), "invalid") == (
        "message is required."
    )
    bench.say_go()
    assert (await bench.done(told["id"]))["result"]["text"] == "go done"


@pytest.mark.requirement("P03")
async def test_a_folder_outside_of_the_workspace_is_refused_and_one_below_it_is_the_agents(bench: Bench) -> None:
    for cwd, words in (
        ("src", "is relative; name the folder inside the container, such as /workspace/src"),
        ("../up", "is relative"),
        ("/etc", "is outside the workspace"),
        ("/workspace/../etc", "is outside the workspace"),
        ("/workspace/absent", "is no folder of the workspace"),
        ("/workspace/a\0b", "cwd holds a NUL character at position 12; remove it"),
    ):
        assert words in refused(await bench.spawn("[[say:x]]", cwd=cwd), "invalid")
    (bench.file("real")).mkdir()
    (bench.file("link")).symlink_to("/")
    assert "is no folder of the workspace" in refused(await bench.spawn("[[say:x]]", cwd="/workspace/link"), "invalid")
    assert bench.ground.told == []
    for named in ("/workspace/real", str(bench.file("real"))):
        told = await bench.spawn("[[say:x]]", cwd=named)
        assert told["cwd"] == "/workspace/real"


@pytest.mark.requirement("P04")
async def test_an_agent_kind_is_what_is_configured_and_a_start_that_fails_says_why(bench: Bench) -> None:
    sentence = refused(await bench.spawn("x", agent_kind="nobody"), "unknown_agent")
    assert sentence.startswith("Unknown background_subagents agent kind: nobody")
    assert "scripted" in sentence
    assert "should be a valid string" in refused(await bench.spawn("x", agent_kind=["a"]), "invalid")
    assert bench.ground.told == []


@pytest.mark.requirement("P21")
async def test_a_start_that_fails_is_an_error_with_its_cause(bench: Bench) -> None:
    kinds = bench.ground.kinds
    kinds["broken"] = AgentKind("broken", (*kinds["scripted"].argv, "--initialize-error"))
    told = await bench.spawn("x", agent_kind="broken")
    assert refused(told, told["kind"]).startswith("Failed to start background ACP subagent: ")
    assert "initialize fails as told" in told["error"]
    assert await bench.runtime.list_subagents(PARENT) == []


@pytest.mark.requirement("P05")
async def test_disabled_tools_are_not_shown_and_spawn_nothing(ground: Ground) -> None:
    async with ground.runtime() as opened:
        config = opened.config
    for change, name in (
        ({"enabled": False}, "Background ACP subagents are disabled in config."),
        ({"one_shot": replace(config.one_shot, enabled=False)}, "One-shot subagents are disabled in config"),
    ):
        async with Runtime.open(ground.path, launcher=ground, config=replace(config, **change)) as runtime:
            bench = Bench(ground, runtime, changes={"enabled": runtime.config.enabled})
            assert bool(bench.tools.schemas()) == runtime.config.enabled
            assert refused(await bench.spawn("x", one_shot=True), "disabled").startswith(name)
            assert refused(await bench.call("delegate_task_async", goal="x"), "disabled").startswith(name)
    assert "launch" not in ground.told


@pytest.mark.requirement("P07")
async def test_the_list_holds_the_open_ones_of_the_caller_in_order_with_every_field(bench: Bench) -> None:
    first = await working(bench, purpose="one")
    second = await bench.spawn("[[say:x]]", purpose="two")
    third = await bench.spawn("[[say:x]]", purpose="three")
    await bench.another("somebody else").spawn("[[say:x]]")
    await bench.call("stop_background_subagent", id=third["id"])
    told = await bench.call("list_background_subagents")
    assert [(each["id"], each["purpose"]) for each in told["subagents"]] == [
        (first["id"], "one"),
        (second["id"], "two"),
    ]
    assert all(set(each) == SUMMARY for each in told["subagents"])
    assert told["subagents"][0]["current_task"].startswith("[[wait:")
    bench.say_go()


@pytest.mark.requirement("P08")
async def test_messages_to_a_busy_agent_queue_and_are_done_in_order(bench: Bench) -> None:
    told = await working(bench)
    sent = [await bench.call("send_background_subagent", id=told["id"], message=f"[[say:{n}]]") for n in range(3)]
    assert [(each["queued"], each["queued_messages"]) for each in sent] == [(True, 1), (True, 2), (True, 3)]
    assert sent[2]["note"].endswith("works on it after 3 other task(s).")
    bench.say_go()
    await bench.done(told["id"])
    page = await bench.call("poll_background_subagent", id=told["id"], since_seq=0)
    assert [each["text"] for each in page["events"] if each["kind"] == "agent_message_chunk"] == [
        "go done", "0", "1", "2",
    ]  # fmt: skip
    sent = [await bench.call("send_background_subagent", id=told["id"], message="[[say:idle]]")]
    assert (sent[0]["queued"], sent[0]["outcome"]) == (False, "dispatched")


@pytest.mark.requirement("P09")
async def test_a_message_to_an_ended_agent_is_refused_by_name_and_names_the_way_on(bench: Bench) -> None:
    told = await bench.spawn("[[say:x]]")
    await bench.call("stop_background_subagent", id=told["id"])
    for mode in ("queue", "steer"):
        answer = await bench.call("send_background_subagent", id=told["id"], message="more", mode=mode)
        sentence = refused(answer, "not_running")
        assert sentence.startswith(f"Background subagent {told['name']} is no longer running.")
        assert f"subagents resume {told['id']}" in sentence
        assert (answer["id"], answer["name"]) == (told["id"], told["name"])


@pytest.mark.requirement("P10")
async def test_a_poll_marks_what_it_returns_as_read_and_a_cursor_replays(bench: Bench) -> None:
    """Also B22: a cursor of 0 is a cursor."""
    told = await bench.spawn("[[say:hello]]")
    await bench.done(told["id"])
    first = await bench.call("poll_background_subagent", id=told["id"])
    assert [each["kind"] for each in first["events"]] == [
        "session_opened", "task_dispatched", "agent_message_chunk", "task_complete",
    ]  # fmt: skip
    seqs = [each["seq"] for each in first["events"]]
    assert seqs == sorted(set(seqs))
    assert first["unread_count"] == 0
    assert first["events"][-1]["text"] == "Latest task finished (end_turn)."
    again = await bench.call("poll_background_subagent", id=told["id"])
    assert again["events"] == []
    assert again["result"]["text"] == "hello", "a poll that has nothing new still tells the result"
    replay = await bench.call("poll_background_subagent", id=told["id"], since_seq=0)
    assert replay["events"] == first["events"]
    after = await bench.call("poll_background_subagent", id=told["id"], since_seq=seqs[1])
    assert [each["seq"] for each in after["events"]] == seqs[2:]
    await bench.call("send_background_subagent", id=told["id"], message="[[say:more]]")
    await bench.done(told["id"])
    await bench.call("poll_background_subagent", id=told["id"], since_seq=0)
    unread = await bench.call("poll_background_subagent", id=told["id"])
    assert [each["text"] for each in unread["events"] if each["kind"] == "agent_message_chunk"] == ["more"]


@pytest.mark.requirement("P10")
async def test_a_poll_that_ends_it_all_has_the_result_when_its_page_does_not_show_it(bench: Bench) -> None:
    told = await bench.spawn("[[say:the result]]")
    await bench.done(told["id"])
    page = await bench.call("poll_background_subagent", id=told["id"])
    assert (page["done"], "result" in page) == (True, False), "what this page says is not said twice"
    await bench.call("stop_background_subagent", id=told["id"])
    page = await bench.call("poll_background_subagent", id=told["id"])
    assert [each["kind"] for each in page["events"]] == ["stopping", "stopped"]
    assert (page["done"], page["result"]["text"]) == (True, "the result")


@pytest.mark.requirement("P10")
async def test_a_poll_that_shows_only_the_end_of_a_message_has_the_whole_result(bench: Bench) -> None:
    told = await bench.spawn(f"[[say:begun ]][[wait:{bench.file('go')}]][[say:done]]")
    said: list[str] = []
    while not said:
        tick = bench.runtime.tick
        page = await bench.call("poll_background_subagent", id=told["id"])
        said = [each["text"] for each in page["events"] if each["kind"] == "agent_message_chunk"]
        if not said:
            await bench.runtime.changed(tick)
    bench.say_go()
    await bench.done(told["id"])
    page = await bench.call("poll_background_subagent", id=told["id"])
    assert page["result"]["text"] == "begun done"


@pytest.mark.requirement("P10")
async def test_a_failure_without_a_word_is_a_result_too(bench: Bench) -> None:
    told = await bench.spawn("[[error:-32000|model says no]]")
    await bench.done(told["id"])
    await bench.call("poll_background_subagent", id=told["id"])
    await bench.call("stop_background_subagent", id=told["id"])
    page = await bench.call("poll_background_subagent", id=told["id"])
    assert (page["result"]["outcome"], "model says no" in page["result"]["cause"]) == ("failed", True)


@pytest.mark.requirement("P10")
async def test_what_a_poll_costs_is_about_what_the_agent_said(bench: Bench) -> None:
    """B9: the original took 40 bytes for each byte of text."""
    told = await bench.spawn("[[updates:1500]]")
    await bench.done(told["id"])
    page = await bench.call("poll_background_subagent", id=told["id"])
    text = "".join(each["text"] for each in page["events"] if each["kind"] == "agent_message_chunk")
    assert text == "".join(f"{n}\n" for n in range(1500))
    assert page["unread_count"] == 0
    assert len(json.dumps(page, ensure_ascii=False)) - text.count("\n") <= 1.3 * len(text)


@pytest.mark.requirement("P11")
async def test_the_status_tells_liveness_deadlines_the_queue_and_the_last_error(bench: Bench) -> None:
    told = await working(bench)
    await bench.call("send_background_subagent", id=told["id"], message="[[error:-32000|model says no]]")
    found = await bench.call("get_background_subagent_status", id=told["id"])
    assert set(found) > SUMMARY
    assert (found["transport_alive"], found["queued_messages"]) == (True, 1)
    assert "last_error" not in found
    assert "done" not in found
    bench.say_go()
    found = await bench.done(told["id"])
    assert "model says no" in found["last_error"]
    assert found["status"] == "idle", "an error of a prompt costs the task, not the agent"
    await bench.call("stop_background_subagent", id=told["id"], reason="enough")
    found = await bench.call("get_background_subagent_status", id=told["id"])
    assert (found["transport_alive"], found["terminal_reason"]) == (False, "enough")


async def test_a_terminal_answer_carries_the_result_in_pages_and_says_that_polling_is_over(bench: Bench) -> None:
    told = await bench.spawn("[[updates:4000]]")
    found = await bench.done(told["id"])
    text, offset = found["result"]["text"], found["result"]["next_offset"]
    assert len(text) == 8_000
    while offset is not None:
        found = await bench.call("get_background_subagent_status", id=told["id"], result_offset=offset)
        text, offset = text + found["result"]["text"], found["result"]["next_offset"]
    assert text == "".join(f"{n}\n" for n in range(4000))
    await bench.call("stop_background_subagent", id=told["id"])
    for name in ("get_background_subagent_status", "poll_background_subagent"):
        found = await bench.call(name, id=told["id"])
        assert found["done"] is True
        assert "Do not poll" in found["note"]


@pytest.mark.requirement("P12")
async def test_a_stop_ends_the_agent_echoes_the_reason_and_can_be_repeated(bench: Bench) -> None:
    told = await working(bench)
    stopped = await bench.call("stop_background_subagent", id=told["id"], reason="not needed")
    assert {key: stopped[key] for key in ("success", "id", "name", "status", "reason")} == {
        "success": True, "id": told["id"], "name": told["name"], "status": "stopped", "reason": "not needed",
    }  # fmt: skip
    assert bench.ground.told == ["launch", "end"]
    assert await bench.call("stop_background_subagent", id=told["id"]) == stopped
    other = await bench.spawn("[[say:x]]")
    assert (await bench.call("stop_background_subagent", id=other["id"]))["reason"] == "stopped_by_parent"
    page = await bench.call("poll_background_subagent", id=told["id"], since_seq=0)
    assert (page["events"][-1]["kind"], page["events"][-1]["text"]) == ("stopped", "Session ended: not needed")


@pytest.mark.requirement("P12")
async def test_a_stop_of_the_task_leaves_the_agent_and_its_queue(bench: Bench) -> None:
    told = await bench.spawn("[[hang-politely]]")
    await bench.until(told["id"], lambda view: view.current_task is not None)
    await bench.call("send_background_subagent", id=told["id"], message="[[say:next]]")
    answer = await bench.call("stop_background_subagent", id=told["id"], scope="task", reason="wrong way")
    assert (answer["success"], answer["reason"]) == (True, "wrong way")
    assert (await bench.done(told["id"]))["result"]["text"] == "next"
    nothing = await bench.call("stop_background_subagent", id=told["id"], scope="task")
    assert "nothing to cancel" in refused(nothing, "task_over")


@pytest.mark.requirement("P13")
async def test_a_foreign_id_answers_exactly_like_an_unknown_one_to_every_tool(bench: Bench) -> None:
    told = await working(bench)
    stranger = bench.another("stranger")
    calls: list[tuple[str, str, dict[str, Any]]] = [
        ("send_background_subagent", "id", {"message": "x"}),
        ("send_background_subagent", "id", {"message": "x", "mode": "steer"}),
        ("poll_background_subagent", "id", {}),
        ("poll_background_subagent", "id", {"since_seq": 0}),
        ("get_background_subagent_status", "id", {}),
        ("stop_background_subagent", "id", {}),
        ("stop_background_subagent", "id", {"scope": "task"}),
        ("answer_background_subagent", "id", {"request_id": "1", "option_id": "x"}),
        ("check_task", "task_id", {}),
        ("collect_task", "task_id", {}),
        ("steer_task", "task_id", {"message": "x"}),
        ("cancel_task", "task_id", {}),
    ]
    for name, key, more in calls:
        foreign = await stranger.call(name, **{key: told["id"]}, **more)
        unknown = await stranger.call(name, **{key: "bg-0000000000"}, **more)
        assert foreign["kind"] in ("unknown_subagent", "unknown_task"), (name, foreign)
        assert json.dumps(foreign).replace(told["id"], "ID") == json.dumps(unknown).replace("bg-0000000000", "ID")
    foreign = await stranger.call("wait_background_subagents", ids=[told["id"]])
    assert refused(foreign, "unknown_subagent") == f"Unknown background subagent: {told['id']}"
    assert (await stranger.call("list_background_subagents"))["subagents"] == []
    assert (await bench.call("get_background_subagent_status", id=told["id"]))["status"] == "running"
    bench.say_go()


@pytest.mark.requirement("P01")
@pytest.mark.parametrize(
    ("name", "arguments", "kind", "words"),
    [
        ("fork_background_subagent", {}, "unknown_tool", "Unknown tool: fork_background_subagent"),
        ("send_background_subagent", {"message": "x"}, "invalid", "id is required."),
        ("send_background_subagent", {"id": "x"}, "invalid", "message is required."),
        ("send_background_subagent", {"id": "x", "message": 5}, "invalid", "message cannot be 5"),
        ("send_background_subagent", {"id": "x", "message": "x", "mode": "now"}, "invalid", "mode cannot be 'now'"),
        ("poll_background_subagent", {"id": "x", "since_seq": -1}, "invalid", "since_seq cannot be -1"),
        ("poll_background_subagent", {"id": "x", "since": 1}, "invalid", "since is no parameter of poll_"),
        ("spawn_background_subagent", {"tasks": [{}]}, "invalid", "purpose is required."),
    ],
)
async def test_an_unknown_tool_or_a_wrong_argument_is_a_structured_error(
    bench: Bench, name: str, arguments: dict[str, Any], kind: str, words: str
) -> None:
    assert words in refused(await bench.call(name, **arguments), kind)
    assert bench.ground.told == []


@pytest.mark.requirement("P01")
@pytest.mark.parametrize(
    ("name", "arguments", "kind", "words"),
    [
        (["x"], {}, "unknown_tool", "Unknown tool: ['x']"),
        (None, {}, "unknown_tool", "Unknown tool: None"),
        ("list_background_subagents", ["x"], "invalid", "are one object with its parameters, not ['x']."),
        ("list_background_subagents", "x", "invalid", "are one object with its parameters, not x."),
        ("send_background_subagent", None, "invalid", "id is required."),
        ("send_background_subagent", {1: 2}, "invalid", "id is required."),
        ("poll_background_subagent", {"id": "x", "since_seq": 10**30}, "invalid", "since_seq cannot be 1000"),
        ("wait_background_subagents", {"since_seq": 2**63}, "invalid", "since_seq cannot be 9223372036854775808"),
        ("wait_background_subagents", {"timeout": float("nan")}, "invalid", "timeout cannot be nan"),
        ("collect_task", {"task_id": "x", "timeout": float("nan")}, "invalid", "timeout cannot be nan"),
    ],
)
async def test_whatever_a_host_hands_over_is_answered(
    bench: Bench, name: Any, arguments: Any, kind: str, words: str
) -> None:
    assert words in refused(await bench.tools.call(name, arguments), kind)


@pytest.mark.requirement("P01")
@pytest.mark.parametrize("parent", ["", " ", "\u200b"])
async def test_without_a_parent_nothing_is_done(bench: Bench, parent: str) -> None:
    told = await bench.another(parent).spawn("[[say:x]]")
    assert refused(told, "no_parent") == "Background subagents require a parent session_id."


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


async def test_an_open_question_ends_one_wait_and_not_those_after_it(bench: Bench) -> None:
    ident = await asking(bench, "allow_once,reject_once")
    busy = await working(bench)
    waited = await bench.call("wait_background_subagents")
    assert waited["reason"] == "question"
    for mode in ("first", "all", "any_change"):
        again = await bench.call("wait_background_subagents", mode=mode, since_seq=waited["next_seq"], timeout=0)
        assert again["reason"] == "timeout", mode
    assert (await bench.call("wait_background_subagents", timeout=0))["reason"] == "question", "who asks anew is told"
    bench.say_go()
    ended = await bench.call("wait_background_subagents", since_seq=waited["next_seq"])
    assert [each["id"] for each in ended["subagents"] if each.get("done")] == [busy["id"]]
    known = {"id": ident, "request_id": ended["subagents"][0]["requests"][0]["request_id"]}
    assert (await bench.call("answer_background_subagent", **known, option_id="opt-0"))["success"]


async def asking(bench: Bench, kinds: str) -> str:
    request = SpawnRequest("scripted", bench.ground.folder, f"[[ask:{kinds}]]", permissions=Permissions.ASK)
    view = await bench.runtime.spawn(PARENT, request)
    await bench.until(view.id, lambda each: bool(each.requests))
    return view.id


async def test_a_parent_answers_a_question_with_what_was_offered(bench: Bench) -> None:
    """B2: the answer is one of the options of the agent, in ACP's shape."""
    ident = await asking(bench, "allow_once,reject_once")
    waited = await bench.call("wait_background_subagents", ids=[ident])
    assert waited["reason"] == "question"
    (question,) = waited["subagents"][0]["requests"]
    assert [one["kind"] for one in question["options"]] == ["allow_once", "reject_once"]
    known = {"id": ident, "request_id": question["request_id"]}
    wrong = await bench.call("answer_background_subagent", **known, option_id="yes")
    assert "offered: opt-0, opt-1" in refused(wrong, "option_unknown")
    assert (await bench.call("answer_background_subagent", **known, option_id="opt-0"))["success"]
    assert (await bench.done(ident))["result"]["text"] == "chose opt-0"
    late = await bench.call("answer_background_subagent", **known, option_id="opt-0")
    assert "is not open any more" in refused(late, "request_closed")


async def test_a_model_cannot_allow_for_good_but_the_operator_can(bench: Bench) -> None:
    ident = await asking(bench, "allow_always,reject_once")
    view = await bench.runtime.status(PARENT, ident)
    known = {"id": ident, "request_id": view.requests[0].id}
    answer = await bench.call("answer_background_subagent", **known, option_id="opt-0")
    assert "only the operator" in refused(answer, "needs_operator")
    await bench.runtime.answer(OPERATOR, ident, view.requests[0].id, "opt-0")
    assert (await bench.done(ident))["result"]["text"] == "chose opt-0"


async def test_steering_an_agent_that_cannot_be_steered_is_told_as_queued(bench: Bench) -> None:
    told = await working(bench)
    sent = await bench.call("send_background_subagent", id=told["id"], message="[[say:later]]", mode="steer")
    assert (sent["outcome"], sent["queued"]) == ("queued", True)
    bench.say_go()
    assert (await bench.done(told["id"]))["result"]["text"] == "later"


@pytest.mark.requirement("P26")
async def test_a_preset_decides_and_a_parent_gets_nothing_beyond_its_ceiling(ground: Ground) -> None:
    async with ground.runtime() as opened:
        config = replace(opened.config, ceiling="restricted", default_preset="restricted")
    async with Runtime.open(ground.path, launcher=ground, config=config) as runtime:
        bench = Bench(ground, runtime)
        told = await bench.spawn("[[ask:allow_once,reject_once]]")
        view = await bench.until(told["id"], lambda each: bool(each.requests))
        assert view.preset == "restricted"
        answer = await bench.spawn("x", preset="privileged")
        assert "goes beyond 'restricted'" in refused(answer, "beyond_ceiling")
        assert "memory 8192 MiB where 2048 MiB are allowed" in answer["wider"]
        assert "Available: restricted" in refused(await bench.spawn("x", preset="none"), "unknown_preset")
        request = SpawnRequest("scripted", ground.folder, "[[say:x]]", permissions=Permissions.ALLOW)
        with pytest.raises(Rejected, match="permissions allow where ask is allowed"):
            await runtime.spawn(PARENT, request)
        view = await runtime.spawn(OPERATOR, replace(request, preset="privileged"))
        assert view.preset == "privileged", "the operator is not held by the ceiling of parents"


async def test_a_bug_of_ours_is_an_answer_too(bench: Bench) -> None:
    bench.changes["defaults"] = None
    assert "its log says how" in refused(await bench.spawn("[[say:x]]"), "internal_error")


async def test_refusals_and_limits_and_failures_are_no_finished_tasks(bench: Bench) -> None:
    """B13: the original announced all of them as finished."""
    told = await bench.spawn("[[stop:refusal]]")
    assert (await bench.done(told["id"]))["result"]["outcome"] == "refused"
    await bench.call("send_background_subagent", id=told["id"], message="[[stop:max_tokens]]")
    found = await bench.done(told["id"])
    assert found["result"]["outcome"] == "failed"
    assert "token limit" in found["result"]["cause"]
    page = await bench.call("poll_background_subagent", id=told["id"], since_seq=0)
    assert {"task_refused", "task_failed"} <= {each["kind"] for each in page["events"]}
    assert "task_complete" not in {each["kind"] for each in page["events"]}
