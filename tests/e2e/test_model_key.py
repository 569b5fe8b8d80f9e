"""The key of the model reaches the model, and nobody else: no argument, environment, file, log, event or output."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import engine
from tests.agents.scripted_model import ScriptedModel
from tests.e2e.stage import Running, Stage, containers_of, processes
from tests.security.canary import KEY, places_of

pytestmark = pytest.mark.docker

ASK = (
    "import json, os, urllib.request as u; "
    "b = json.dumps({'model': 'm', 'messages': [{'role': 'user', 'content': 'x'}]}).encode(); "
    "q = u.Request(os.environ['BASE_URL'] + '/chat/completions', b, "
    "{'content-type': 'application/json', 'authorization': 'Bearer stand-in', 'x-api-key': 'stand-in'}); "
    "a = u.urlopen(q); print(a.headers, a.read().decode())"
)
INSIDE = {"HOME", "PATH", "PWD", "BASE_URL", "E2E_MARKER"}  # the two last ones are those of the kind
# The fifo holds the task up in its middle, until the test has looked everywhere.
TASKS = {
    "scripted": f'[[run:env > seen.txt; python3 -c "{ASK}" >> seen.txt; mkfifo go]][[run:cat go; rm go]][[say:done]]',
    "opencode": "[[shell:env > seen.txt; mkfifo go]][[shell:cat go; rm go]][[text:done]]",
}


@pytest.fixture
def model() -> Iterator[ScriptedModel]:
    with ScriptedModel() as made:
        yield made


@pytest.fixture
def key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("elsewhere") / "key"
    path.touch(0o600)
    path.write_text(f"{KEY}\n")
    return path


@pytest.mark.requirement("T8")
@pytest.mark.parametrize("agent", ["scripted", pytest.param("opencode", marks=pytest.mark.real_agent)])
def test_the_key_reaches_the_model_and_nobody_else(
    engine_stage: Stage, model: ScriptedModel, agent: str, key_file: Path
):
    source = "env:CANARY" if agent == "opencode" else f"command:cat {key_file}"
    options = ["--model-url", model.base_url, "--model-key", source, "--output", "json"]
    if agent == "opencode":
        engine_stage.write_config()  # the default image
        options += ["--model", "scripted"]
    running = engine_stage.start(TASKS[agent], *options, local=False, agent=agent, env={"CANARY": KEY})
    running.until("✓ execute")
    (container,) = containers_of(engine_stage.pids, "agent")
    seen = everything(engine_stage, running, container)
    engine.execute(container, "sh", "-c", "echo > go", user="10001:10001", workdir="/workspace")
    done = running.end()
    assert done.code == 0, done.err
    seen |= {"stdout": done.out.decode(), "stderr": done.err}
    assert places_of(seen) == []
    if agent == "scripted":
        patch = done.lines[-1]["patch"]
        assert "+BASE_URL=http://127.0.0.1:8790/v1\n" in patch
        assert set(re.findall(r"^\+([A-Za-z_]\w*)=", patch, re.MULTILINE)) == INSIDE, "an agent gets what is named here"
    asked = [each for each in model.requests if each.method == "POST"]
    assert asked
    assert {each.headers["authorization"] for each in asked} == {f"Bearer {KEY}"}
    assert {each.headers.get("x-api-key") for each in asked} == {None}
    assert "stand-in" not in str([each.headers for each in asked])


def everything(stage: Stage, running: Running, container: str) -> dict[str, str]:
    """Return all that somebody else could look at while the agent works, by where it is."""
    own = (running.process.pid, os.getpid())  # the manager was given the key in its environment
    found = {f"process {pid}": how for pid, how in processes() if pid not in own}
    found["argv of the manager"] = Path(f"/proc/{own[0]}/cmdline").read_text()
    found["inspect"] = engine.inspect([container])
    found["logs"] = engine.logs(container)
    found["execs"], found["image"] = engine.inspect_execs(container), engine.history(container)
    inside = "cat /proc/*/cmdline /proc/*/environ; find /workspace /home /run /tmp -type f -exec cat {} +"
    found["inside"] = engine.execute(container, "sh", "-c", f"{{ {inside}; }} 2>/dev/null | tr '\\0' ' '; true")
    files = [path for path in stage.root.rglob("*") if path.is_file() and not path.is_symlink()]
    assert any(path.name.startswith("store.db") for path in files)
    return found | {str(path): path.read_bytes().decode(errors="replace") for path in files}
