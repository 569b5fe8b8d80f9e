"""What talks over TCP sends at once: else the second of two messages waits 40 ms for word that the first is there."""

import asyncio
import ctypes
import os
import platform
import socket
import subprocess
from contextlib import closing, suppress
from pathlib import Path

import pytest

from acp_runtime.manager.tools_socket import TOKEN_VARIABLE
from sandbox.programs import program
from tests.integration.api.conftest import BOUND
from tests.integration.mcp.door import Door, door, served, site, until

__all__ = ["door", "served", "site"]
_PIDFD_GETFD = 438


def sends_at_once(pid: int, peer: tuple[str, int]) -> bool | None:
    """Return whether the connection of a process to a peer does; None where there is none yet."""
    libc, process = ctypes.CDLL(None), os.pidfd_open(pid)
    try:
        for each in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                if not str(each.readlink()).startswith("socket:"):
                    continue
                copied = libc.syscall(_PIDFD_GETFD, process, int(each.name), 0)
                with socket.socket(fileno=copied) as found:
                    if found.family == socket.AF_INET and found.getpeername() == peer:
                        return bool(found.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
    finally:
        os.close(process)
    return None


@pytest.mark.requirement("D10.52")
def test_the_tools_of_an_agent_send_at_once() -> None:
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(BOUND)
        argv = [program("tools", architecture), f"127.0.0.1:{listener.getsockname()[1]}"]
        with subprocess.Popen(argv, env={TOKEN_VARIABLE: "x"}, stdin=subprocess.PIPE) as tools:
            connection, _ = listener.accept()
            with connection:
                assert sends_at_once(tools.pid, listener.getsockname())
            tools.kill()


@pytest.mark.requirement("D10.48")
async def test_the_port_of_the_daemon_answers_at_once(door: Door) -> None:
    host, _, port = door.url.split("/")[2].partition(":")
    _, writer = await asyncio.open_connection(host, int(port))
    with closing(writer):
        name = writer.get_extra_info("sockname")
        await until(lambda: sends_at_once(os.getpid(), name) is not None)
        await until(lambda: bool(sends_at_once(os.getpid(), name)))
