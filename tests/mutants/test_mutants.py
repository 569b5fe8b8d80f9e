"""The tests of the core are tested: each mistake of `mutants.toml` must make them fail, and without one they pass."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
MUTANTS = tomllib.loads(Path(__file__).with_name("mutants.toml").read_text(encoding="utf-8"))
SUITES = ("tests/unit/core", "tests/exhaustive")
NEEDED = ("acp_runtime", "pyproject.toml", "tests/conftest.py", "tests/histories.py", "tests/ledger.py", *SUITES)
TESTS_FAILED = 1


def copy_of_the_core(folder: Path) -> Path:
    """Return a folder that holds the core and its tests, and nothing of them is read from elsewhere."""
    for name in NEEDED:
        source, target = ROOT / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    return folder


def run_tests(folder: Path) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *SUITES]
    env = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(argv, cwd=folder, env=env, capture_output=True, text=True, timeout=500, check=False)


def test_the_core_without_a_mistake_passes(tmp_path: Path) -> None:
    done = run_tests(copy_of_the_core(tmp_path))
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mistake_in_the_tables_is_found(name: str, tmp_path: Path) -> None:
    mutant = MUTANTS[name]
    file = copy_of_the_core(tmp_path) / "acp_runtime" / "core" / mutant["file"]
    text = file.read_text(encoding="utf-8")
    assert text.count(mutant["change"]) == 1, "the code has moved on: write the mistake anew"
    file.write_text(text.replace(mutant["change"], mutant["to"]), encoding="utf-8")
    done = run_tests(tmp_path)
    assert done.returncode == TESTS_FAILED, f"{name} lives\n{done.stdout[-3000:]}"
    print(name, *[line for line in done.stdout.splitlines() if line.startswith("FAILED")])
