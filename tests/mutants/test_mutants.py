"""Tests are tested: each mistake of a table must make its suites fail, and without one they pass.

`guards.toml` takes guards against hostile agents away, each with the tests that are to notice it.
"""

import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
ALWAYS = ("acp_runtime", "pyproject.toml", "tests/conftest.py", "tests/histories.py", "tests/ledger.py")
TESTS_FAILED = 1


@dataclass(frozen=True)
class Subject:
    """What a table of mistakes is about: `files` are below `code`; `beside` is what the suites need beside it."""

    table: str
    code: str
    suites: tuple[str, ...]
    beside: tuple[str, ...] = ()

    @property
    def mutants(self) -> dict[str, dict[str, str]]:
        return tomllib.loads(Path(__file__).with_name(self.table).read_text(encoding="utf-8"))


CORE = Subject("mutants.toml", "acp_runtime/core", ("tests/unit/core", "tests/exhaustive"))
EGRESS = Subject(
    "egress.toml",
    "acp_runtime",
    ("tests/unit/egress", "tests/integration/test_egress_bypasses.py", "tests/integration/test_egress.py"),
    ("tests/integration/egress_site.py", "tests/fixtures/tls"),
)
GUARDS = tomllib.loads(Path(__file__).with_name("guards.toml").read_text(encoding="utf-8"))
WHOLE = ("sandbox", "images", "docs", "tests", "README.md")
CASES = [(tested, name) for tested in (CORE, EGRESS) for name in tested.mutants]


def copied(tested: Subject, folder: Path) -> Path:
    """Return a folder that holds the code and its tests, and nothing of them is read from elsewhere."""
    for name in (*ALWAYS, *tested.suites, *tested.beside):
        source, target = ROOT / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
        else:
            shutil.copy(source, target)
    return folder


def run_tests(tested: Subject, folder: Path) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tested.suites]
    env = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(argv, cwd=folder, env=env, capture_output=True, text=True, timeout=500, check=False)


def make(mistake: Mapping[str, Any], code: Path) -> None:
    file = code / mistake["file"]
    text = file.read_text(encoding="utf-8")
    assert text.count(mistake["change"]) == 1, "the code has moved on: write the mistake anew"
    file.write_text(text.replace(mistake["change"], mistake["to"]), encoding="utf-8")


@pytest.mark.parametrize("name", GUARDS)
def test_a_guard_that_is_gone_is_noticed(name: str, tmp_path: Path) -> None:
    guard = GUARDS[name]
    make(guard, copied(Subject("guards.toml", ".", (), WHOLE), tmp_path))
    done = run_tests(Subject("guards.toml", ".", tuple(guard["tests"])), tmp_path)
    assert done.returncode == TESTS_FAILED, f"nobody notices that {name}\n{done.stdout[-3000:]}"


@pytest.mark.parametrize("tested", [CORE, EGRESS], ids=lambda tested: tested.table)
def test_code_without_a_mistake_passes(tested: Subject, tmp_path: Path) -> None:
    done = run_tests(tested, copied(tested, tmp_path))
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.parametrize(("tested", "name"), CASES, ids=[name for _, name in CASES])
def test_a_mistake_in_the_tables_is_found(tested: Subject, name: str, tmp_path: Path) -> None:
    mutant = tested.mutants[name]
    make(mutant, copied(tested, tmp_path) / tested.code)
    done = run_tests(tested, tmp_path)
    assert done.returncode == TESTS_FAILED, f"{name} lives\n{done.stdout[-3000:]}"
    print(name, *[line for line in done.stdout.splitlines() if line.startswith("FAILED")])
