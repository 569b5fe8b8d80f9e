"""Programs run to their end: bounds on time, output and descendants."""

import asyncio
import contextlib
import os
from pathlib import Path

import pytest

from sandbox.errors import CommandMissing, CommandTimeout, WorkspaceError
from sandbox.workspace.process import OutputFile, run_process

ENV = {"PATH": os.environ["PATH"]}


def shell(script, *, stdin=None, output=1_000_000, seconds=60):
    return run_process(["sh", "-c", script], cwd=Path("/"), env=ENV, stdin=stdin, output=output, seconds=seconds)


def is_alive(pid):
    status = Path(f"/proc/{pid}/stat")
    with contextlib.suppress(OSError):
        return status.read_text().rpartition(")")[2].split()[0] != "Z"
    return False


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


async def test_a_program_that_does_not_read_its_input_ends_as_it_wants():
    assert (await shell("exec <&-; exit 4", stdin=b"x" * 3_000_000)).exit_code == 4


async def test_a_program_without_input_sees_its_end():
    assert (await shell("cat")).stdout == b""


@pytest.mark.parametrize("how", ["timeout", "cancel", "input"])
async def test_when_a_run_breaks_off_the_program_and_its_children_are_gone(tmp_path, how):
    pids = tmp_path / "pids"
    os.mkfifo(pids)
    started = asyncio.create_task(asyncio.to_thread(pids.read_text))

    async def broken():
        yield b"x"
        await asyncio.shield(started)
        raise WorkspaceError("broken")

    stdin = broken() if how == "input" else None
    run = shell(f"sleep 600 & echo $$ $! > {pids}; wait", stdin=stdin, seconds=2 if how == "timeout" else 60)
    task = asyncio.create_task(run)
    alive = (await asyncio.wait_for(asyncio.shield(started), 60)).split()
    if how == "cancel":
        task.cancel()
    with pytest.raises({"timeout": CommandTimeout, "cancel": asyncio.CancelledError, "input": WorkspaceError}[how]):
        await task
    assert [pid for pid in alive if is_alive(pid)] == []


async def test_a_program_that_is_not_there_has_its_own_error():
    with pytest.raises(CommandMissing, match=r"^no-such-program cannot be executed"):
        await run_process(["no-such-program"], cwd=Path("/"), env=ENV, stdin=None, output=1, seconds=60)
