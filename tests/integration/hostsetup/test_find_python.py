"""The interpreter is found with a shell alone, so these run the real script on folders of tiny programs."""

import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / ".ci" / "find-python"


def find(path, **environ):
    env = {"PATH": str(path), **environ}
    return subprocess.run(["/bin/sh", SCRIPT], env=env, capture_output=True, text=True, timeout=30, check=False)


def program(folder, name, body):
    (folder / name).write_text(f"#!/bin/sh\n{body}\n")
    (folder / name).chmod(0o755)


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["python3", "python3.11", "python3.12", "python3.13", "python3.14"], "python3.13"),
        (["python3", "python3.11", "python3.14"], "python3.11"),
        (["python3", "python3.14"], "python3"),
        (["python3.14", "python3.15"], "python3.14"),
        (["python2", "python3.10", "python3.11-config", "python3.12"], "python3.12"),
    ],
)
def test_the_newest_tested_version_comes_first(tmp_path, names, found):
    for name in names:
        program(tmp_path, name, f"echo {name}")
    assert find(tmp_path).stdout == f"{found}\n"


def test_one_that_does_not_run_is_passed_over(tmp_path):
    program(tmp_path, "python3.13", "echo 'command not found' >&2; exit 127")
    program(tmp_path, "python3.11", "echo works")
    assert find(tmp_path).stdout == "works\n"


def test_none_is_told_with_the_remedy(tmp_path):
    program(tmp_path, "python3", "exit 1")
    answer = find(tmp_path)
    assert (answer.returncode, answer.stdout) == (1, "")
    assert "apt-get install python3" in answer.stderr


def test_a_variable_decides_and_is_not_passed_over(tmp_path):
    program(tmp_path, "python3.13", "echo from path")
    program(tmp_path, "mine", "echo mine")
    assert find(tmp_path, PYTHON=str(tmp_path / "mine")).stdout == "mine\n"
    answer = find(tmp_path, PYTHON="/bin/false")
    assert (answer.returncode, answer.stdout) == (1, "")
    assert "PYTHON=/bin/false is not a CPython 3.11" in answer.stderr
