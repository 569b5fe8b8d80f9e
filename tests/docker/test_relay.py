"""The relay in its place: PID 1's child in a container without a network, beside an agent that is not trusted."""

import asyncio
import contextlib
import json
import os
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from sandbox.container import Sandbox
from sandbox.engine import Engine
from sandbox.errors import SandboxError
from sandbox.programs import program as program_file
from sandbox.spec import HostMount
from tests.integration.http_ends import KEY, forwarding, upstream
from tests.integration.relay_process import echo, host

pytestmark = pytest.mark.docker

RUN = "/run/subagents"
PROGRAM = "/opt/subagents/relay"
PORT = 8790
GID = 54321 if os.geteuid() == 0 else os.getegid()
OWNER = 54321 if os.geteuid() == 0 else os.geteuid()  # not root: what a container may do is then the group's alone

PutRelay = Callable[[Path], Awaitable[Sandbox]]

CONNECT = f"""
import socket
def connect():
    for attempt in range(100_000):  # the relay may be younger than this program
        try:
            return socket.create_connection(("127.0.0.1", {PORT}), timeout=30)
        except ConnectionRefusedError:
            pass
"""
ECHO = f"""{CONNECT}
line, sent = connect(), bytes(i * 7 % 251 for i in range(300_000))
line.sendall(sent)
line.shutdown(socket.SHUT_WR)
heard = b"".join(iter(lambda: line.recv(65536), b""))
print(heard == sent)
"""
TRESPASS = f"""
import json, os, signal, socket
def tried(act):
    try:
        return repr(act())
    except OSError as error:
        return type(error).__name__
def connect():
    with socket.socket(socket.AF_UNIX) as line:
        line.connect("{RUN}/model.sock")
relay = next(pid for pid in os.listdir("/proc") if pid.isdigit() and "relay" in open(f"/proc/{{pid}}/comm").read())
print(json.dumps({{
    "list": tried(lambda: os.listdir("{RUN}")),
    "connect": tried(connect),
    "stat": tried(lambda: os.stat("{RUN}/model.sock")),
    "write": tried(lambda: open("{RUN}/mine", "w")),
    "signal": tried(lambda: os.kill(int(relay), signal.SIGTERM)),
    "memory": tried(lambda: open(f"/proc/{{relay}}/mem", "rb")),
    "environment": tried(lambda: open(f"/proc/{{relay}}/environ", "rb").read()),
    "descriptors": tried(lambda: os.listdir(f"/proc/{{relay}}/fd")),
    "port": tried(lambda: socket.create_server(("127.0.0.1", {PORT}))),
}}))
"""
ASK = f"""{CONNECT}
import http.client, os
line = http.client.HTTPConnection("127.0.0.1", {PORT}, timeout=30)
line.sock = connect()
line.request("POST", "/v1/chat/completions", b"{{}}", {{"authorization": "Bearer stand-in"}})
answer = line.getresponse()
print(answer.status, answer.read().decode(), {KEY!r} in str(os.environ))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The run directory of one sandbox, as the manager makes it."""
    path = tmp_path / "run"
    path.mkdir()
    path.chmod(0o750)
    os.chown(path, OWNER, GID)
    return path


@pytest.fixture
def put_relay(engine: Engine, make_sandbox: Callable[..., Awaitable[Sandbox]], tmp_path: Path) -> PutRelay:
    async def put(folder: Path) -> Sandbox:
        program = tmp_path / "program"
        program.mkdir()
        program.chmod(0o755)
        shutil.copy(program_file("relay", engine.facts.architecture), program / "relay")
        mounts = (HostMount(str(folder), RUN), HostMount(str(program), PROGRAM))
        command = (f"{PROGRAM}/relay", f"127.0.0.1:{PORT}", f"{RUN}/model.sock")
        return await make_sandbox(command=command, gid=GID, mounts=mounts, work=False, home=False)

    return put


async def python(sandbox: Sandbox, script: str) -> str:
    done = await sandbox.run(("python3", "-c", script), cwd="/", limit_bytes=1 << 20, timeout=60)
    assert (done.exit_code, done.stderr.decode()) == (0, "")
    return done.stdout.decode().strip()


def give_to_group(path: Path) -> None:
    path.chmod(0o660)
    os.chown(path, OWNER, GID)


async def test_an_agent_talks_through_the_loopback_port_with_a_socket_of_the_host(folder, put_relay):
    async with host(folder / "model.sock", echo):
        give_to_group(folder / "model.sock")
        sandbox = await put_relay(folder)
        assert await python(sandbox, ECHO) == "True"


async def test_an_agent_reaches_neither_the_socket_nor_the_relay_itself(folder, put_relay):
    async with host(folder / "model.sock", echo):
        give_to_group(folder / "model.sock")
        sandbox = await put_relay(folder)
        assert await python(sandbox, ECHO) == "True"
        found = json.loads(await python(sandbox, TRESPASS))
        assert found.pop("port") == "OSError"
        assert set(found.values()) == {"PermissionError"}, found
        assert await python(sandbox, ECHO) == "True"


async def test_a_model_request_from_inside_arrives_with_the_key_that_is_not_inside(folder, put_relay):
    os.chown(folder, os.geteuid(), GID)

    async def answer(end, request):
        await end.hear_body()
        known = dict(request.headers)[b"authorization"] == b"Bearer " + KEY.encode()
        await end.answer(200, b"with the key" if known else b"without the key")

    async with upstream(answer) as model, forwarding(folder, model.url) as forwarder:
        assert forwarder.path.stat().st_gid == GID
        sandbox = await put_relay(folder)
        assert await python(sandbox, ASK) == "200 with the key False"
        assert (forwarder.tally.requests, forwarder.tally.failures) == (1, 0)


async def test_the_relay_outlives_the_host_and_holds_what_comes_until_the_next_one(folder, put_relay):
    async with host(folder / "model.sock", echo):
        give_to_group(folder / "model.sock")
        sandbox = await put_relay(folder)
        assert await python(sandbox, ECHO) == "True"
    held = asyncio.ensure_future(python(sandbox, ECHO))
    (folder / "model.sock").unlink(missing_ok=True)
    async with host(folder / "model.sock", echo):
        give_to_group(folder / "model.sock")
        assert await held == "True"


async def test_a_stop_of_the_init_ends_the_relay_with_success(folder, put_relay):
    async with host(folder / "model.sock", echo):
        give_to_group(folder / "model.sock")
        sandbox = await put_relay(folder)
        assert await python(sandbox, ECHO) == "True"
        with contextlib.suppress(SandboxError):  # the container may end before the command that ends it
            await sandbox.run(("sh", "-c", "kill -TERM 1"), cwd="/", limit_bytes=1000, timeout=30, user=f"0:{GID}")
        assert await sandbox.engine.wait_container(sandbox.id, bound=30) == 0
