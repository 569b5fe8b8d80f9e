"""Whether a relay answers, as a program in its container learns it: `relay check`."""

import asyncio
import contextlib
import signal
import socket
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.relay_process import (
    BOUND,
    READY,
    Relay,
    assert_at_rest,
    close,
    echo,
    free_port,
    host,
    refusal,
    talk,
)


@contextlib.asynccontextmanager
async def checkable(program: Path, folder: Path, *, listening: bool = False) -> AsyncIterator[Relay]:
    """A relay that can be checked at `health` in the folder."""
    port, path = free_port(), folder / "host.sock"
    at = f"127.0.0.1:{port}"
    words = ("listen", folder / "relay.sock", at) if listening else (at, path)
    process = await asyncio.create_subprocess_exec(
        program, "health", folder / "health", *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(BOUND):
            assert await process.stdout.readline() == READY
            yield Relay(process, port, path)
            process.send_signal(signal.SIGTERM)
            rest, said = await process.communicate()
            assert (process.returncode, rest, said.decode()) == (0, b"", "")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def check(program: Path, folder: Path) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        program, "check", folder / "health", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(BOUND):
        out, err = await process.communicate()
    assert err == b""
    return process.returncode, out.decode()


@pytest.mark.requirement("D09.37")
@pytest.mark.parametrize("listening", [False, True], ids=["sockets", "listen"])
async def test_a_relay_that_runs_is_found_well_whether_or_not_its_other_side_is_there(program, tmp_path, listening):
    async with checkable(program, tmp_path, listening=listening) as relay:
        for _ in range(20):
            assert await check(program, tmp_path) == (0, "")
        assert stat.S_IMODE((tmp_path / "health").stat().st_mode) == 0o600
        assert_at_rest(relay)


@pytest.mark.requirement("D09.37")
async def test_a_relay_that_hangs_is_found_not_to_answer_within_a_bound(program, tmp_path):
    async with checkable(program, tmp_path) as relay:
        relay.process.send_signal(signal.SIGSTOP)
        assert (await check(program, tmp_path))[0] == -signal.SIGALRM
        relay.process.send_signal(signal.SIGCONT)
        assert await check(program, tmp_path) == (0, "")


async def test_where_no_relay_runs_that_is_said(program, tmp_path):
    said = (1, "relay: it does not run, or cannot be asked.\n")
    assert await check(program, tmp_path) == said
    async with checkable(program, tmp_path):
        pass
    assert await check(program, tmp_path) == said
    async with checkable(program, tmp_path):  # what was left there is in nobody's way
        assert await check(program, tmp_path) == (0, "")


async def test_who_checks_it_in_a_rush_and_never_listens_keeps_it_from_nothing(program, tmp_path):
    async with checkable(program, tmp_path) as relay, host(relay.path, echo):
        with contextlib.ExitStack() as rush:
            for _ in range(200):
                line = rush.enter_context(socket.socket(socket.AF_UNIX))
                line.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    line.connect(str(tmp_path / "health"))
            assert await talk(relay, b"hello") == b"hello"
        assert await check(program, tmp_path) == (0, "")
        assert_at_rest(relay)


async def test_a_relay_without_a_descriptor_left_does_not_spin_and_answers_later(program, tmp_path):
    async with checkable(program, tmp_path) as relay, host(relay.path, echo):
        relay.limit_files(relay.open_files())
        checking = asyncio.ensure_future(check(program, tmp_path))
        reader, writer = await relay.connect()  # stays in the backlog
        assert_at_rest(relay)
        relay.limit_files(1000)
        assert await checking == (0, "")
        await close(writer)
        assert await reader.read() == b""


async def test_a_socket_that_cannot_be_had_is_named(program, tmp_path):
    code, said = await refusal(program, "health", str(tmp_path), f"127.0.0.1:{free_port()}", "/s")
    assert (code, said.startswith(f"relay: cannot listen on {tmp_path}: ")) == (1, True)
