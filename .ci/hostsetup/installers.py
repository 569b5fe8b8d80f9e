"""Making a virtual environment with whatever this machine has for it.

Debian and Ubuntu split `venv` and `ensurepip` off their Python, so the obvious way is missing on a bare machine. The
ways are tried in the order that changes least: what is here first, a package of the distribution last.
"""

import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from hostsetup.packages import Apt, apt_works_here, read_os_id
from hostsetup.programs import ask, last_lines, quoted, run_logged
from hostsetup.talk import Stop, say

VENV_SECONDS = 300.0
PIP_WITH_PYTHON_OPTION = (22, 3)


class Way(StrEnum):
    """How the environment is made, in order of preference."""

    VENV = "venv"
    HOST_PIP = "venv without pip, filled by the host's pip"
    VIRTUALENV = "virtualenv"
    UV = "uv"
    APT = "venv, after installing the distribution's package for it"


@dataclass(frozen=True)
class Tools:
    """What this machine has, for one interpreter."""

    python: str
    ensurepip: bool
    pip: bool  # the interpreter's own pip, new enough for --python
    virtualenv: str
    uv: str
    root: bool
    apt: bool
    package: str  # the distribution's package that brings venv for this interpreter


def choose_way(tools: Tools) -> Way:
    """Return the first way that works here. Raises Stop with the remedy when there is none."""
    here = {
        Way.VENV: tools.ensurepip,
        Way.HOST_PIP: tools.pip,
        Way.VIRTUALENV: bool(tools.virtualenv),
        Way.UV: bool(tools.uv),
        Way.APT: tools.root and tools.apt,
    }
    for way, works in here.items():
        if works:
            return way
    remedy = f"run `sudo apt-get install {tools.package}`" if tools.apt else "install venv, virtualenv or uv for it"
    raise Stop(
        f"{tools.python} can make no virtual environment (it has neither ensurepip nor pip); {remedy}, then retry."
    )


def probe_tools(python: str, env: Mapping[str, str], *, root: bool) -> Tools:
    """Look at the machine; a few short runs of `python`."""
    return Tools(
        python=python,
        ensurepip=ask([python, "-I", "-c", "import venv, ensurepip"], env=env)[0] == 0,
        pip=_pip_version([python, "-m", "pip"], env) >= PIP_WITH_PYTHON_OPTION,
        virtualenv=shutil.which("virtualenv", path=env.get("PATH")) or "",
        uv=shutil.which("uv", path=env.get("PATH")) or "",
        root=root,
        apt=apt_works_here(read_os_id()),
        package=f"python3.{sys.version_info.minor}-venv",
    )


def make_venv(venv: Path, tools: Tools, log: Path, env: Mapping[str, str]) -> None:
    """Make an empty environment at `venv`, which must not exist. Raises Stop."""
    way = choose_way(tools)
    say(f"Making .venv with {tools.python} ({way}).")
    if way is Way.APT:
        Apt(log, env).install([tools.package], record=lambda _: None)
    argv = {
        Way.VENV: [tools.python, "-m", "venv"],
        Way.HOST_PIP: [tools.python, "-m", "venv", "--without-pip"],
        Way.VIRTUALENV: [tools.virtualenv, "--python", tools.python],
        Way.UV: [tools.uv, "venv", "--python", tools.python],
        Way.APT: [tools.python, "-m", "venv"],
    }[way]
    if run_logged([*argv, str(venv)], log, bound=VENV_SECONDS, env=env) != 0:
        raise Stop(f"`{' '.join(argv)}` failed; its last lines ({log}):{quoted(last_lines(log, 8))}")


def installer(venv: Path, tools: Tools, env: Mapping[str, str]) -> Sequence[str]:
    """Return how to install into `venv`: with its own pip, the host's, or uv. Raises Stop when there is none."""
    python = str(venv / "bin" / "python")
    if _pip_version([python, "-m", "pip"], env) > (0, 0):
        return [python, "-m", "pip", "install"]
    if tools.pip:
        return [tools.python, "-m", "pip", "--python", python, "install"]
    if tools.uv:
        return [tools.uv, "pip", "install", "--python", python]
    raise Stop(f"{venv} has no pip, and neither pip nor uv is on this machine; delete {venv} and retry.")


def _pip_version(pip: Sequence[str], env: Mapping[str, str]) -> tuple[int, int]:
    code, answer = ask([*pip, "--version"], env=env)
    found = re.match(r"pip (\d+)\.(\d+)", answer)
    return (int(found.group(1)), int(found.group(2))) if code == 0 and found else (0, 0)
