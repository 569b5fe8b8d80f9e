"""What a root file system is made with ends with its maker: real namespaces, real kills. EOF on a pipe is the proof."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sandbox.image_rootfs import ALONE, _run

REPO = Path(__file__).parents[2]
TREE = 'exec >"$1"; mount -t tmpfs none "${1%/*}"; setsid sleep 300 & echo up; exec sleep 300'
MAKER = "import asyncio, sys; from sandbox.image_rootfs import _run; asyncio.run(_run(sys.argv[1:], 300))"


@pytest.fixture(autouse=True)
def root() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root: only root makes a root file system")


@contextlib.asynccontextmanager
async def listening(fifo: Path) -> AsyncIterator[asyncio.StreamReader]:
    """Read a pipe that ends when the last process that has it open is dead."""
    os.mkfifo(fifo)
    reader = asyncio.StreamReader()
    handle = os.fdopen(os.open(fifo, os.O_RDONLY | os.O_NONBLOCK), "rb")
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), handle
    )
    yield reader
    transport.close()


def mounted(folder: Path) -> bool:
    return str(folder) in Path("/proc/self/mounts").read_text()


def command(fifo: Path) -> list[str]:
    return [*ALONE, "sh", "-c", TREE, "sh", str(fifo)]


async def test_a_cancelled_maker_leaves_no_process_and_no_mount(tmp_path: Path):
    async with asyncio.timeout(30), listening(tmp_path / "fifo") as tree:
        task = asyncio.ensure_future(_run(command(tmp_path / "fifo"), 300))
        assert await tree.readline() == b"up\n"
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await tree.read() == b""
    assert not mounted(tmp_path)


async def test_a_killed_maker_leaves_no_process_and_no_mount(tmp_path: Path):
    async with asyncio.timeout(30), listening(tmp_path / "fifo") as tree:
        argv = (sys.executable, "-c", MAKER, *command(tmp_path / "fifo"))
        maker = await asyncio.create_subprocess_exec(*argv, cwd=REPO)
        assert await tree.readline() == b"up\n"
        maker.send_signal(signal.SIGKILL)
        await maker.wait()
        assert await tree.read() == b""
    assert not mounted(tmp_path)
