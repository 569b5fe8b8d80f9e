"""Two managers of two stores on one engine: as processes beside each other, and each in a container of its own."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import pytest

from sandbox.spec import LABEL
from tests import engine as beside
from tests.docker.conftest import TEST_LABELS

pytestmark = [pytest.mark.docker, pytest.mark.requirement("D09.3")]

REPO = Path(__file__).parents[2]
SCRIPT = "tests/docker/manager_process.py"
SOCKET = "/var/run/docker.sock"
BOUND = 60.0
IDLE = ["sleep", "infinity"]


@dataclass
class Manager:
    """One that runs; `kill` ends it as a crash does."""

    store: str
    who: dict[str, Any]
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    kill: Callable[[], Awaitable[None]]

    async def ask(self, **command: object) -> Any:
        self.writer.write(json.dumps(command).encode() + b"\n")
        async with asyncio.timeout(BOUND):
            return json.loads(await self.reader.readline())

    async def make(self, subagent: str, *argv: str) -> str:
        return str(await self.ask(make=subagent, argv=list(argv) or IDLE))

    async def reap(self, **log: int | None) -> dict[str, tuple[str, str]]:
        return {ident: (action, why) for ident, (action, why) in (await self.ask(reap=log)).items()}


Start = Callable[..., Awaitable[Manager]]


def in_a_process(arguments: list[str]) -> Callable[[], Awaitable[None]]:
    environ = {**os.environ, "PYTHONPATH": str(REPO)}
    process = subprocess.Popen([sys.executable, SCRIPT, *arguments], cwd=REPO, env=environ)

    async def kill() -> None:
        process.kill()
        await asyncio.to_thread(process.wait, BOUND)

    return kill


def in_a_container(arguments: list[str], image: str, labels: dict[str, str]) -> Callable[[], Awaitable[None]]:
    """Run it with this machine's packages and checkout, read-only, and the engine's socket."""
    folder = str(Path(arguments[0]).parent)
    packages = str(Path(docker.__file__).parents[1])
    places = [(str(REPO), "/repo"), (packages, "/packages"), (folder, folder), (SOCKET, SOCKET)]
    with beside.client() as client:
        host = client.api.create_host_config(
            network_mode="none",
            binds=[f"{source}:{target}" + ":ro" * (source in (str(REPO), packages)) for source, target in places],
        )
        made = client.api.create_container(
            image,
            ["python3", "-B", SCRIPT, *arguments],
            working_dir="/repo",
            environment={"PYTHONPATH": "/repo:/packages", "DOCKER_HOST": f"unix://{SOCKET}"},
            labels={**labels, f"{LABEL}role": "manager"},
            host_config=host,
        )["Id"]
        client.api.start(made)

    async def kill() -> None:
        await asyncio.to_thread(beside.remove_containers, [made])

    return kill


@pytest.fixture(params=["processes", "containers"])
async def start(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, image: str, store: str
) -> AsyncIterator[Start]:
    """Start managers; all that they made is removed after the test."""
    if request.param == "containers" and sys.version_info[:2] != system_version(image):
        pytest.skip("this machine's python3 is another than the tests', whose packages it could not load")
    folder = tmp_path_factory.mktemp("m", numbered=True)
    labels = {**TEST_LABELS, f"{LABEL}test-store": store}
    started: list[Manager] = []
    connected: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
    path = folder / "m.sock"
    server = await asyncio.start_unix_server(lambda *streams: connected.put_nowait(streams), path)

    async def start(name: str, epoch: int = 1) -> Manager:
        arguments = [str(path), name, str(epoch), image, json.dumps(labels)]
        where = in_a_process(arguments) if request.param == "processes" else in_a_container(arguments, image, labels)
        async with asyncio.timeout(BOUND):
            reader, writer = await connected.get()
            manager = Manager(name, json.loads(await reader.readline()), reader, writer, where)
        started.append(manager)
        return manager

    start.apart = request.param == "containers"  # type: ignore[attr-defined]
    yield start
    for manager in started:
        manager.writer.close()
        await manager.kill()
    server.close()
    await server.wait_closed()
    wanted = f"{LABEL}test-store={store}"
    beside.remove_containers(beside.containers(wanted))
    beside.remove_volumes(beside.volumes(wanted))


def system_version(image: str) -> tuple[int, int]:
    client = docker.from_env(timeout=30)
    try:
        said = client.containers.run(image, ["python3", "-c", "import sys; print(*sys.version_info[:2])"], remove=True)
    finally:
        client.close()
    major, minor = said.split()
    return int(major), int(minor)


def state(container: str) -> str:
    with beside.client() as client:
        try:
            return str(client.api.inspect_container(container)["State"]["Status"])
        except docker.errors.NotFound:
            return "gone"


async def test_neither_takes_anything_from_the_other(start: Start, store: str) -> None:
    one, two = await start(f"1{store}"), await start(f"2{store}")
    runs, ended = {}, {}
    for manager in (one, two):
        runs[manager.store] = await manager.make("runs")
        ended[manager.store] = await manager.make("ended", "true")
    done = dict(
        zip(
            (one.store, two.store),
            await asyncio.gather(*(each.reap(runs=1, ended=1) for each in (one, two))),
            strict=True,
        )
    )
    for mine, other in ((one, two), (two, one)):
        for things in (runs, ended):
            assert done[mine.store][things[mine.store]][0] == "keep"
            action, why = done[mine.store][things[other.store]]
            assert action == ("untouched" if start.apart else "keep"), why
            assert other.store in why
    assert [state(each) for each in runs.values()] == ["running", "running"]
    assert [state(each) for each in ended.values()] == ["exited", "exited"]


async def test_what_a_dead_one_left_goes_only_where_its_death_can_be_seen(start: Start, store: str) -> None:
    one, two = await start(f"1{store}"), await start(f"2{store}")
    runs, ended = await one.make("runs"), await one.make("ended", "true")
    assert one.who["machine"] == two.who["machine"]
    assert one.who["boot"] == two.who["boot"]
    assert (one.who["pid_namespace"] == two.who["pid_namespace"]) is not start.apart
    await one.kill()
    done = await two.reap()
    assert done[runs][0] == ("untouched" if start.apart else "keep")
    # Managers of other tests may be quicker.
    assert done.get(ended, ("removed",))[0] == ("untouched" if start.apart else "removed")
    assert state(runs) == "running", "its holder ends it"
    later = await start(one.store, 2)
    done = await later.reap(runs=1)
    assert done[runs][0] == "keep"
    assert state(ended) == "gone", "its own store's next manager removes it"
    assert state(runs) == "running"
