"""What the tests of real agents share: a place whose agent is one of the catalogue, and looks into what it leaves."""

import os
from dataclasses import replace
from pathlib import Path

from acp_runtime.manager.docker_launcher import DockerLauncher
from acp_runtime.service import SpawnRequest
from tests import engine
from tests.agents.scripted_model import ScriptedModel
from tests.contract.conftest import Place, config_for, label, make_repo, mark

KEY_NAME = "TEST_MODEL_KEY"
CANARY = "canary-4f1d9c-secret"
BOUND = 300.0


class RealPlace(Place):
    """A place whose agent is of the kind `agent`. `model_url` is where its model requests go."""

    agent = ""
    model_url = ""

    def request(self, task: str, **changes: object) -> SpawnRequest:
        asked = SpawnRequest(
            agent=self.agent,
            workspace=self.workspace,
            task=task,
            model="scripted",
            model_url=self.model_url,
            model_key=f"env:{KEY_NAME}",
        )
        return replace(asked, **changes)  # type: ignore[arg-type]


def make_place(root: Path, model: ScriptedModel, agent: str) -> RealPlace:
    make_repo(root / "repo")
    config = config_for(root, None)
    environ = {**os.environ, KEY_NAME: CANARY}
    place = RealPlace("real", root, config, lambda: DockerLauncher(config, environ, labels=label(root)), "python3")
    place.model_url, place.agent, place.bound = model.base_url, agent, BOUND
    return place


def inspect_all(root: Path) -> str:
    """What the engine tells of the place's containers."""
    ids = engine.containers(f"io.acp-subagents.test={mark(root)}")
    assert ids, "there is a container to look at"
    return engine.inspect(ids)


def stored(place: RealPlace) -> str:
    """Every byte of the place's store."""
    files = [path for path in (place.root / "store").rglob("*") if path.is_file()]
    assert files
    return "".join(path.read_bytes().decode("latin-1") for path in files)


def remove_containers(root: Path) -> None:
    """Remove the place's running containers, as somebody else might."""
    engine.remove_containers(engine.containers(f"io.acp-subagents.test={mark(root)}", running=True))
