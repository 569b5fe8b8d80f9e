"""The recipe for Copilot CLI in docs/agents.md, as it stands there: the real program in an image of its user's.

The provider and its subscription are scripted; the vendor was never asked.
"""

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from acp_runtime.config import load
from acp_runtime.core.model import Permissions, TaskState, Verdict
from sandbox.engine import Engine
from sandbox.images import ensure_base
from tests import npm
from tests.agents.scripted_model import ScriptedModel
from tests.contract.conftest import PARENT, assert_nothing_left
from tests.docker.hostile_workspace import WITNESSES, plant
from tests.docker.real_place import BOUND, CANARY, RealPlace, inspect_all, make_place, stored
from tests.docker.test_claude import answer

pytestmark = [pytest.mark.docker, pytest.mark.real_agent, pytest.mark.long, pytest.mark.timeout(600)]

SOURCE = Path(__file__).with_name("copilot")
PAGE = (Path(__file__).parents[2] / "docs" / "agents.md").read_text(encoding="utf-8")
IMAGE = "acp-subagents-test/copilot"


def fenced(language: str) -> str:
    """Return the one block of a language in the recipe."""
    (found,) = re.findall(
        rf"^```{language}\n(.*?)^```$", PAGE.partition("## GitHub Copilot CLI\n")[2], re.DOTALL | re.MULTILINE
    )
    return str(found)


@pytest.fixture
async def image(engine: Engine) -> str:
    """Make the image that the recipe makes, of the version that it names; Node.js is not needed to run it."""
    (pinned,) = json.loads((SOURCE / "package.json").read_text())["dependencies"].items()
    assert "@".join(pinned) in fenced("Dockerfile"), "the page and the lock name the same version"
    folder = await asyncio.to_thread(npm.installed, SOURCE, "copilot", driver="Dockerfile", program="Copilot CLI")
    await asyncio.to_thread(build, folder, await ensure_base(engine, lambda _: None))
    return IMAGE


def build(folder: Path, base: str) -> None:
    """Build the image in `folder`."""
    engine = docker.from_env(timeout=BOUND)
    try:
        engine.images.build(path=str(folder), tag=IMAGE, buildargs={"BASE": base}, rm=True)
    finally:
        engine.close()


@pytest.fixture(params=["copilot", "copilot-subscription"])
def real(tmp_path: Path, model: ScriptedModel, request: pytest.FixtureRequest) -> Iterator[RealPlace]:
    place = make_place(tmp_path, model, request.param)
    if request.param == "copilot-subscription":
        place.model_url = model.base_url.removesuffix("/v1")
    file = tmp_path / "config.toml"
    file.write_text(fenced("toml"))
    place.add_kind(load(file, {"HOME": str(tmp_path / "home")}).catalogue.kinds[request.param])
    yield place
    assert_nothing_left(tmp_path, on_the_engine=True)


@pytest.mark.requirement("D09.31")
async def test_copilot_works_by_its_recipe_with_its_own_tools_and_without_a_token(
    real: RealPlace, model: ScriptedModel, image: str
) -> None:
    plant(real.workspace, "copilot")
    task = (
        "[[write:/workspace/made.txt|x]][[edit:/workspace/greeting.txt|hello|good day]][[shell:id]][[text:All done.]]"
    )
    async with real.runtime() as runtime:
        view = await real.do(runtime, task, image=image)
        assert (view.newest.state, view.newest.verdict) == (TaskState.COMPLETED, Verdict.FULL), view.newest.cause
        assert (view.newest.result, view.newest.tools_completed, view.newest.files_changed) == ("All done.", 3, 3)
        assert view.newest.spent.output_tokens > 0
        inside = "cat /proc/*/environ 2>/dev/null; env; find /home /tmp /run -type f -exec cat {} + 2>/dev/null"
        seen = await runtime.check(PARENT, view.id, inside, seconds=60)
        witnesses = await runtime.check(PARENT, view.id, WITNESSES, seconds=30)
        inspected = await asyncio.to_thread(inspect_all, real.root)
        asking = await real.do(
            runtime, "[[shell:touch asked.txt]][[text:Asked.]]", image=image, permissions=Permissions.ASK
        )
        await answer(runtime, asking, "allow_once")
        asking = await real.ended(runtime, asking.id)
        assert (asking.newest.result, asking.newest.files_changed) == ("Asked.", 2), asking.newest.cause
        for each in (view, asking):
            await runtime.stop(PARENT, each.id, finished=True)
    posted = {each.path for each in model.requests if each.method == "POST"}
    path = "/v1/chat/completions" if real.agent == "copilot" else "/chat/completions"
    assert posted == {path}, "GitHub's own tools, which are at the address of its models, are not asked for"
    assert {each.headers["authorization"] for each in model.requests} == {f"Bearer {CANARY}"}
    for where, text in (("the sandbox", seen.output), ("docker inspect", inspected), ("the store", stored(real))):
        assert CANARY not in text, f"the token is in {where}"
    assert "stand-in" in seen.output, "the control: what the agent has instead of a token is found this way"
    assert witnesses.output == "hook-ran\n", "a hook of the repository runs in the sandbox, as the page says; no server"
