"""The examples of docs/python.md, each run as the script it is, against a daemon."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.contract.conftest import make_repo
from tests.docker.closure import closure_image
from tests.e2e.daemon_site import BOUND, SCRIPT, DaemonSite, daemon_site
from tests.e2e.stage import on_engine

PAGE = Path(__file__).parents[2] / "docs" / "python.md"
BLOCK = re.compile(r"^```python(?P<note>[^\n]*)\n# (?P<name>\S+)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
EXAMPLES = {each["name"]: each for each in BLOCK.finditer(PAGE.read_text(encoding="utf-8"))}
SAYS = {
    "host_loop.py": ("is starting", "completed", "Say what this project is about.", "no files changed"),
    "host_loop_sync.py": ("completed", "Say what this project is about."),
    "wakeups.py": ("Say hello.", "completed"),
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory):
    with daemon_site(tmp_path_factory.mktemp("y", numbered=True)) as site:
        argv = json.dumps([sys.executable, str(SCRIPT)])
        site.config.write_text(f'[agents.opencode]\nargv = {argv}\nenv = {{MODEL = "$MODEL"}}\n', encoding="utf-8")
        site.serve()
        yield site


@pytest.mark.parametrize("name", SAYS)
def test_the_example_does_what_the_page_says(site: DaemonSite, name: str) -> None:
    (site.workspace / ".git" / "info").mkdir(exist_ok=True)
    done = site.run(code=f"import os; os.chdir({str(site.workspace)!r})\n{EXAMPLES[name]['code']}")
    assert (done.returncode, done.stderr) == (0, ""), site.log()
    for words in SAYS[name]:
        assert words in done.stdout


@pytest.mark.docker
def test_the_example_with_a_store_of_its_own_has_an_agent_work_in_a_container(tmp_path: Path) -> None:
    argv = json.dumps(["python3", "-c", SCRIPT.read_text(encoding="utf-8")])
    kind = f'[agents.opencode]\nargv = {argv}\nenv = {{MODEL = "$MODEL"}}\n'
    (tmp_path / "config.toml").write_text(f'{kind}\n[sandbox]\nimage = "{closure_image()}"\n', encoding="utf-8")
    workspace = make_repo(tmp_path / "repo")
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "SUBAGENTS_CONFIG": str(tmp_path / "config.toml")}
    environ |= {name: value for name, value in os.environ.items() if name.startswith("DOCKER_")}
    program = [sys.executable, "-c", EXAMPLES["own_store.py"]["code"]]
    with subprocess.Popen(program, cwd=workspace, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as run:
        said, told = run.communicate(timeout=BOUND)
    left = on_engine([run.pid])
    assert (run.returncode, told) == (0, b"")
    assert said.startswith(b"completed")
    assert b"Say hello." in said
    assert left == []


def test_every_example_is_run_with_an_engine_or_without(site: DaemonSite) -> None:
    assert set(EXAMPLES) == {*SAYS, "own_store.py"}
    for name, each in EXAMPLES.items():
        assert bool(each["note"]) == (name not in SAYS), name
