"""The daemon's socket: whose it is, and who may be on either end of it."""

import asyncio
import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from acp_runtime import __version__
from acp_runtime.api.errors import DaemonError
from acp_runtime.core.errors import Rejected, StoreOwned
from acp_runtime.store.db import SCHEMA_VERSION
from tests.integration.api.conftest import BOUND, Site

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: acts as another user")


def hello_of(site: Site) -> dict[str, Any] | None:
    try:
        return site.client.hello()
    except DaemonError:
        return None


LISTEN = "import os, socket, sys; os.setuid(65534); s = socket.socket(fileno=0); s.listen(); print(flush=True); input()"


INTRUDE = """
import os, socket, sys
os.setgid(65534); os.setuid(65534)
with socket.socket(socket.AF_UNIX) as s:
    s.settimeout(30)
    s.connect(sys.argv[1])
    try:
        s.sendall(b"GET /v1/hello HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
        print(s.recv(100))
    except OSError as error:
        print(b"")
"""


async def test_the_socket_is_for_its_user_alone_and_goes_with_the_daemon(site: Site) -> None:
    async with site.daemon():
        assert stat.S_IMODE(site.socket.stat().st_mode) == 0o600
        assert stat.S_IMODE(site.socket.parent.stat().st_mode) == 0o700
        hello = await asyncio.to_thread(site.client.hello)
        assert (hello["version"], hello["schema"], hello["pid"]) == (__version__, SCHEMA_VERSION, os.getpid())
        assert (len(hello["store"]), hello["epoch"]) == (8, 1)
    assert not site.socket.exists()
    with pytest.raises(DaemonError, match=r"no daemon can be reached at .*: nobody listens there; start it") as gone:
        site.client.hello()
    assert gone.value.kind == "daemon_unreachable"


async def test_a_socket_of_a_dead_daemon_is_replaced_and_one_of_a_living_is_not(site: Site) -> None:
    site.socket.parent.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(site.socket))
    async with site.daemon():
        hello = await asyncio.to_thread(site.client.hello)
    with socket.socket(socket.AF_UNIX) as living:
        living.bind(str(site.socket))
        living.listen()
        with pytest.raises(Rejected, match="another process listens on it") as refused:
            async with site.daemon():
                pass
    assert (refused.value.kind, hello["epoch"]) == ("socket_refused", 1)


@pytest.mark.parametrize("removed", ["socket", "folder"])
async def test_a_daemon_whose_socket_was_removed_listens_anew(site: Site, removed: str) -> None:
    site.config = replace(site.config, daemon=replace(site.config.daemon, lease=0.3))
    async with site.daemon():
        hello = await asyncio.to_thread(site.client.hello)
        shutil.rmtree(site.socket.parent) if removed == "folder" else site.socket.unlink()
        async with asyncio.timeout(BOUND):
            while (again := await asyncio.to_thread(hello_of, site)) is None:
                pass
        assert again == hello
        assert stat.S_IMODE(site.socket.parent.stat().st_mode) == 0o700
    assert not site.socket.exists()


async def test_a_second_daemon_of_one_store_is_refused(site: Site) -> None:
    async with site.daemon():
        with pytest.raises(StoreOwned, match=f"owned by the running process {os.getpid()};"):
            async with site.daemon():
                pass
        assert (await asyncio.to_thread(site.client.hello))["epoch"] == 1


def test_a_folder_that_others_may_enter_is_refused_by_the_client(site: Site) -> None:
    site.socket.parent.mkdir(mode=0o700)
    site.socket.parent.chmod(0o755)
    with pytest.raises(DaemonError, match=r"is open to others \(mode 0755, owner \d+\); chmod 700 it") as refused:
        site.client.hello()
    assert refused.value.kind == "socket_unsafe"


@needs_root
def test_a_folder_of_somebody_else_is_refused_by_the_client(site: Site) -> None:
    site.socket.parent.mkdir(mode=0o700)
    os.chown(site.socket.parent, 65534, 65534)
    with pytest.raises(DaemonError, match="belongs to another user"):
        site.client.hello()


@needs_root
def test_somebody_else_who_listens_on_the_socket_is_not_talked_to(site: Site) -> None:
    site.socket.parent.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(site.socket))
        code = LISTEN.replace("input()", "os.read(3, 1)").replace("fileno=0", f"fileno={bound.fileno()}")
        reader, writer = os.pipe()
        code = code.replace("os.read(3, 1)", f"os.read({reader}, 1)")
        argv = [sys.executable, "-c", code]
        kept = (bound.fileno(), reader)
        with subprocess.Popen(argv, stdout=subprocess.PIPE, pass_fds=kept) as other:
            assert other.stdout is not None
            other.stdout.readline()
            with pytest.raises(DaemonError, match=r"user 65534 listens on .*, not you") as refused:
                site.client.hello()
            os.close(writer)
        os.close(reader)
    assert refused.value.kind == "socket_unsafe"


@needs_root
async def test_a_process_of_another_user_gets_no_answer_even_where_it_gets_in(site: Site) -> None:
    async with site.daemon():
        private = Path(tempfile.gettempdir())
        for folder in (each for each in site.socket.parents if each.is_relative_to(private) and each != private):
            folder.chmod(0o755)
        site.socket.chmod(0o666)
        argv = [sys.executable, "-c", INTRUDE, str(site.socket)]
        process = await asyncio.create_subprocess_exec(*argv, stdout=subprocess.PIPE)
        out, _ = await process.communicate()
    assert out.strip() == b"b''", "the daemon talked to another user"
