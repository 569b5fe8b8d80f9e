"""The check of containers, as an engine makes it."""

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import docker
import pytest

from acp_runtime.manager.model_way import relay_command
from sandbox.container import Sandbox
from sandbox.engine import Engine
from sandbox.health import CHECK, unhealthy
from sandbox.probe import ProbeResult
from sandbox.programs_volume import PROGRAMS_MOUNT, ensure_programs
from sandbox.spec import LABEL, VolumeMount
from tests import engine as machine
from tests.docker.conftest import NEVER_STARTED, MakeSandbox

ALONE = ProbeResult(sockets_shared=False, gid=0, uid=0, why="")
CHECKS = CHECK["test"][1:]
RUNS, BOUND = 10, 60


@pytest.fixture
async def relayed(make_sandbox: MakeSandbox, engine: Engine, image: str) -> Sandbox:
    programs = VolumeMount(await ensure_programs(engine, image), PROGRAMS_MOUNT)
    return await make_sandbox(command=relay_command(ALONE), mounts=(programs,), work=False, home=False)


def checked(container: str) -> int:
    """Make the check as the engine makes it: an exec of the container's own user."""
    with machine.client() as client:
        exec_id = client.api.exec_create(container, CHECKS)["Id"]
        client.api.exec_start(exec_id)
        return int(client.api.exec_inspect(exec_id)["ExitCode"])


@pytest.mark.docker
@pytest.mark.requirement("D09.37")
async def test_the_engine_checks_a_relay_as_the_settings_say_and_the_check_finds_out(
    relayed: Sandbox, engine: Engine
) -> None:
    made = await engine.inspect_container(relayed.id)
    check = made["Config"]["Healthcheck"]
    assert check["Test"] == CHECK["test"]
    assert (check["Interval"], check["Timeout"]) == (300_000_000_000, 10_000_000_000)
    assert made["State"]["Health"]["Status"] == "starting"
    assert await asyncio.to_thread(checked, relayed.id) == 0
    began = time.perf_counter()
    for _ in range(RUNS):
        await asyncio.to_thread(checked, relayed.id)
    print(f"a check takes {1000 * (time.perf_counter() - began) / RUNS:.0f} ms, the start of its exec included")
    as_agent = await relayed.run(CHECKS, cwd="/", limit_bytes=1000, timeout=BOUND)
    assert as_agent.exit_code == 1, "the socket is the container's root's alone"
    script = "for p in /proc/[0-9]*; do grep -q ^relay$ $p/comm 2>/dev/null && kill -STOP ${p#/proc/}; done; true"
    await asyncio.to_thread(machine.execute, relayed.id, "sh", "-c", script, user="0")
    assert await asyncio.to_thread(checked, relayed.id) != 0


@pytest.fixture
def sick(store: str, image: str) -> Iterator[str]:
    """A container of this store's that an engine has found unhealthy: no interval of ours is so short."""
    with machine.client() as client:
        labels = {f"{LABEL}store": store, f"{LABEL}subagent": "one", f"{LABEL}role": "agent"}
        check = {"test": ["CMD", "/nowhere"], "interval": 20_000_000, "retries": 1}
        host = client.api.create_host_config(**NEVER_STARTED)
        made: dict[str, Any] = client.api.create_container(
            image, entrypoint=["sleep", "infinity"], labels=labels, healthcheck=check, host_config=host
        )
        told = client.api.events(decode=True, filters={"container": made["Id"]})
        try:
            client.api.start(made["Id"])
            assert next(each for each in told if each["Action"] == "health_status: unhealthy")
            yield made["Id"]
        finally:
            told.close()
            client.api.remove_container(made["Id"], force=True)


@pytest.mark.docker
@pytest.mark.requirement("D09.37")
async def test_whom_the_engine_found_unhealthy_is_named_while_it_runs(
    sick: str, relayed: Sandbox, engine: Engine, store: str
) -> None:
    (found,) = await unhealthy(engine, {f"{LABEL}store": store})
    assert found[f"{LABEL}subagent"] == "one"
    assert await unhealthy(engine, {f"{LABEL}store": "another"}) == []
    with machine.client() as client:
        await asyncio.to_thread(docker.models.containers.Container.kill, client.containers.get(sick))
        await asyncio.to_thread(client.api.wait, sick, timeout=BOUND)
    assert await unhealthy(engine, {f"{LABEL}store": store}) == []
