"""What the tests of real agents share: a place whose agent is one of the catalogue, and looks into what it leaves."""

import asyncio
import os
from dataclasses import replace
from pathlib import Path

from acp_runtime.core.model import TaskState, Verdict
from acp_runtime.manager.docker_launcher import DockerLauncher
from acp_runtime.service import SpawnRequest
from tests import engine
from tests.agents.scripted_model import ScriptedModel
from tests.contract.conftest import PARENT, Place, apply_patch, config_for, label, make_repo, mark
from tests.docker.hostile_workspace import WITNESSES, plant

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


async def do_in_hostile_repository(real: RealPlace, task: str, *, tools: int, made: str) -> None:
    """Have a task done that makes made.txt and edits greeting.txt, and its work come back.

    Fails when the key of the model is anywhere that the agent or its repository could look, or what that one
    configures was run.
    """
    plant(real.workspace, real.agent)
    async with real.runtime() as runtime:
        view = await real.do(runtime, task)
        assert (view.newest.state, view.newest.verdict) == (TaskState.COMPLETED, Verdict.FULL), view.newest.cause
        assert (view.newest.result, view.newest.tools_completed, view.newest.files_changed) == ("All done.", tools, 2)
        secrets = await runtime.check(PARENT, view.id, "cat /proc/*/environ 2>/dev/null; env", seconds=30)
        witnesses = await runtime.check(PARENT, view.id, WITNESSES, seconds=30)
        inspected = await asyncio.to_thread(inspect_all, real.root)
        await runtime.stop(PARENT, view.id, finished=True)
        work = await runtime.work(PARENT, view.id)
    assert work is not None
    apply_patch(real.workspace, work.patch)
    assert (real.workspace / "made.txt").read_text() == made
    assert (real.workspace / "greeting.txt").read_text() == "good day\n"
    for where, text in (("the sandbox", secrets.output), ("docker inspect", inspected), ("the store", stored(real))):
        assert CANARY not in text, f"the model's key is in {where}"
    assert witnesses.output == "", "what the repository configures was run"
    assert "stand-in" in secrets.output, "the control: what the agent has instead of a key is found this way"
