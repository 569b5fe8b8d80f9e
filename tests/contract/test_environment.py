"""What happens when the ground is missing, and how much room the manager takes."""

import asyncio
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from acp_runtime.clock import ManualClock
from acp_runtime.core.model import Opening, TaskState
from acp_runtime.core.status import Status
from acp_runtime.manager.docker_launcher import DockerLauncher
from tests import engine
from tests.contract.conftest import PARENT, Place, assert_nothing_left, label, mark

MIB = 1_048_576
MEASURED = Path(__file__).with_name("giant_line.py")


async def test_an_engine_that_cannot_be_reached_fails_the_start_with_its_remedy(place: Place, tmp_path: Path) -> None:
    environ = {**os.environ, "DOCKER_HOST": f"unix://{tmp_path}/none.sock"}
    place.make_launcher = lambda: DockerLauncher(place.config, environ, labels=label(place.root))
    async with place.runtime() as runtime:
        view = await place.do(runtime, "anything")
        assert view.newest.state is TaskState.FAILED
        assert "none.sock" in view.newest.cause
        view = await place.until(runtime, view.id, lambda each: each.status.over)
        assert (view.status, view.error_kind) == (Status.ERROR, "engine_unreachable")


@pytest.mark.docker
@pytest.mark.parametrize("place", ["docker"], indirect=True)
async def test_an_image_that_is_not_there_fails_the_start_by_name(place: Place) -> None:
    async with place.runtime() as runtime:
        view = await place.do(runtime, "anything", image="no-such-image-anywhere:1")
        assert view.newest.state is TaskState.FAILED
        assert "no-such-image-anywhere:1" in view.newest.cause
        view = await place.until(runtime, view.id, lambda each: each.status.over)
        assert view.error_kind == "image_missing"


@pytest.mark.docker
@pytest.mark.parametrize("place", ["docker"], indirect=True)
@pytest.mark.parametrize("sentence", ["creating the container", "taking the workspace in"])
async def test_a_start_that_is_stopped_on_its_way_leaves_nothing(place: Place, sentence: str) -> None:
    reached = asyncio.Event()

    def progress(said: str) -> None:
        if said.startswith(sentence):
            reached.set()

    async with place.runtime(progress) as runtime:
        view = await runtime.spawn(PARENT, place.request("anything"))
        async with asyncio.timeout(60):
            await reached.wait()
        view = await runtime.stop(PARENT, view.id)
        assert (view.status, view.newest.state) == (Status.STOPPED, TaskState.CANCELLED)
        assert_nothing_left(place.root, on_the_engine=True)


@pytest.mark.docker
@pytest.mark.parametrize("place", ["docker"], indirect=True)
async def test_two_managers_work_side_by_side_on_one_engine_and_one_folder(place: Place) -> None:
    other = replace(place, root=place.root / "other")
    other.root.mkdir()
    (other.root / "repo").symlink_to(place.workspace)

    async def one(each: Place, word: str) -> None:
        async with each.runtime() as runtime:
            view = await each.do(runtime, f"[[write:{word}.txt|{word}]][[say:{word}]]")
            assert (view.newest.result, view.newest.files_changed) == (word, 1)

    await asyncio.gather(one(place, "left"), one(other, "right"))
    assert_nothing_left(place.root, on_the_engine=True)


async def test_a_cold_start_has_the_longer_deadline(place: Place) -> None:
    place.clock = ManualClock()
    place.kind("mute", "--never-initialize")
    place.add_kind(replace(place.config.catalogue.kinds["mute"], cold_start=True))
    async with place.runtime() as runtime:
        view = await runtime.spawn(PARENT, place.request("anything", agent="mute"))
        await place.until(runtime, view.id, lambda each: each.step == "initialize")
        place.clock.advance(119_999)
        assert (await runtime.status(PARENT, view.id)).status is Status.STARTING
        place.clock.advance(1)
        view = await place.until(runtime, view.id, lambda each: each.status is Status.TIMED_OUT)
        assert "initialize within 120 s" in view.newest.cause


@pytest.mark.parametrize("directive", ["bigline", "bigresponse"])
async def test_a_line_of_100_megabytes_costs_the_manager_at_most_64(place: Place, directive: str) -> None:
    """In a process of its own: its peak of resident memory before and after."""
    argv = (sys.executable, str(MEASURED), place.name, str(place.root), place.config.base_image or "", directive)
    process = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[2])
    async with asyncio.timeout(100):
        out, _ = await process.communicate()
    assert process.returncode == 0
    before, after, cause = out.decode().split(" ", 2)
    assert int(after) - int(before) <= 64 * MIB, f"grew by {(int(after) - int(before)) // MIB} MiB"
    assert ("over the cap" if directive == "bigresponse" else "size limit") in cause


@pytest.mark.docker
@pytest.mark.parametrize("place", ["docker"], indirect=True)
async def test_a_manager_that_was_killed_with_its_agent_is_followed_by_one_that_tells_the_truth_and_saves_the_work(
    place: Place,
) -> None:
    subagent = await killed(place)
    async with place.runtime() as runtime:
        view = await place.ended(runtime, subagent)
        assert view.newest.state is TaskState.INTERRUPTED
        assert "the outcome is unknown" in view.newest.cause
        await place.until(runtime, subagent, lambda each: each.status is Status.ERROR)
        async with runtime.turn(PARENT) as turn:
            assert len(turn.nudges) == 1
        await runtime.stop(PARENT, subagent)
        work = await runtime.work(PARENT, subagent)
        assert work is not None
        assert b"half.txt" in work.patch


async def killed(place: Place, *words: str) -> str:
    """Run a manager until its agent works, kill both, and return the subagent's id."""
    argv = (sys.executable, str(Path(__file__).with_name("killed_manager.py")), str(place.root))
    process = await asyncio.create_subprocess_exec(
        *argv, str(place.config.base_image), *words, stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    assert process.stdout is not None
    async with asyncio.timeout(60):
        subagent = (await process.stdout.readline()).decode().strip()
        process.kill()
        await process.wait()
    for container in engine.containers(f"io.acp-subagents.test={mark(place.root)}", running=True):
        engine.kill(container)
    return subagent


@pytest.mark.docker
@pytest.mark.parametrize("place", ["docker"], indirect=True)
async def test_the_next_manager_goes_on_with_the_session_the_files_and_the_queue(place: Place) -> None:
    place.keeping("--resume")
    subagent = await killed(place, "keeping")
    async with place.runtime() as runtime:
        view = await place.until(runtime, subagent, lambda each: each.settled)
        assert [task.state for task in view.tasks] == [TaskState.INTERRUPTED, TaskState.COMPLETED]
        assert view.opening is Opening.RESUMED
        assert view.newest.result.startswith("[[write:half.txt|half]]"), "the session is another one"
        found = await runtime.check(PARENT, subagent, "cat half.txt", seconds=30)
        assert found.output == "half"
        async with runtime.turn(PARENT) as turn:
            assert len(turn.nudges) == 2
