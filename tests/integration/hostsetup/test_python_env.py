"""The Python environment made for real in a tiny checkout: one locked wheel, an in-tree build backend, no network."""

import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hostsetup import python_env
from hostsetup.talk import Stop

from tests.integration.hostsetup import tiny_wheel

CI = Path(__file__).parents[3] / ".ci"
BOUND = 120.0  # seconds; a hang, not a speed
ENSURE = f"""
import os, sys
from pathlib import Path
sys.path.insert(0, {str(CI)!r})
from hostsetup.python_env import ensure
from hostsetup.talk import Stop
try:
    ensure(Path(sys.argv[1]), os.environ)
except Stop as stop:
    sys.exit(str(stop))
"""
PYPROJECT = """[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
"""
BACKEND = """
from pathlib import Path
from tiny_wheel import write_wheel
def build_editable(folder, config_settings=None, metadata_directory=None):
    Path("sandbox/programs/bin").mkdir(exist_ok=True)
    Path("sandbox/programs/bin/relay").touch()
    return write_wheel(Path(folder), "project").name
"""


@pytest.fixture
def checkout(tmp_path):
    for folder in ("requirements", "sandbox/programs", "wheels"):
        (tmp_path / folder).mkdir(parents=True)
    digest = hashlib.sha256(tiny_wheel.write_wheel(tmp_path / "wheels", "locked").read_bytes()).hexdigest()
    (tmp_path / "requirements" / "dev.lock").write_text(f"locked==1 --hash=sha256:{digest}\n")
    (tmp_path / "pyproject.toml").write_text(PYPROJECT)
    (tmp_path / "backend.py").write_text(BACKEND)
    shutil.copy(tiny_wheel.__file__, tmp_path)
    return tmp_path


def command(checkout):
    # The interpreter behind .venv: one that was made without pip could not make another environment.
    return [sys._base_executable, "-I", "-B", "-c", ENSURE, str(checkout)]


def environment(checkout):
    wheels = str(checkout / "wheels")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PIP_", "UV_"))}
    for_pip = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": wheels, "PIP_CONFIG_FILE": os.devnull}
    return {**kept, **for_pip, "UV_NO_INDEX": "1", "UV_FIND_LINKS": wheels, "UV_NO_CONFIG": "1"}


def start(checkout):
    """Begin to make it, as a user with umask 077 does."""
    return subprocess.Popen(
        command(checkout), env=environment(checkout), umask=0o077, stderr=subprocess.PIPE, text=True
    )


def ensure(checkout, *, code=0):
    """Make it; returns what was said."""
    run = start(checkout)
    said = run.communicate(timeout=BOUND)[1]
    assert run.returncode == code, said
    return said


def works(checkout):
    program = "import locked, project; print(locked.value + project.value)"
    python = checkout / ".venv" / "bin" / "python"
    return subprocess.run([python, "-c", program], capture_output=True, timeout=BOUND, check=True).stdout == b"2\n"


def test_two_runs_at_once_make_one_environment_and_later_only_what_changed_is_made_again(checkout):
    runs = [start(checkout), start(checkout)]
    said = [run.communicate(timeout=BOUND)[1] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], said
    assert sorted("Installing 1 locked packages" in text for text in said) == [False, True]
    assert works(checkout)
    assert stat.S_IMODE((checkout / ".venv").stat().st_mode) == 0o700
    assert ensure(checkout) == ""

    (checkout / "pyproject.toml").write_text(PYPROJECT + "# changed\n")
    again = ensure(checkout)
    assert "Installing this project" in again
    assert "locked packages" not in again


def test_a_package_without_a_hash_is_refused_and_what_is_half_made_is_made_anew_from_there(checkout):
    lock = checkout / "requirements" / "dev.lock"
    right = lock.read_text()
    lock.write_text("locked==1\n")
    refused = ensure(checkout, code=1)
    assert "pip could not install the locked packages" in refused
    assert "--hash=sha256:" in refused
    assert python_env.read_stamp(checkout / ".venv") is None

    lock.write_text(right)
    (checkout / "backend.py").write_text("raise SystemExit('the C compiler is lost')")
    broken = ensure(checkout, code=1)
    assert "Removing .venv, which is unfinished" in broken
    assert "This project could not be installed" in broken
    assert "the C compiler is lost" in broken

    (checkout / "backend.py").write_text(BACKEND)
    mended = ensure(checkout)
    assert "Installing this project" in mended
    assert "locked packages" not in mended
    assert works(checkout)


@pytest.mark.parametrize("content", [None, "", "{", "[]", '{"packages": "x"}', '{"a": 1}'])
def test_a_stamp_that_is_not_whole_counts_as_none(tmp_path, content):
    if content is not None:
        (tmp_path / "stamp.json").write_text(content)
    assert python_env.read_stamp(tmp_path) is None


def test_a_stamp_is_read_as_it_was_written(tmp_path):
    (tmp_path / "stamp.json").write_text(json.dumps({"packages": "a", "project": "b"}))
    assert python_env.read_stamp(tmp_path) == python_env.Stamp("a", "b")


def test_an_environment_behind_a_link_is_not_touched(checkout, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (checkout / ".venv").symlink_to(elsewhere)
    with pytest.raises(Stop, match="is a symbolic link; remove it"):
        python_env.refuse_foreign(checkout, checkout / ".venv")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: only root can give a folder away")
def test_an_environment_of_another_user_is_told_with_the_remedy(checkout):
    (checkout / ".venv").mkdir()
    os.chown(checkout / ".venv", 65534, 65534)
    with pytest.raises(Stop, match=r"belongs to another user \(uid 65534, you are 0\).*sudo rm -rf"):
        python_env.refuse_foreign(checkout, checkout / ".venv")
