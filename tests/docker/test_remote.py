"""Managers that share neither files nor sockets with the engine: behind TLS, and in a container of their own."""

import json
import os
import secrets
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from acp_runtime.core.model import TaskState
from acp_runtime.manager.docker_launcher import DockerLauncher
from sandbox.engine import Engine
from tests.agents.scripted_model import ScriptedModel
from tests.contract.conftest import PARENT, Place, apply_patch, assert_nothing_left, closure, docker_left, label, place
from tests.contract.test_adoption import inside, killed
from tests.docker.contained import contained, forget
from tests.docker.proxies import sealed
from tests.docker.real_place import CANARY, KEY_NAME, make_place
from tests.docker.remote import DONE, ask
from tests.docker.test_transports import CERTIFICATES

__all__ = ["closure", "place"]

pytestmark = pytest.mark.docker

SECONDS = 120


@pytest.fixture
def behind_tls(engine: Engine) -> Iterator[dict[str, str]]:
    """The environment of who reaches the engine over TCP with TLS."""
    assert engine.endpoint.unix_path is not None
    with sealed(engine.endpoint.unix_path, CERTIFICATES) as port:
        tls = {"DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": str(CERTIFICATES)}
        yield {**os.environ, **tls, "DOCKER_HOST": f"tcp://127.0.0.1:{port}"}


@pytest.mark.requirement("D08.9")
async def test_an_agent_behind_tls_works_and_asks_its_model_over_an_exec(
    behind_tls: dict[str, str], image: str, tmp_path: Path
):
    assert await ask(tmp_path, image, label(tmp_path), environ=behind_tls, sockets="exec") == DONE
    assert_nothing_left(tmp_path, on_the_engine=True)


@pytest.mark.requirement("D08.5")
@pytest.mark.parametrize("place", ["docker-exec"], indirect=True)
async def test_an_agent_behind_tls_whose_manager_was_killed_is_taken_up(behind_tls: dict[str, str], place: Place):
    place.make_launcher = lambda: DockerLauncher(place.config, behind_tls, labels=label(place.root))
    subagent = await killed(place, "[[say:one]][[wait:go]][[say:two]]", "one", environ=behind_tls)
    inside(place, "touch go")
    async with place.runtime() as runtime:
        view = await place.ended(runtime, subagent)
        assert (view.newest.state, view.newest.result) == (TaskState.COMPLETED, "onetwo"), view.newest.cause
        assert view.attempt == 1


@pytest.mark.requirement("D08.9")
def test_a_manager_in_a_container_with_the_engines_socket_runs_agents(engine: Engine, image: str):
    """It finds out by itself that what it has no other container sees."""
    mark = secrets.token_hex(8)
    with contained(str(engine.endpoint.unix_path), image, mark, "-m", "tests.docker.remote", image, mark) as manager:
        code = manager.wait(timeout=SECONDS)["StatusCode"]
        said, errors = manager.logs(stderr=False).decode(), manager.logs(stdout=False).decode()
    forget(mark)
    assert (code, errors) == (0, "")
    assert json.loads(said) == DONE
    assert docker_left(mark) == []


@pytest.mark.long
@pytest.mark.real_agent
@pytest.mark.timeout(600)
async def test_a_real_agent_behind_tls_works_over_an_exec(behind_tls: dict[str, str], tmp_path: Path):
    with ScriptedModel(port=0) as model:
        real = make_place(tmp_path, model, "opencode")
        environ = {**behind_tls, KEY_NAME: CANARY}
        real.config = replace(real.config, sockets="exec")
        real.make_launcher = lambda: DockerLauncher(real.config, environ, labels=label(tmp_path))
        async with real.runtime() as runtime:
            view = await real.do(runtime, "[[write:made.txt|by opencode]][[shell:cat made.txt]][[text:All done.]]")
            assert (view.newest.state, view.newest.result) == (TaskState.COMPLETED, "All done."), view.newest.cause
            await runtime.stop(PARENT, view.id, finished=True)
            work = await runtime.work(PARENT, view.id)
        assert work is not None
        apply_patch(real.workspace, work.patch)
        assert (real.workspace / "made.txt").read_text() == "by opencode"
        assert {request.headers.get("authorization") for request in model.requests} == {f"Bearer {CANARY}"}
    assert_nothing_left(tmp_path, on_the_engine=True)
