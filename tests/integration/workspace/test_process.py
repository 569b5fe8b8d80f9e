"""Programs run to their end: bounds on time, output and descendants."""

import asyncio
import os
from pathlib import Path

import pytest

from sandbox.errors import CommandMissing, CommandTimeout, WorkspaceError
from sandbox.workspace.process import OutputFile, run_process
from tests.integration.workspace.processes import died, processes_with, watch

ENV = {"PATH": os.environ["PATH"]}


def shell(script, *, stdin=None, output=1_000_000, seconds=60):
    return run_process(["sh", "-c", script], cwd=Path("/"), env=ENV, stdin=stdin, output=output, seconds=seconds)


async def test_a_program_gets_its_input_and_gives_its_output_and_status():
    ended = await shell("cat; echo complaint >&2; exit 3", stdin=b"words")
    assert (ended.exit_code, ended.stdout, ended.stderr, ended.truncated) == (3, b"words", b"complaint\n", False)


async def test_output_over_its_bound_is_dropped_and_the_program_ends():
    ended = await shell("head -c 3000000 /dev/zero; exit 5", output=1000)
    assert (ended.exit_code, len(ended.stdout), ended.truncated) == (5, 1000, True)
    assert not (await shell("head -c 1000 /dev/zero", output=1000)).truncated


async def test_output_to_a_file_over_its_bound_ends_the_program(tmp_path):
    with (tmp_path / "file").open("wb") as file:
        ended = await shell("cat /dev/zero", output=OutputFile(file, 3_000_000))
    assert ended.truncated
    assert (tmp_path / "file").stat().st_size <= 3_000_000


async def test_no_pipe_stays_open_whose_end_nobody_read(tmp_path):
    with (tmp_path / "file").open("wb") as file:
        before = descriptors()
        for limit in range(0, 3_000_000, 100_000):  # whether the pipe is read on at that moment is a matter of chance
            assert (await shell("cat /dev/zero", output=OutputFile(file, limit))).truncated
        await asyncio.sleep(0)  # transports close in the next step of the event loop
        assert descriptors() <= before


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_a_program_that_does_not_read_its_input_ends_as_it_wants():
    assert (await shell("exec <&-; exit 4", stdin=b"x" * 3_000_000)).exit_code == 4


async def test_a_program_without_input_sees_its_end():
    assert (await shell("cat")).stdout == b""


@pytest.mark.parametrize("how", ["cancel", "input"])
async def test_when_a_run_breaks_off_the_program_and_its_children_die(tmp_path, how):
    pids = tmp_path / "pids"
    os.mkfifo(pids)
    started = asyncio.create_task(asyncio.to_thread(pids.read_text))
    watched = asyncio.Event()

    async def broken():
        yield b"x"
        await watched.wait()
        raise WorkspaceError("broken")

    script = f"sleep 600 & echo $$ $! > {pids}; wait"
    task = asyncio.create_task(shell(script, stdin=broken() if how == "input" else None))
    handles = watch((await asyncio.wait_for(started, 60)).split())
    assert len(handles) == 2
    watched.set()
    if how == "cancel":
        task.cancel()
    with pytest.raises(asyncio.CancelledError if how == "cancel" else WorkspaceError):
        await task
    await died(handles)


async def test_a_cancellation_at_any_moment_of_the_start_leaves_no_process(tmp_path):
    """Each round lets the start get one step of the event loop further."""
    for steps in range(30):
        task = asyncio.create_task(
            run_process(
                ["sh", "-c", "sleep 600 & sleep 600"],
                cwd=Path("/"),
                env={**ENV, "NAME": str(tmp_path)},
                stdin=b"",
                output=1,
                seconds=60,
            )
        )
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await died(watch(processes_with(tmp_path)))


async def test_a_program_that_takes_too_long_dies_with_its_children(tmp_path):
    """A busy machine may need a while to start the program at all."""
    pids = tmp_path / "pids"
    pids.touch()
    for seconds in (1, 5, 30):
        with pytest.raises(CommandTimeout, match=rf"^sh -c had not ended after {seconds} s and was killed"):
            await shell(f"sleep 600 & echo $$ $! > {pids}; wait", seconds=seconds)
        if found := pids.read_text().split():
            break
    assert len(found) == 2
    await died(watch(found))


async def test_what_a_program_left_behind_dies_when_it_takes_too_long(tmp_path):
    pids = tmp_path / "pids"
    pids.touch()
    for seconds in (1, 5, 30):
        with pytest.raises(CommandTimeout):
            await shell(f"sleep 600 & echo $! > {pids}", seconds=seconds)  # which holds the output open
        if found := pids.read_text().split():
            break
    await died(watch(found))


async def test_a_program_that_is_not_there_has_its_own_error():
    with pytest.raises(CommandMissing, match=r"^no-such-program cannot be executed"):
        await run_process(["no-such-program"], cwd=Path("/"), env=ENV, stdin=None, output=1, seconds=60)
