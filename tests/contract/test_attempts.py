"""What outlives an agent process: its session, its files and its queue, whichever launcher runs it."""

import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from acp_runtime.core.errors import Rejected
from acp_runtime.core.model import Limits, Opening, Permissions, TaskState
from acp_runtime.core.status import Status
from acp_runtime.service import Runtime
from acp_runtime.session.catalogue import AgentKind
from acp_runtime.views import SubagentView
from tests import engine
from tests.contract.conftest import PARENT, Place

pytestmark = pytest.mark.filterwarnings("error")

TALKING = Path(__file__).parents[1] / "agents" / "talking_agent.py"
TWICE = Limits(restarts=2, backoff=0.01, retry_delay=0.01)


async def spawn(place: Place, runtime: Runtime, task: str, **changes: object) -> SubagentView:
    given = {"agent": "keeping", "limits": TWICE, **changes}
    return await runtime.spawn(PARENT, place.request(task, **given))


async def touch(place: Place, runtime: Runtime, subagent: str, name: str) -> None:
    await runtime.check(PARENT, subagent, f"touch {name}", seconds=30)


def said(view: SubagentView, number: int) -> str:
    return next(task.result for task in view.tasks if task.number == number)


@pytest.mark.parametrize(
    ("flags", "opening"), [(("--resume",), Opening.RESUMED), (("--load", "--list"), Opening.LOADED)]
)
async def test_a_killed_agent_goes_on_in_its_session_with_its_files_and_its_queue(
    place: Place, flags: tuple[str, ...], opening: Opening
) -> None:
    place.keeping(*flags)
    async with place.runtime() as runtime:
        view = await spawn(place, runtime, "first words [[write:kept.txt|kept]]")
        await place.ended(runtime, view.id)
        await runtime.send(PARENT, view.id, "second words [[wait:go]][[kill]]")
        await runtime.send(PARENT, view.id, "third words [[recall]]")
        await touch(place, runtime, view.id, "go")
        view = await place.until(runtime, view.id, lambda each: each.settled)
        states = [task.state for task in view.tasks]
        assert states == [TaskState.COMPLETED, TaskState.INTERRUPTED, TaskState.COMPLETED]
        assert "unknown" in view.tasks[1].cause
        recalled = said(view, 3)
        assert recalled.startswith("first words"), "the session is another one"
        assert "your last task was interrupted" in recalled
        assert "replayed" not in recalled
        assert (view.opening, view.attempt, view.status) == (opening, 2, Status.IDLE)
        listed = await runtime.check(PARENT, view.id, "cat kept.txt", seconds=30)
        assert listed.output == "kept"
        async with runtime.turn(PARENT) as turn:
            told = turn.text
        assert told.count("t2 interrupted") == 1
        assert "recovered" not in told, "a restart that lost nothing is nobody's business"


@pytest.mark.parametrize("flags", [(), ("--load", "--list", "--lies")], ids=["cannot", "lies"])
async def test_a_queue_waits_for_the_parent_when_the_session_is_lost(place: Place, flags: tuple[str, ...]) -> None:
    place.keeping(*flags)
    async with place.runtime() as runtime:
        view = await spawn(place, runtime, "[[wait:go]][[kill]]")
        await place.until(runtime, view.id, lambda each: each.newest.state is TaskState.RUNNING)
        if "--lies" in flags:
            await runtime.check(PARENT, view.id, forget(place), seconds=30)
        await runtime.send(PARENT, view.id, "and now the tests [[recall]]")
        await touch(place, runtime, view.id, "go")
        view = await place.until(runtime, view.id, lambda each: bool(each.requests))
        assert (view.status, view.opening) == (Status.WAITING, Opening.LOST)
        async with runtime.turn(PARENT) as turn:
            assert "could not be resumed" in turn.text
        await runtime.answer(PARENT, view.id, view.requests[0].id, "continue")
        view = await place.until(runtime, view.id, lambda each: each.settled)
        assert "this is a new session" in said(view, 2)


def forget(place: Place) -> str:
    """Return the command that makes the agent's session disappear."""
    home = "/home/agent" if place.name == "docker" else "$HOME"
    return f"rm {home}/.keeping-agent/kept-*.txt"


async def test_an_agent_that_dies_again_and_again_ends_the_subagent(place: Place) -> None:
    place.keeping("--resume")
    async with place.runtime() as runtime:
        view = await spawn(place, runtime, "[[kill]]", limits=replace(TWICE, restarts=1))
        await place.until(runtime, view.id, lambda each: each.attempt == 2 and each.status is Status.IDLE)
        await runtime.send(PARENT, view.id, "[[kill]]")
        view = await place.until(runtime, view.id, lambda each: each.status.over)
        assert (view.status, view.reason) == (Status.ERROR, "agent_died")


@pytest.mark.docker
@pytest.mark.parametrize("place", ["docker"], indirect=True)
async def test_an_agent_that_closes_its_output_and_lives_is_ended_and_lost_once(place: Place) -> None:
    task = "[[say:one]][[closeout]][[wait:never]]"
    async with place.runtime() as runtime:
        view = await place.do(runtime, task, limits=Limits(restarts=0))
        assert (view.newest.state, view.newest.result) == (TaskState.INTERRUPTED, "one")
        async with runtime.turn(PARENT) as turn:
            assert len(turn.nudges) == 1, turn.text
        await place.until(runtime, view.id, lambda each: each.status is Status.ERROR)
    with closing(sqlite3.connect(place.root / "store" / "store.db")) as log:
        assert log.execute("SELECT count(*) FROM event WHERE kind = 'channel_lost'").fetchone() == (1,)


async def test_a_provider_that_is_busy_is_asked_again_and_nobody_is_told_of_a_failure(place: Place) -> None:
    place.keeping("--resume", "--fails", "2")
    async with place.runtime() as runtime:
        view = await spawn(place, runtime, "[[say:at last]]")
        view = await place.until(runtime, view.id, lambda each: each.settled)
        assert (view.newest.state, view.newest.result) == (TaskState.COMPLETED, "at last")
        async with runtime.turn(PARENT) as turn:
            assert len(turn.nudges) == 1


async def test_a_provider_that_stays_busy_fails_the_task_and_not_the_agent(place: Place) -> None:
    place.keeping("--resume", "--fails", "3")
    async with place.runtime() as runtime:
        view = await spawn(place, runtime, "[[say:never]]")
        view = await place.until(runtime, view.id, lambda each: each.settled)
        assert (view.newest.state, view.status) == (TaskState.FAILED, Status.IDLE)
        assert "429" in view.newest.cause


async def test_a_message_is_put_into_the_running_turn_of_an_agent_that_takes_one(place: Place) -> None:
    place.keeping("--steering")
    async with place.runtime() as runtime:
        view = await spawn(place, runtime, "[[wait:go]]")
        await place.until(runtime, view.id, lambda each: each.newest.state is TaskState.RUNNING)
        sent = await runtime.send(PARENT, view.id, "turn left", mode="steer")
        assert sent.outcome == "injected"
        await touch(place, runtime, view.id, "go")
        view = await place.until(runtime, view.id, lambda each: each.settled)
        assert view.newest.result == "steered: turn left\n"
        assert len(view.tasks) == 1
        late = await runtime.send(PARENT, view.id, "[[say:as a task]]", mode="steer")
        assert late.outcome == "dispatched"
        view = await place.until(runtime, view.id, lambda each: each.settled)
        assert said(view, 2) == "as a task"


async def test_an_ended_subagent_that_was_kept_is_resumed_with_its_session_and_its_files(place: Place) -> None:
    place.keeping("--resume")
    async with place.runtime() as runtime:
        view = await spawn(place, runtime, "before [[write:kept.txt|kept]]", keep=True)
        await place.ended(runtime, view.id)
        ended = await runtime.stop(PARENT, view.id, finished=True)
        assert (ended.status, ended.resumable, ended.exported) == (Status.COMPLETED, True, True)
    async with place.runtime() as runtime:
        await runtime.resume(PARENT, view.id, "after [[recall]]")
        view = await place.until(runtime, view.id, lambda each: each.settled)
        assert said(view, 2).startswith("before")
        assert view.opening is Opening.RESUMED
        found = await runtime.check(PARENT, view.id, "cat kept.txt", seconds=30)
        assert found.output == "kept"
        await runtime.stop(PARENT, view.id)
        await runtime.remove(PARENT, view.id)
        with pytest.raises(Rejected) as gone:
            await runtime.status(PARENT, view.id)
        assert gone.value.kind == "unknown_subagent"


async def test_a_folder_below_the_workspace_is_where_the_agent_works_and_one_that_is_not_there_is_refused(
    place: Place,
) -> None:
    place.keeping()
    (place.workspace / "deep" / "er").mkdir(parents=True)
    (place.workspace / "deep" / "er" / "x.txt").write_text("x")
    async with place.runtime() as runtime:
        view = await spawn(place, runtime, "[[write:here.txt|x]]", cwd="deep/er")
        view = await place.until(runtime, view.id, lambda each: each.settled)
        found = await runtime.check(PARENT, view.id, "ls deep/er", seconds=30)
        assert found.output.split() == ["here.txt", "x.txt"]
        await runtime.stop(PARENT, view.id)


@pytest.mark.parametrize("answer", ["opt-0", "opt-1"])
async def test_a_permission_that_is_asked_for_waits_for_the_parent(place: Place, answer: str) -> None:
    async with place.runtime() as runtime:
        request = place.request("[[ask:allow_once,reject_once]]", permissions=Permissions.ASK)
        view = await runtime.spawn(PARENT, request)
        view = await place.until(runtime, view.id, lambda each: bool(each.requests))
        assert view.status is Status.WAITING
        async with runtime.turn(PARENT) as turn:
            assert view.requests[0].id in turn.text
        await runtime.answer(PARENT, view.id, view.requests[0].id, answer)
        view = await place.until(runtime, view.id, lambda each: each.settled)
        assert f"chose {answer}" in view.newest.result


async def test_work_that_cannot_be_taken_out_stays_where_it_is_until_it_is_removed(place: Place) -> None:
    exports = place.root / "store" / "work"
    told: list[str] = []
    async with place.runtime(told.append) as runtime:
        view = await place.do(runtime, "[[write:kept.txt|kept]]")
        exports.touch()  # no folder: nothing can be written there
        ended = await runtime.stop(PARENT, view.id, finished=True)
        assert (ended.status, ended.confirmed, ended.exported) == (Status.COMPLETED, True, False)
        assert [each for each in told if f"the work of {view.id} could not be taken out and is kept" in each]
        assert kept(place, view.id), "what could not be exported is the only copy"
        exports.unlink()
        assert await runtime.work(PARENT, view.id) is None
        async with runtime.turn(PARENT):
            pass
        await runtime.remove(PARENT, view.id)
        assert not kept(place, view.id)


def kept(place: Place, subagent: str) -> list[str]:
    """Return what is left of a subagent's home and work."""
    if place.name == "docker":
        return engine.volumes(f"io.acp-subagents.subagent={subagent}")
    return [str(each) for each in (place.root / "agents").glob(subagent)]


async def test_one_whose_volumes_are_gone_is_told_so_and_never_begins_in_an_empty_workspace(place: Place) -> None:
    place.keeping("--resume")
    async with place.runtime() as runtime:
        view = await spawn(place, runtime, "[[write:kept.txt|kept]]", keep=True, limits=Limits(restarts=0))
        await place.ended(runtime, view.id)
        await runtime.stop(PARENT, view.id, finished=True)
        if place.name == "docker":
            engine.remove_volumes(engine.volumes(f"io.acp-subagents.subagent={view.id}"))
        else:
            shutil.rmtree(place.root / "agents" / view.id)
        await runtime.resume(PARENT, view.id, "[[recall]]")
        view = await place.until(runtime, view.id, lambda each: each.status.over)
        assert (view.status, view.error_kind) == (Status.ERROR, "nothing_kept")
        await runtime.stop(PARENT, view.id)
        work = await runtime.work(PARENT, view.id)
        assert work is not None
        assert b"kept.txt" in work.patch, "the export of the first life is still there"
        async with runtime.turn(PARENT):
            pass
        await runtime.remove(PARENT, view.id)


async def test_the_last_words_of_an_agent_that_dies_between_its_tasks_are_kept(place: Place) -> None:
    dying = "import os, time\nwhile not os.path.exists('go'): time.sleep(0.01)\nsay(' last words')\nos._exit(3)"
    place.add_kind(AgentKind("talking", (place.python, "-c", TALKING.read_text(encoding="utf-8"), f"after={dying}")))
    async with place.runtime() as runtime:
        view = await spawn(place, runtime, "speak", agent="talking")
        await place.ended(runtime, view.id)
        await touch(place, runtime, view.id, "go")
        view = await place.until(runtime, view.id, lambda each: each.attempt == 2 and each.status is Status.IDLE)
        rows = (await runtime.transcript(PARENT, view.id)).entries
        assert "".join(row.text for row in rows if row.kind == "agent_message_chunk") == "done last words"
