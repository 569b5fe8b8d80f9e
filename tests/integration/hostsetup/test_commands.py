"""The two commands of the README and the CI job: what they call, in which order, and what they say last."""

import shutil
import subprocess
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[3]


def make(*arguments):
    done = subprocess.run(
        ["make", "--no-print-directory", *arguments],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout


@pytest.mark.parametrize(("target", "last"), [("demo", "-m tests.demo"), ("test", "-m pytest tests/unit")])
def test_each_command_alone_does_the_set_up_in_order(target, last):
    plan = make("-n", target)
    steps = [".ci/engine up", ".ci/python-env", "-m sandbox.images", last]
    places = [plan.find(step) for step in steps]
    assert -1 not in places
    assert places == sorted(places)


def test_the_tests_without_an_engine_come_first_and_no_folder_is_left_out():
    [line] = [line for line in make("-n", "test").splitlines() if "-m pytest" in line]
    folders = [Path(word).name for word in line.split() if word.startswith("tests/")]
    assert folders[:6] == ["unit", "exhaustive", "property", "simulation", "contract", "integration"]
    with_tests = {path.relative_to(CHECKOUT / "tests").parts[0] for path in (CHECKOUT / "tests").rglob("test_*.py")}
    assert with_tests - {"bench"} <= set(folders)


def test_help_is_the_default_and_names_every_target():
    [targets] = [line for line in (CHECKOUT / "Makefile").read_text().splitlines() if line.startswith(".PHONY:")]
    told = [line.split()[1] for line in make().splitlines()]
    assert told == targets.split()[1:]


@pytest.fixture
def ci_job(tmp_path):
    """The CI script in a folder of its own, with a `make` that plays what it is told."""
    (tmp_path / ".ci").mkdir()
    shutil.copy(CHECKOUT / ".ci" / "run", tmp_path / ".ci" / "run")
    programs = tmp_path / "programs"
    programs.mkdir()

    def run(script):
        (programs / "make").write_text(f"#!/bin/sh\n{script}\n")
        (programs / "make").chmod(0o755)
        path = f"{programs}:/usr/bin:/bin"
        return subprocess.run(
            [tmp_path / ".ci" / "run"], env={"PATH": path}, capture_output=True, text=True, timeout=30, check=False
        )

    return run


def test_the_ci_job_runs_make_test_without_input_and_ends_with_pytests_closing_line(ci_job):
    done = ci_job('echo "args $* CI=$CI"; cat; echo "= 3 passed, 1 skipped in 2.00s ="; echo "make: trailing words"')
    assert done.returncode == 0
    assert done.stdout.splitlines()[0] == "args test CI=true"
    assert done.stdout.splitlines()[-1] == "= 3 passed, 1 skipped in 2.00s ="


def test_the_ci_job_fails_when_the_tests_fail(ci_job):
    done = ci_job('echo "==== 1 failed, 3 passed in 2.00s ===="; echo "make: *** [test] Error 1" >&2; exit 2')
    assert done.returncode == 2
    assert done.stdout.splitlines()[-1] == "==== 1 failed, 3 passed in 2.00s ===="


def test_the_ci_job_says_when_it_did_not_come_to_pytest(ci_job):
    done = ci_job('echo "lint is not content" >&2; exit 2')
    assert done.returncode == 2
    assert done.stdout.splitlines()[-1].startswith("make test ended before pytest did (exit 2)")
