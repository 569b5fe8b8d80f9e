"""The eight tools of the default set, as a model's host calls them: real manager, real processes, every answer JSON."""

import asyncio
import json
from dataclasses import replace

import pytest

from acp_runtime.callers import OPERATOR
from acp_runtime.config import UsualModel
from acp_runtime.core.model import Limits
from acp_runtime.service import Runtime
from acp_runtime.session.catalogue import AgentKind
from tests.integration.manager.conftest import PARENT, Ground
from tests.integration.service.conftest import Bench, refused, working

SUMMARY = {
    "id", "name", "status", "purpose", "cwd", "agent_kind", "unread_count", "current_task", "started_at",
    "last_activity_at", "idle_timeout_at", "max_lifetime_at", "container_id", "acp_process_pid", "acp_session_id",
    "terminal_reason",
}  # fmt: skip


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


async def test_a_model_is_told_that_its_user_has_to_say_where_models_are_and_spawns_once_that_is_said(
    bench: Bench,
) -> None:
    kinds = bench.ground.kinds
    kinds["choosy"] = AgentKind("choosy", kinds["scripted"].argv, env={"NAME": "$MODEL"}, needs_model=True)
    for words in ({}, {"model": "m"}):
        sentence = refused(await bench.spawn("x", agent_kind="choosy", **words), "invalid")
        assert "have the user set them in [models.choosy] of the configuration" in sentence
    bench.ground.changes["models"] = {"choosy": UsualModel("usual", "http://127.0.0.1:9/v1")}
    await bench.runtime.reload(OPERATOR)
    told = await bench.spawn("[[say:hello]]", agent_kind="choosy")
    assert (await bench.runtime.status(PARENT, told["id"])).model == "usual"


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
        assert f"`subagents resume {told['id']} TEXT`" in sentence
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


@pytest.mark.requirement("P10")
async def test_a_poll_gives_what_was_said_at_length_page_by_page_and_leaves_nothing_out(bench: Bench) -> None:
    told = await bench.spawn("[[updates:20000]]")
    await bench.done(told["id"])
    pages, page = 0, {"unread_count": 1}
    text = ""
    while page["unread_count"]:
        page, pages = await bench.call("poll_background_subagent", id=told["id"]), pages + 1
        said = [each["text"] for each in page["events"] if each["kind"] == "agent_message_chunk"]
        assert sum(map(len, said)) < 60_000
        text += "".join(said)
    assert pages > 2
    assert text == "".join(f"{n}\n" for n in range(20_000))


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


@pytest.mark.requirement("P12")
async def test_behind_a_long_queue_the_task_at_work_is_known_and_is_the_one_that_is_cancelled(bench: Bench) -> None:
    order = bench.ground.request("[[wait:never]]", limits=Limits(queue=40))
    ident = (await bench.runtime.spawn(PARENT, order)).id
    await bench.until(ident, lambda view: view.current_task is not None)
    for number in range(24):
        sent = await bench.call("send_background_subagent", id=ident, message=f"{number}")
    assert sent["note"].endswith("works on it after 24 other task(s).")
    assert (await bench.runtime.status(PARENT, ident)).current_task == f"{ident}.t1"
    await bench.call("stop_background_subagent", id=ident, scope="task")
    ended = await bench.until(ident, lambda view: view.settled)
    page = await bench.runtime.poll(PARENT, ident, since=0)
    assert [row.task for row in page.rows if row.kind == "task_cancelled"] == [f"{ident}.t1"]
    assert [task.number for task in ended.tasks] == list(range(6, 26))
