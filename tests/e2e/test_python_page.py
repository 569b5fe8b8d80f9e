"""The examples of docs/python.md, each run as the script it is, against a daemon."""

import json
import re
import sys
from pathlib import Path

import pytest

from tests.e2e.daemon_site import SCRIPT, DaemonSite, daemon_site

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


def test_every_example_is_run_or_compiles(site: DaemonSite) -> None:
    assert set(EXAMPLES) == {*SAYS, "own_store.py"}
    for name, each in EXAMPLES.items():
        assert bool(each["note"]) == (name not in SAYS), name
        compile(each["code"], name, "exec")
