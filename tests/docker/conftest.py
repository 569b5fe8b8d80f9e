"""What tests on a real engine share: a connection, the small image, sandboxes that are removed, and a check for leaks.

Everything a test makes carries the label of its own `store`. After the test nothing with that label may be left on the
engine, and no process of this machine may carry the store's name in its environment.
"""

import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from sandbox.container import Sandbox
from sandbox.engine import Engine
from sandbox.spec import LABEL, SandboxSpec
from tests.agents.scripted_model import ScriptedModel
from tests.docker.closure import closure_image

TEST_LABELS = {f"{LABEL}test": "1"}
IDLE = ("sleep", "infinity")
NEVER_STARTED = {"network_mode": "none", "cap_drop": ["ALL"]}  # the least that may be said of a container

MakeSandbox = Callable[..., Awaitable[Sandbox]]


@pytest.fixture
def store() -> str:
    """The name of this test's own store."""
    return f"{secrets.token_hex(4)}-test"


@pytest.fixture(autouse=True)
def nothing_is_left(store: str) -> Iterator[None]:
    """Fail the test, and tidy up, when something of its store outlives it."""
    yield
    left = _on_the_engine(store) + _processes(store)
    if left:
        pytest.fail(f"the test left behind: {', '.join(left)}")


def _on_the_engine(store: str) -> list[str]:
    wanted = {"label": f"{LABEL}store={store}"}
    client = docker.from_env(timeout=30)
    try:
        containers = client.containers.list(all=True, filters=wanted, ignore_removed=True)
        left = [f"container {container.name}" for container in containers]
        for container in containers:
            container.remove(force=True, v=True)
        # By name too: the engine makes a volume without labels when a container mounts one that is gone.
        volumes = client.volumes.list(filters={"name": f"acp-{store[:8]}-"})
        left += [f"volume {volume.name}" for volume in volumes]
        for volume in volumes:
            volume.remove(force=True)
    finally:
        client.close()
    return left


def _processes(store: str) -> list[str]:
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        try:
            if store.encode() in environ.read_bytes():
                found.append(f"process {environ.parent.name}")
        except OSError:  # it ended meanwhile, or belongs to somebody else
            continue
    return found


@pytest.fixture
def model() -> Iterator[ScriptedModel]:
    """What stands behind real agents, served on this machine's loopback."""
    with ScriptedModel(port=0) as model:
        yield model


@pytest.fixture(scope="session")
def image() -> str:
    return closure_image()


@pytest.fixture
async def engine() -> AsyncIterator[Engine]:
    connected = await Engine.connect(os.environ)
    yield connected
    await connected.close()


@pytest.fixture
def make_spec(store: str, image: str) -> Callable[..., SandboxSpec]:
    """A specification of this test's store; keywords are fields of SandboxSpec."""

    def make(**fields: Any) -> SandboxSpec:
        env = {"SUBAGENTS_TEST_STORE": store, **fields.pop("env", {})}
        given = {"subagent": "one", "image": image, "command": IDLE, "labels": TEST_LABELS, **fields}
        return SandboxSpec(store=store, env=env, **given)

    return make


@pytest.fixture
async def make_sandbox(engine: Engine, make_spec: Callable[..., SandboxSpec]) -> AsyncIterator[MakeSandbox]:
    """Create sandboxes; they are removed with their volumes after the test."""
    made: list[Sandbox] = []

    async def make(**fields: Any) -> Sandbox:
        made.append(await Sandbox.create(engine, make_spec(**fields)))
        return made[-1]

    yield make
    for sandbox in made:  # all of them first: one may have mounted another's volume
        assert await sandbox.remove()
    for sandbox in made:
        assert await sandbox.remove(volumes=True)


@pytest.fixture
async def sandbox(make_sandbox: MakeSandbox) -> Sandbox:
    """One that idles, with neither volume: quick to make."""
    return await make_sandbox(work=False, home=False)
