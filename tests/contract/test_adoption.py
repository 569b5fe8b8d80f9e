"""An agent outlives its manager: another one goes on with it as if nothing had been."""

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from acp_runtime.core.model import Limits, TaskState
from acp_runtime.core.status import Status
from acp_runtime.service import Runtime
from acp_runtime.session.catalogue import AgentKind
from tests import engine
from tests.agents.forms import FORM, form
from tests.agents.one_file import tooled_agent
from tests.contract.conftest import BOTH_WAYS, EXEC_IN_LONG, PARENT, Place, mark

pytestmark = [pytest.mark.docker, pytest.mark.requirement("D08.5")]

MANAGER = Path(__file__).with_name("adoption_manager.py")
ANSWERED = "until grep -q stopReason /journal/1/o-*; do sleep 0.05; done"


async def killed(
    place: Place,
    task: str,
    reached: str,
    *,
    sockets: str | None = None,
    ttl: float = 3600.0,
    environ: Mapping[str, str] | None = None,
    argv: tuple[str, ...] | None = None,
    **request: object,
) -> str:
    """Have a process of its own spawn a task, and kill it once it has come so far; return the subagent's id.

    `request` is what is asked for beyond the task; `sockets` and `environ` where they are other than the place's.
    `argv` is the agent's, if not the scripted one's.
    """
    config = {"sockets": sockets or place.config.sockets, "orphan_ttl": ttl}
    other = json.dumps({"config": config, "request": request} | ({"argv": argv} if argv else {}))
    command = (sys.executable, str(MANAGER), str(place.root), place.config.base_image or "", task, reached, other)
    manager = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, env=environ)
    assert manager.stdout is not None
    try:
        async with asyncio.timeout(place.bound):
            subagent = (await manager.stdout.readline()).decode().strip()
        assert subagent, "the manager failed"
    finally:
        manager.send_signal(signal.SIGKILL)
        await manager.wait()
    return subagent


def container(place: Place) -> str:
    (found,) = engine.containers(f"io.acp-subagents.test={mark(place.root)}")
    return found


def inside(place: Place, script: str, user: str = "10001") -> None:
    """Run a command in the agent's sandbox, beside all managers."""
    engine.execute(container(place), "sh", "-c", script, user=user, workdir="/workspace")


async def said(runtime: Runtime, subagent: str) -> str:
    """Return what the agent said, as the log has it."""
    rows = (await runtime.transcript(PARENT, subagent)).entries
    return "".join(row.text for row in rows if row.kind == "agent_message_chunk")


async def told_once(runtime: Runtime) -> str:
    async with runtime.turn(PARENT) as turn:
        assert len(turn.nudges) == 1, turn.text
    async with runtime.turn(PARENT) as again:
        assert again.nudges == ()
    return turn.text


def numbers(upto: int) -> str:
    return "".join(f"{number}\n" for number in range(upto))


@BOTH_WAYS
async def test_a_task_in_flight_ends_with_its_full_result_and_nothing_said_is_lost_or_doubled(place: Place) -> None:
    subagent = await killed(place, "[[updates:400]][[say:one]][[wait:go]][[updates:400]][[say:two]]", "one")
    inside(place, "touch go")
    async with place.runtime() as runtime:
        view = await place.ended(runtime, subagent)
        assert (view.newest.state, view.attempt) == (TaskState.COMPLETED, 1), view.newest.cause
        assert await said(runtime, subagent) == f"{numbers(400)}one{numbers(400)}two"
        assert "completed" in await told_once(runtime)


@EXEC_IN_LONG
async def test_a_task_that_ended_while_nobody_watched_is_told_with_its_result(place: Place) -> None:
    subagent = await killed(place, "[[say:one]][[wait:go]][[say:two]]", "one")
    inside(place, "touch go")
    inside(place, ANSWERED, user="0")
    async with place.runtime() as runtime:
        view = await place.ended(runtime, subagent)
        assert (view.newest.state, view.newest.result) == (TaskState.COMPLETED, "onetwo")
        assert "onetwo" in await told_once(runtime)
        await runtime.send(PARENT, subagent, "[[say:three]]")
        view = await place.ended(runtime, subagent)
        assert (view.newest.result, view.attempt) == ("three", 1)


@BOTH_WAYS
async def test_the_result_of_an_agent_that_died_unwatched_is_taken_from_its_journal(place: Place) -> None:
    subagent = await killed(place, "[[say:one]][[wait:go]][[say:two]]", "one")
    inside(place, "touch go")
    inside(place, ANSWERED, user="0")
    engine.kill(container(place))
    async with place.runtime() as runtime:
        view = await place.ended(runtime, subagent)
        assert (view.newest.state, view.newest.result) == (TaskState.COMPLETED, "onetwo"), view.newest.cause
        assert "onetwo" in await told_once(runtime)


@EXEC_IN_LONG
async def test_an_agent_that_died_unwatched_in_mid_task_is_told_as_interrupted_with_what_it_had_said(
    place: Place,
) -> None:
    subagent = await killed(place, "[[say:one]][[wait:go]][[say:two]][[hang]]", "one")
    inside(place, "touch go")
    inside(place, ANSWERED.replace("stopReason", "two"), user="0")
    engine.kill(container(place))
    async with place.runtime() as runtime:
        view = await place.ended(runtime, subagent)
        assert view.newest.state is TaskState.INTERRUPTED
        assert "the outcome is unknown" in view.newest.cause
        assert await said(runtime, subagent) == "onetwo"
        assert "interrupted" in await told_once(runtime)


@EXEC_IN_LONG
async def test_an_open_question_is_open_again_and_its_answer_reaches_the_agent(place: Place) -> None:
    subagent = await killed(place, "[[ask:allow_once,reject_once]]", "?")
    async with place.runtime() as runtime:
        view = await place.until(runtime, subagent, lambda each: each.status is Status.WAITING)
        (request,) = view.requests
        await runtime.answer(PARENT, subagent, request.id, "opt-1")
        view = await place.ended(runtime, subagent)
        assert (view.newest.state, view.attempt) == (TaskState.COMPLETED, 1), view.newest.cause
        assert "opt-1" in view.newest.result


@EXEC_IN_LONG
@pytest.mark.requirement("D10.50")
async def test_an_open_form_is_open_again_and_its_answer_reaches_the_agent(place: Place) -> None:
    schema = {"properties": {"which": {"type": "string", "enum": ["red", "green"]}}}
    subagent = await killed(place, form("Which?", schema), "?")
    async with place.runtime() as runtime:
        view = await place.until(runtime, subagent, lambda each: each.status is Status.WAITING)
        await runtime.answer(PARENT, subagent, view.requests[0].id, "2")
        view = await place.ended(runtime, subagent)
        assert (view.newest.state, view.attempt) == (TaskState.COMPLETED, 1), view.newest.cause
        assert view.newest.result == FORM + '{"action": "accept", "content": {"which": "green"}}'


@EXEC_IN_LONG
@pytest.mark.requirement("D10.52")
async def test_an_agent_that_asks_its_parent_goes_on_behind_another_manager(place: Place) -> None:
    """Its call is told that the manager went away; the question stays, and asking again is waiting on."""
    ask = '[[tool:ask_parent|{"question": "Which?", "choices": ["red", "green"]}]]'
    argv = tooled_agent(place.python)
    place.add_kind(AgentKind("scripted", argv))
    subagent = await killed(place, f"{ask}[[say: ]]{ask}", "?", argv=argv)
    async with place.runtime() as runtime:
        view = await place.until(runtime, subagent, lambda each: "Ask the same question again" in each.newest.result)
        (request,) = view.requests
        await runtime.answer(PARENT, subagent, request.id, "2")
        view = await place.ended(runtime, subagent)
        assert (view.newest.state, view.attempt) == (TaskState.COMPLETED, 1), view.newest.cause
        assert json.loads(view.newest.result.partition("} ")[2])["answer"] == "green"


@EXEC_IN_LONG
async def test_an_idle_agent_goes_on_in_its_session(place: Place) -> None:
    subagent = await killed(place, "[[say:one]]", "one")
    async with place.runtime() as runtime:
        view = await place.until(runtime, subagent, lambda each: each.status is Status.IDLE)
        await runtime.send(PARENT, subagent, "[[say:two]]")
        view = await place.ended(runtime, subagent)
        assert (view.newest.result, view.attempt) == ("two", 1)
        assert await said(runtime, subagent) == "onetwo"


@BOTH_WAYS
async def test_a_holder_that_was_killed_ends_its_agent_and_another_attempt_goes_on(place: Place) -> None:
    async with place.runtime() as runtime:
        request = place.request("[[say:one]][[hang]]", limits=Limits(backoff=0.01))
        view = await runtime.spawn(PARENT, request)
        await place.until(runtime, view.id, lambda each: each.newest.result == "one")
        inside(place, "pkill -KILL holder", user="0")
        view = await place.ended(runtime, view.id)
        assert view.newest.state is TaskState.INTERRUPTED
        await place.until(runtime, view.id, lambda each: each.status is Status.IDLE)
        await runtime.send(PARENT, view.id, "[[say:two]]")
        view = await place.ended(runtime, view.id)
        assert (view.newest.result, view.attempt) == ("two", 2)


@EXEC_IN_LONG
async def test_a_task_that_never_reached_a_dying_agent_is_given_to_the_next(place: Place) -> None:
    """The agent dies while the files of its first task are counted: the second was begun, and nothing was written."""
    dies = "(sleep 0.3; kill -9 $PPID) >/dev/null 2>&1 &"
    async with place.runtime() as runtime:
        view = await runtime.spawn(PARENT, place.request(f"[[wait:go]][[say:one]][[run:{dies}]]"))
        await place.until(runtime, view.id, lambda each: each.newest.state is TaskState.RUNNING)
        await runtime.send(PARENT, view.id, "[[say:second]]")
        inside(place, "touch go")
        view = await place.until(runtime, view.id, lambda each: each.attempt == 2 and bool(each.requests))
        assert [task.state for task in view.tasks] == [TaskState.COMPLETED, TaskState.QUEUED], view.tasks
        await runtime.answer(PARENT, view.id, view.requests[0].id, "continue")
        view = await place.ended(runtime, view.id)
        assert (view.newest.state, view.newest.result) == (TaskState.COMPLETED, "second")
