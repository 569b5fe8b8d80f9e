"""The built wheel, in an environment of its own, run from a folder that has packages of the same names as ours."""

import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.stage import Stage, git

ROOT = Path(__file__).parents[2]
PARTS = ("acp_runtime", "sandbox", "images", "pyproject.toml", "README.md", "LICENSE")
BOUND = 600  # seconds: the first build compiles a C library


@dataclass(frozen=True)
class Installed:
    """An environment that has the wheel and what it needs, and nothing of this checkout."""

    folder: Path

    def python(self, code: str, cwd: Path) -> str:
        argv = [self.folder / "bin" / "python", "-c", code]
        return subprocess.run(argv, check=True, capture_output=True, text=True, cwd=cwd, timeout=60).stdout.strip()


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, source / part, ignore=shutil.ignore_patterns("__pycache__", "bin"))
        else:
            shutil.copy(ROOT / part, source)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    _do(folder, *pip, "wheel", "--no-build-isolation", "--no-deps", "--no-index", "-w", folder, source)
    (wheel,) = folder.glob("*.whl")
    shutil.rmtree(source)
    environment = folder / "environment"
    _do(folder, sys.executable, "-m", "venv", "--without-pip", environment)
    _do(folder, *pip, "--python", environment / "bin" / "python", "install", "--no-deps", "--no-index", wheel)
    # Its dependencies come from where the tests have theirs: a line of a .pth file adds a folder, but no .pth of it,
    # so that the editable install of this checkout stays out.
    (packages,) = environment.glob("lib/python3*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    yield Installed(environment)
    shutil.rmtree(folder)


def _do(cwd: Path, *argv: str | Path) -> None:
    subprocess.run(argv, check=True, timeout=BOUND, cwd=cwd)


@pytest.fixture
def abroad(stage: Stage) -> Path:
    """A project with packages called like ours, which tell when they are imported."""
    for name in ("sandbox", "tests", "acp_runtime", "images"):
        package = stage.repository / name
        package.mkdir()
        (package / "__init__.py").write_text(f"open({str(stage.root / 'imported')!r}, 'a').write({name!r})\n")
    git(stage.repository, "add", "-A")
    git(stage.repository, "commit", "-qm", "packages")
    return stage.repository


def run_abroad(stage: Stage, installed: Installed, abroad: Path, *, local: bool) -> None:
    stage.command = installed.folder / "bin" / "subagents"
    argv = stage.arguments("[[write:sandbox/new.txt|made]]", "--check", "test -f tests/__init__.py", local=local)
    argv[argv.index(str(stage.repository))] = "."
    done = stage.popen(argv, cwd=abroad).end()
    assert done.code == 0, done.err
    git(abroad, "apply", "-", stdin=done.out)
    assert (abroad / "sandbox" / "new.txt").read_text() == "made"
    assert not (stage.root / "imported").exists(), "a package of the folder was imported instead of ours"


@pytest.mark.timeout(BOUND)
def test_the_wheel_holds_its_code_and_data(installed: Installed, tmp_path: Path):
    names = "acp_runtime.cli.run, acp_runtime.session.catalogue, sandbox.images, sandbox.programs, sandbox.seccomp"
    for name in names.split(", "):
        place = installed.python(f"import {name} as found; print(found.__file__)", tmp_path)
        assert Path(place).is_relative_to(installed.folder), place
    look = "from sandbox.image_recipe import load_recipe as r; print(r().base_name('amd64'), r().agents_key('amd64'))"
    assert installed.python(look, tmp_path) == subprocess.check_output([sys.executable, "-c", look], text=True).strip()
    programs = "from sandbox.programs import program as p; print(p('relay', 'amd64'), p('holder', 'arm64'))"
    assert installed.python(programs, tmp_path).count(str(installed.folder)) == 2


@pytest.mark.timeout(BOUND)
def test_an_altered_program_of_the_wheel_is_refused_by_name(installed: Installed, tmp_path: Path):
    (holder,) = installed.folder.glob("lib/python3*/site-packages/sandbox/programs/bin/holder-amd64")
    built = holder.read_bytes()
    read = """
from sandbox.errors import ProgramMissing
from sandbox.programs import read_program
try:
    print(len(read_program("holder", "amd64")))
except ProgramMissing as error:
    print(error)
"""
    assert installed.python(read, tmp_path) == str(len(built))
    try:
        holder.write_bytes(built + b"x")
        assert f"The holder {holder} is not the file that was built" in installed.python(read, tmp_path)
    finally:
        holder.write_bytes(built)


@pytest.mark.timeout(BOUND)
def test_the_wheel_runs_an_agent_as_a_process(stage: Stage, installed: Installed, abroad: Path):
    run_abroad(stage, installed, abroad, local=True)


@pytest.mark.docker
@pytest.mark.timeout(BOUND)
def test_the_wheel_runs_an_agent_in_a_container(engine_stage: Stage, installed: Installed, abroad: Path):
    run_abroad(engine_stage, installed, abroad, local=False)
