"""The set `async_delegation`: six tools of one-shot tasks, row by row."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from acp_runtime.core.status import Status
from acp_runtime.session.catalogue import AgentKind
from acp_runtime.tools import TOOLSETS
from acp_runtime.tools.orders import OVERRIDES
from tests.integration.manager.conftest import PARENT
from tests.integration.service.conftest import Bench


async def delegate(bench: Bench, goal: str, **more: Any) -> str:
    told = await bench.call("delegate_task_async", goal=goal, **more)
    assert told["status"] == "running", told
    return str(told["task_id"])


async def working(bench: Bench, file: str = "go", *, say: str = "done") -> str:
    task = await delegate(bench, f"[[say:begun\n]][[wait:{bench.file(file)}]][[say:{say}]]")
    await bench.until(task, lambda view: view.current_task is not None)
    return task


@pytest.mark.requirement("A01")
async def test_a_task_is_delegated_at_once_while_its_agent_has_not_even_started(bench: Bench) -> None:
    bench.ground.starts = asyncio.Event()
    told = await bench.call("delegate_task_async", goal="[[say:x]]")
    assert (told["status"], told["message"]) == (
        "running",
        f"Background task started. Use check_task('{told['task_id']}') to monitor.",
    )
    view = await bench.runtime.status(PARENT, told["task_id"])
    assert view.status is Status.STARTING
    bench.ground.starts.set()
    assert (await bench.call("collect_task", task_id=told["task_id"]))["summary"] == "x"


@pytest.mark.requirement("A01")
@pytest.mark.parametrize("goal", ["", " \n"])
async def test_a_task_without_a_goal_is_refused(bench: Bench, goal: str) -> None:
    told = await bench.call("delegate_task_async", goal=goal)
    assert (told["success"], told["error"], told["kind"]) == (False, "goal is required.", "invalid")
    assert bench.ground.told == []


@pytest.mark.requirement("A02")
async def test_a_check_shows_the_last_ten_lines_and_does_not_wait(bench: Bench) -> None:
    task = await delegate(bench, f"[[updates:25]][[wait:{bench.file('go')}]]")
    seen: dict[str, Any] = {}
    while seen.get("output_lines") != 25:
        tick = bench.runtime.tick
        seen = await bench.call("check_task", task_id=task)
        if seen["output_lines"] != 25:
            await bench.runtime.changed(tick)
    assert seen["status"] == "running"
    assert seen["output_preview"] == "\n".join(str(n) for n in range(15, 25))
    assert seen["elapsed"] == round(seen["elapsed"], 2)
    bench.say_go()


@pytest.mark.requirement("A03")
async def test_a_collect_that_runs_out_of_time_returns_what_there_is(bench: Bench) -> None:
    task = await working(bench)
    found = await bench.call("collect_task", task_id=task, timeout=0)
    assert (found["timed_out"], found["status"], found["summary"]) == (True, "running", None)
    bench.say_go()
    found = await bench.call("collect_task", task_id=task)
    assert {key: found[key] for key in ("task_id", "status", "timed_out", "output", "summary", "output_lines")} == {
        "task_id": task,
        "status": "completed",
        "timed_out": False,
        "output": "begun\ndone",
        "summary": "begun\ndone",
        "output_lines": 2,
    }
    assert "error" not in found


@pytest.mark.requirement("A03")
async def test_a_collect_waits_as_long_as_it_is_asked_to_in_python_and_below_45_s_over_tools(bench: Bench) -> None:
    assert (await bench.call("collect_task", task_id=await delegate(bench, "[[say:x]]")))["status"] == "completed"
    (schema,) = (tool.schema() for tool in TOOLSETS["async_delegation"] if tool.name == "collect_task")
    assert "timed_out" in schema["parameters"]["properties"]["timeout"]["description"]
    assert bench.desk.bounded(300.0) < 45.0
    bench.changes["longest_wait"] = None
    assert bench.desk.bounded(300.0) == 300.0
    bench.changes["longest_wait"] = 0.01
    task = await working(bench)
    assert (await bench.call("collect_task", task_id=task, timeout=300))["timed_out"] is True
    bench.say_go()


@pytest.mark.requirement("A03")
async def test_a_collect_that_a_question_ends_has_not_run_out_of_time(bench: Bench) -> None:
    bench.changes["defaults"] = replace(bench.desk.defaults, preset="restricted")
    task = await delegate(bench, "[[ask:allow_once,reject_once]]")
    found = await bench.call("collect_task", task_id=task)
    assert (found["timed_out"], found["status"], len(found["requests"])) == (False, "running", 1)


@pytest.mark.requirement("A03")
async def test_a_collect_tells_the_error_of_a_task_that_failed(bench: Bench) -> None:
    found = await bench.call(
        "collect_task", task_id=await delegate(bench, "[[say:half]][[error:-32000|model says no]]")
    )
    assert (found["status"], found["output"], found["timed_out"]) == ("failed", "half", False)
    assert "model says no" in found["error"]


@pytest.mark.requirement("A04")
async def test_steering_is_refused_where_it_cannot_arrive(bench: Bench) -> None:
    task = await working(bench)
    told = await bench.call("steer_task", task_id=task, message="hurry")
    assert (told["ok"], told["error"]) == (False, "Child agent does not support steering injection.")
    view = await bench.runtime.status(PARENT, task)
    assert view.queued == 0, "a refused message must not arrive later as a task"
    bench.say_go()
    await bench.call("collect_task", task_id=task)
    told = await bench.call("steer_task", task_id=task, message="hurry")
    assert (told["ok"], told["error"]) == (False, f"Task {task} is not running (status: completed).")


@pytest.mark.requirement("A04")
async def test_steering_during_the_start_is_told_as_too_early_and_not_as_impossible(bench: Bench) -> None:
    bench.ground.starts = asyncio.Event()
    task = await delegate(bench, "[[say:x]]")
    told = await bench.call("steer_task", task_id=task, message="hurry")
    assert (told["ok"], told["kind"], told["error"]) == (
        False, "steering_unavailable", f"Task {task} is still starting; steer it once it works.",
    )  # fmt: skip
    assert (await bench.runtime.status(PARENT, task)).queued == 1, "only its own task waits"
    bench.ground.starts.set()
    await bench.call("collect_task", task_id=task)


@pytest.mark.requirement("A05")
async def test_a_cancel_ends_the_task_and_releases_who_waits_and_a_second_one_is_refused(bench: Bench) -> None:
    task = await delegate(bench, "[[say:begun]][[hang-politely]]")
    await bench.until(task, lambda view: view.current_task is not None)
    waiting = asyncio.create_task(bench.call("collect_task", task_id=task))
    told = await bench.call("cancel_task", task_id=task)
    assert told == {"ok": True, "cancelled": task, "message": f"Task {task} was cancelled."}
    found = await waiting
    assert (found["status"], found["timed_out"], found["output"]) == ("cancelled", False, "begun")
    assert found["error"] == "Cancelled by parent agent."
    again = await bench.call("cancel_task", task_id=task)
    assert (again["ok"], again["error"]) == (False, f"Task {task} is not running (status: cancelled).")
    assert (await bench.call("check_task", task_id=task))["status"] == "cancelled"


@pytest.mark.requirement("A06")
async def test_the_list_has_every_status_and_short_goals(bench: Bench) -> None:
    done = await delegate(bench, "[[say:x]]" + "very long " * 20)
    await bench.call("collect_task", task_id=done)
    failed = await delegate(bench, "[[error:-32000|no]]")
    await bench.call("collect_task", task_id=failed)
    running = await working(bench)
    await bench.spawn("[[say:a lasting one is no task]]")
    told = (await bench.call("list_tasks"))["tasks"]
    assert [(each["task_id"], each["status"]) for each in told] == [
        (done, "completed"),
        (failed, "failed"),
        (running, "running"),
    ]
    assert all(set(each) == {"task_id", "goal", "status", "elapsed", "output_lines"} for each in told)
    assert len(told[0]["goal"]) <= 60
    assert told[0]["goal"].endswith("…")
    bench.say_go()


@pytest.mark.requirement("A07")
async def test_the_output_is_a_ring_of_200_lines_of_500_characters(bench: Bench) -> None:
    long = "x" * 700
    task = await delegate(bench, f"[[updates:250]][[say:{long}]]")
    found = await bench.call("collect_task", task_id=task)
    lines = found["output"].splitlines()
    assert (found["output_lines"], len(lines)) == (200, 200)
    assert lines[0] == "51"
    assert lines[-1] == "x" * 500


@pytest.mark.requirement("A08")
async def test_an_override_is_honoured_or_told_as_text_or_refused_by_name(bench: Bench) -> None:
    argv = bench.ground.kinds["scripted"].argv
    bench.ground.kinds["scripted"] = AgentKind("scripted", argv, env={"MODEL_NAME": "$MODEL"})
    told = await bench.call(
        "delegate_task_async",
        goal="what was I told?",
        context="the sky is green",
        skill="painting",
        toolsets=["files", "web"],
        max_iterations=7,
        model="big",
    )
    assert [note.split(" ")[0] for note in told["notes"]] == ["context", "skill", "toolsets", "max_iterations"]
    said = (await bench.call("collect_task", task_id=told["task_id"]))["output"]
    for words in (
        "CONTEXT:\nthe sky is green",
        "# Skill: painting",
        "Use only these kinds of tools: files, web.",
        "Use at most 7 steps.",
        "what was I told?",
    ):
        assert words in said
    assert (await bench.runtime.status(PARENT, told["task_id"])).model == "big"
    told = await bench.call("delegate_task_async", goal="x", provider="elsewhere")
    assert (told["kind"], told["override"]) == ("override_refused", "provider")
    assert "provider cannot be set by a call" in told["error"]
    every = {name for tool in ("spawn_background_subagent", "delegate_task_async") for name in parameters(tool)}
    own = {"purpose", "initial_task", "cwd", "tasks", "one_shot", "goal"}
    assert every - own == {override.name for override in OVERRIDES}


def parameters(name: str) -> set[str]:
    (found,) = (tool for tools in TOOLSETS.values() for tool in tools if tool.name == name)
    return set(found.model.model_fields)


@pytest.mark.requirement("A08")
async def test_a_model_is_refused_by_a_kind_that_takes_none(bench: Bench) -> None:
    for told in (
        await bench.call("delegate_task_async", goal="x", model="big"),
        await bench.spawn("x", model="big"),
    ):
        assert (told["kind"], told["override"]) == ("override_refused", "model")
        assert "scripted" in told["error"]
    assert bench.ground.told == []


@pytest.mark.requirement("A10")
@pytest.mark.parametrize("flag", ["--initialize-error", "--session-error", "--exit-at-start=3", "--no-session-id"])
async def test_a_start_that_fails_releases_who_waits_with_an_answer(bench: Bench, flag: str) -> None:
    argv = bench.ground.kinds["scripted"].argv
    bench.ground.kinds["scripted"] = AgentKind("scripted", (*argv, flag))
    found = await bench.call("collect_task", task_id=await delegate(bench, "x"))
    assert (found["status"], found["timed_out"]) == ("failed", False)
    assert found["error"]


@pytest.mark.requirement("A10")
async def test_an_unknown_task_is_an_answer(bench: Bench) -> None:
    for name in ("check_task", "collect_task", "cancel_task"):
        told = await bench.call(name, task_id="bg-0123456789")
        assert told["error"] == "Task not found: bg-0123456789"
    assert (await bench.another("").call("list_tasks"))["kind"] == "no_parent"


@pytest.mark.requirement("A11")
async def test_tasks_at_the_same_time_keep_apart(bench: Bench) -> None:
    parents = [bench.another(f"parent {n}") for n in range(2)]
    tasks = await asyncio.gather(*(delegate(each, f"[[say:{n}]]") for n, each in enumerate(parents * 2)))
    found = await asyncio.gather(
        *(each.call("collect_task", task_id=task) for task, each in zip(tasks, parents * 2, strict=True))
    )
    assert [each["output"] for each in found] == ["0", "1", "2", "3"]
    for n, each in enumerate(parents):
        listed = [one["task_id"] for one in (await each.call("list_tasks"))["tasks"]]
        assert set(listed) == {tasks[n], tasks[n + 2]}
