"""The tests are tested: each mistake of `mutants.toml` must make those of the core fail, and without one they pass.

`guards.toml` does the same for guards elsewhere, each with the tests that are to miss it.
"""

import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
MUTANTS = tomllib.loads(Path(__file__).with_name("mutants.toml").read_text(encoding="utf-8"))
GUARDS = tomllib.loads(Path(__file__).with_name("guards.toml").read_text(encoding="utf-8"))
SUITES = ("tests/unit/core", "tests/exhaustive")
NEEDED = ("acp_runtime", "pyproject.toml", "tests/conftest.py", "tests/histories.py", "tests/ledger.py", *SUITES)
GUARDED = ("acp_runtime", "sandbox", "images", "docs", "tests", "pyproject.toml", "README.md")
TESTS_FAILED = 1


def copy_of_the_core(folder: Path, needed: Sequence[str] = NEEDED) -> Path:
    """Return a folder that holds the core and its tests, and nothing of them is read from elsewhere."""
    for name in needed:
        source, target = ROOT / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    return folder


def run_tests(folder: Path, tests: Sequence[str] = SUITES) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    env = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(argv, cwd=folder, env=env, capture_output=True, text=True, timeout=500, check=False)


def test_the_core_without_a_mistake_passes(tmp_path: Path) -> None:
    done = run_tests(copy_of_the_core(tmp_path))
    assert done.returncode == 0, done.stdout[-3000:]


def mistake(file: Path, mutant: dict[str, Any]) -> None:
    text = file.read_text(encoding="utf-8")
    assert text.count(mutant["change"]) == 1, "the code has moved on: write the mistake anew"
    file.write_text(text.replace(mutant["change"], mutant["to"]), encoding="utf-8")


@pytest.mark.parametrize("name", GUARDS)
def test_a_guard_that_is_gone_is_missed(name: str, tmp_path: Path) -> None:
    guard = GUARDS[name]
    mistake(copy_of_the_core(tmp_path, GUARDED) / guard["file"], guard)
    done = run_tests(tmp_path, guard["tests"])
    assert done.returncode == TESTS_FAILED, f"nobody misses {name}\n{done.stdout[-3000:]}"


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mistake_in_the_tables_is_found(name: str, tmp_path: Path) -> None:
    mutant = MUTANTS[name]
    mistake(copy_of_the_core(tmp_path) / "acp_runtime" / "core" / mutant["file"], mutant)
    done = run_tests(tmp_path)
    assert done.returncode == TESTS_FAILED, f"{name} lives\n{done.stdout[-3000:]}"
    print(name, *[line for line in done.stdout.splitlines() if line.startswith("FAILED")])
