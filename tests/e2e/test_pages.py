"""What the pages promise of the product: the Python example of README.md runs, the JSON has the keys of docs/cli.md."""

import asyncio
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from acp_runtime.config import load
from acp_runtime.manager.local_launcher import LocalLauncher
from acp_runtime.service import SpawnRequest
from acp_runtime.session.catalogue import AgentKind, Catalogue
from tests import engine
from tests.agents.scripted_model import ScriptedModel
from tests.e2e.stage import Stage

ROOT = Path(__file__).parents[2]
AGENT = ROOT / "tests" / "agents" / "scripted_agent.py"
BOUND = 300


def example() -> str:
    (found,) = re.findall(r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    return str(found)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "workspace"
    folder.mkdir()
    (folder / "greeting.txt").write_text("hello\n")
    return folder


def test_the_examples_function_brings_a_nudge_and_a_patch(
    workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names: dict[str, Any] = {"__name__": "example"}
    exec(compile(example(), "README.md", "exec"), names)
    kind = AgentKind("scripted", (sys.executable, str(AGENT)))
    config = replace(load(None, {"HOME": str(tmp_path)}), catalogue=Catalogue({"scripted": kind}, "test"))
    launcher = LocalLauncher(tmp_path / "agents", os.environ)
    request = SpawnRequest("scripted", workspace, "[[write:made.txt|by the agent]][[say:It is made.]]")
    patch = asyncio.run(names["delegate"](tmp_path / "store" / "store.db", config, launcher, request))
    assert b"+by the agent" in patch
    assert 'completed. It said: "It is made."' in capsys.readouterr().err
    assert [path.name for path in workspace.iterdir()] == ["greeting.txt"]


@pytest.mark.docker
@pytest.mark.real_agent
@pytest.mark.timeout(BOUND + 60)
def test_the_example_as_a_program_has_opencode_work_in_a_container(workspace: Path, tmp_path: Path) -> None:
    (tmp_path / "example.py").write_text(example())
    task = "[[write:made.txt|by opencode]][[text:It is made.]]"
    with ScriptedModel() as model:
        environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "MODEL_URL": model.base_url}
        environ |= {name: value for name, value in os.environ.items() if name.startswith("DOCKER_")}
        argv = [sys.executable, str(tmp_path / "example.py"), task]
        with subprocess.Popen(argv, cwd=workspace, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as run:
            patch, told = run.communicate(timeout=BOUND)
    assert b"+by opencode" in patch, told.decode()
    assert b'completed. It said: "It is made."' in told
    assert left_on_the_engine(run.pid) == []


def test_the_result_line_has_the_keys_of_the_page_in_their_order(stage: Stage) -> None:
    before = (ROOT / "docs" / "cli.md").read_text().partition("## The verbs of the daemon")[0]
    rows = re.findall(r"^\| (`.+?) \|", before, re.MULTILINE)
    told = [key for row in rows for key in re.findall(r"`([a-z_0-9]+)`", row) if key != "patch_base64"]
    assert list(stage.run("[[say:done]]", "--output", "json").lines[-1]) == told


def left_on_the_engine(pid: int) -> list[str]:
    """Return what a process made on the engine and left there."""
    label = f"io.acp-subagents.pid={pid}"
    return [*engine.containers(label), *engine.volumes(label)]
