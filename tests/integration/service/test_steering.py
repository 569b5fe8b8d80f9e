"""Messages into a running task: told as what became of them, never as more."""

import asyncio
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from acp_runtime.callers import OPERATOR
from acp_runtime.session.catalogue import AgentKind
from tests.integration.manager.conftest import BOUND, PARENT
from tests.integration.service.conftest import Bench

SCRIPT = Path(__file__).parents[2] / "agents" / "steered_agent.py"


@pytest.fixture
def steered(bench: Bench) -> Bench:
    bench.ground.kinds["scripted"] = AgentKind("scripted", (sys.executable, str(SCRIPT)))
    return bench


async def working(bench: Bench, tool: str = "spawn_background_subagent") -> str:
    goal = f"[[wait:{bench.file('go')}]][[say:done]]"
    told = await (bench.spawn(goal) if tool.startswith("spawn") else bench.call(tool, goal=goal))
    ident = str(told.get("id") or told["task_id"])
    view = await bench.until(ident, lambda each: each.current_task is not None)
    assert view.steering
    return ident


@pytest.mark.parametrize(
    ("word", "outcome", "note"),
    [
        ("injected", "injected", "has taken it into the task that it works on."),
        ("failed", "queued", "could not take it into the running task; it is the next task."),
        ("mumbled", "unknown", "did not say whether it took it"),
    ],
)
async def test_a_message_is_told_as_what_the_agent_made_of_it(
    steered: Bench, word: str, outcome: str, note: str
) -> None:
    ident = await working(steered)
    sent = await steered.call("send_background_subagent", id=ident, message=f"{word} turn left", mode="steer")
    assert (sent["success"], sent["outcome"], sent["queued"]) == (True, outcome, outcome == "queued")
    assert note in sent["note"]
    steered.say_go()
    await steered.done(ident)
    page = await steered.call("poll_background_subagent", id=ident, since_seq=0)
    kinds = [each["kind"] for each in page["events"]]
    assert kinds.index("steer_requested") < kinds.index("steer_ended")
    assert kinds.count("task_dispatched") == (2 if outcome == "queued" else 1), "an honest answer is one of both"


async def test_an_agent_that_never_answers_a_message_is_not_asked_for_ever(steered: Bench) -> None:
    runtime, ground = steered.runtime, steered.ground
    limits = replace(runtime.config.limits, steer=0.1, lost_grace=0.1, cancel_grace=0.1)
    task = ground.request(f"[[wait:{steered.file('go')}]]", limits=limits)
    view = await steered.until((await runtime.spawn(PARENT, task)).id, lambda each: each.current_task is not None)
    sending = asyncio.create_task(runtime.send(PARENT, view.id, "silent turn left", mode="steer"))
    while not (asking := [each for each in asyncio.all_tasks() if each.get_name() == "Steer"]):  # noqa: ASYNC110
        await asyncio.sleep(0)
    done, _ = await asyncio.wait(asking, timeout=BOUND)
    assert done == set(asking)
    assert (await sending).outcome == "unknown"


async def test_who_steers_an_agent_that_takes_no_messages_is_told_that_it_is_a_task_of_its_own(bench: Bench) -> None:
    ident = (await bench.spawn(f"[[wait:{bench.file('go')}]]"))["id"]
    view = await bench.until(ident, lambda each: each.current_task is not None)
    steering = {"id": ident, "mode": "steer"}
    sent = await bench.call("send_background_subagent", **steering, message="[[say:left]]")
    why = "It is a task of its own: its agent (scripted) takes no messages while it works."
    assert (sent["outcome"], sent["note"]) == ("queued", f"{view.name} works on it after 1 other task(s). {why}")
    plain = await bench.call("send_background_subagent", id=ident, message="[[say:right]]")
    assert plain["note"].endswith("after 2 other task(s).")
    bench.say_go()
    await bench.done(ident)
    sent = await bench.call("send_background_subagent", **steering, message="[[say:on]]")
    why = "It is a task of its own: no task was running."
    assert (sent["outcome"], sent["note"]) == ("dispatched", f"{view.name} works on it now. {why}")
    await bench.done(ident)


async def test_a_message_into_a_task_that_is_being_cancelled_is_told_as_a_task_of_its_own(steered: Bench) -> None:
    ident = (await steered.spawn("[[hang]]"))["id"]
    await steered.until(ident, lambda each: each.current_task is not None)
    await steered.runtime.cancel(OPERATOR, ident, "enough")
    sent = await steered.runtime.send(OPERATOR, ident, "injected turn left", mode="steer")
    assert sent.sentence.endswith("It is a task of its own: the running task was at its end.")


@pytest.mark.requirement("A04")
async def test_a_task_that_runs_is_steered_and_one_that_ended_is_not(steered: Bench) -> None:
    task = await working(steered, "delegate_task_async")
    told = await steered.call("steer_task", task_id=task, message="injected turn left")
    assert told == {"ok": True, "message": f"Steering delivered to task {task}."}
    told = await steered.call("steer_task", task_id=task, message="mumbled")
    assert (told["ok"], told["kind"]) == (False, "not_injected"), "what is not known to have arrived is no success"
    told = await steered.call("steer_task", task_id=task, message=" ")
    assert (told["ok"], told["kind"]) == (False, "invalid")
    steered.say_go()
    found = await steered.call("collect_task", task_id=task)
    assert "heard: injected turn left" in found["output"]
    told = await steered.call("steer_task", task_id=task, message="injected")
    assert (told["ok"], told["kind"]) == (False, "not_running")
