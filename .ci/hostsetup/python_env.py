"""The Python environment of this checkout: `.venv`, made from requirements/dev.lock and this source tree.

Promises: exactly the locked packages, each checked against its hash, from whatever index pip is configured for; a
second run changes nothing while lock, interpreter, checkout and build inputs are the same; a half-made environment
is made anew; two runs at once wait for each other; nothing is deleted that belongs to another user.
"""

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from hostsetup.installers import installer, make_venv, probe_tools
from hostsetup.programs import last_lines, quoted, run_logged
from hostsetup.record import wait_for_lock
from hostsetup.talk import Stop, say

CHECKOUT = Path(__file__).resolve().parents[2]
PACKAGES_SECONDS = 1800.0
PROJECT_SECONDS = 600.0
LOCK_SECONDS = 2700
SIZE = "about 140 MB to download unless cached (most of it the C compiler ziglang), 570 MB on disk"
# What the installation of this tree itself depends on: its metadata, its build hook, the C sources that compiles.
BUILD_INPUTS = ("pyproject.toml", "sandbox/programs/*.py", "sandbox/programs/*.c", "sandbox/programs/*.h")
# Settings that would send packages elsewhere than into .venv, or let something else in.
NOT_PASSED_ON = ("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")

PIP_SETTINGS = {
    "PIP_USER": "0",
    "PIP_REQUIRE_VIRTUALENV": "0",
    "PIP_NO_INPUT": "1",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "PIP_PROGRESS_BAR": "off",
}


class Step(StrEnum):
    """How much has to be done."""

    NOTHING = "nothing"
    PROJECT = "project"  # the packages are right; only this tree is installed (and its C sources compiled) again
    EVERYTHING = "everything"


@dataclass(frozen=True)
class Stamp:
    """What an environment was made from: one digest for its packages, one for this tree's own installation."""

    packages: str
    project: str


def main(argv: list[str]) -> int:
    if argv:
        say("usage: .ci/python-env")
        return 2
    ensure(CHECKOUT, os.environ)
    return 0


def ensure(checkout: Path, environ: Mapping[str, str]) -> None:
    """Make `.venv` right. Raises Stop when that fails; the next run takes it up again."""
    venv, locked = checkout / ".venv", checkout / "requirements" / "dev.lock"
    with locked.open(encoding="utf-8") as lock:  # always there, and opening it to read is enough to lock it
        wait_for_lock(lock, "makes .venv", LOCK_SECONDS)
        wanted = stamp_of(checkout)
        compiled = any((checkout / "sandbox" / "programs" / "bin").glob("*"))
        step = next_step(read_stamp(venv), wanted, compiled=compiled)
        if step is Step.NOTHING:
            return
        refuse_foreign(checkout, venv)
        log = checkout / "build" / "python-env.log"
        log.parent.mkdir(exist_ok=True)
        log.unlink(missing_ok=True)
        run = _Run(checkout, log, pip_environment(environ))
        if step is Step.EVERYTHING:
            run.install_packages()
            _write_stamp(venv, Stamp(wanted.packages, ""))
        run.install_project()
        _write_stamp(venv, wanted)
        say("The Python environment is ready (.venv).")


def stamp_of(checkout: Path) -> Stamp:
    """Compute the stamp that an environment made now would get."""
    packages = hashlib.sha256()
    # Scripts in a venv name its absolute path, and its packages fit one minor version (a patch changes nothing).
    for part in (str(checkout), sys.executable, f"{sys.version_info.major}.{sys.version_info.minor}"):
        packages.update(part.encode() + b"\0")
    packages.update((checkout / "requirements" / "dev.lock").read_bytes())
    inputs = (path for pattern in BUILD_INPUTS for path in sorted(checkout.glob(pattern)))
    return Stamp(packages.hexdigest(), _digest(inputs, checkout))


def read_stamp(venv: Path) -> Stamp | None:
    """Read the stamp of a finished environment; None when it is half-made, not one of ours, or not there."""
    try:
        value = json.loads((venv / "stamp.json").read_text(encoding="utf-8"))
        return Stamp(**value)
    except (OSError, ValueError, TypeError):
        return None


def next_step(found: Stamp | None, wanted: Stamp, *, compiled: bool) -> Step:
    """Decide what is to be done; `compiled` is whether the compiled programs are where the last run put them."""
    if found is None or found.packages != wanted.packages:
        return Step.EVERYTHING
    return Step.NOTHING if found == wanted and compiled else Step.PROJECT


def refuse_foreign(checkout: Path, venv: Path) -> None:
    """Raise Stop when the environment is not ours to change."""
    if not os.access(checkout, os.W_OK):
        raise Stop(f"{checkout} cannot be written by this user; work in a clone of your own.")
    if venv.is_symlink():
        raise Stop(f"{venv} is a symbolic link; remove it, so that a real environment can be made there.")
    if venv.exists() and venv.stat().st_uid != os.geteuid():
        raise Stop(
            f"{venv} belongs to another user (uid {venv.stat().st_uid}, you are {os.geteuid()}); "
            f"remove it as that user (or: sudo rm -rf {venv}), or work in a clone of your own."
        )


def pip_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Make the environment for pip: the person's own settings for indexes, proxies and certificates stay."""
    kept = {key: value for key, value in environ.items() if key not in NOT_PASSED_ON}
    return {**kept, **PIP_SETTINGS}


def _write_stamp(venv: Path, stamp: Stamp) -> None:
    """Replace the stamp as a whole; what it names is finished."""
    fresh = venv / "stamp.new"
    fresh.write_text(json.dumps(asdict(stamp)) + "\n", encoding="utf-8")
    fresh.replace(venv / "stamp.json")


class _Run:
    """One making of the environment, with its log and its settings for pip."""

    def __init__(self, checkout: Path, log: Path, env: Mapping[str, str]) -> None:
        self._checkout = checkout
        self._venv = checkout / ".venv"
        self._log = log
        self._env = env
        self._tools = probe_tools(sys.executable, env, root=os.geteuid() == 0)

    def install_packages(self) -> None:
        """Make the environment from nothing and fill it with the locked packages. Raises Stop."""
        if self._venv.exists():
            say("Removing .venv, which is unfinished or out of date.")
            (self._venv / "stamp.json").unlink(missing_ok=True)
            shutil.rmtree(self._venv)
        make_venv(self._venv, self._tools, self._log, self._env)
        locked = self._checkout / "requirements" / "dev.lock"
        count = sum("==" in line for line in locked.read_text(encoding="utf-8").splitlines())
        say(f"Installing {count} locked packages into .venv: {SIZE} (log: {self._log}).")
        arguments = ["--require-hashes", "--no-deps", "--only-binary", ":all:", "-r", str(locked)]
        if not self._pip(arguments, PACKAGES_SECONDS):
            raise Stop(
                f"pip could not install the locked packages{self._last_words()}\n"
                "Where packages come through a mirror, a proxy or with a private certificate, tell pip so "
                "(PIP_INDEX_URL, HTTPS_PROXY, PIP_CERT, or pip.conf) and run this again."
            )

    def install_project(self) -> None:
        """Install this tree, editable, which compiles its C sources. Raises Stop."""
        say("Installing this project into .venv and compiling its C programs (a minute or two the first time).")
        if not self._pip(["--no-build-isolation", "--no-deps", "-e", str(self._checkout)], PROJECT_SECONDS):
            raise Stop(f"This project could not be installed into .venv{self._last_words()}")

    def _pip(self, arguments: Sequence[str], bound: float) -> bool:
        command = installer(self._venv, self._tools, self._env)
        return run_logged([*command, *arguments], self._log, bound=bound, env=self._env) == 0

    def _last_words(self) -> str:
        return f"; the log is {self._log}, its last lines:{quoted(last_lines(self._log, 12))}"


def _digest(paths: Iterable[Path], root: Path) -> str:
    digest = hashlib.sha256()
    for path in paths:
        content = path.read_bytes()
        digest.update(f"{path.relative_to(root)}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()
