"""Packages from npm that tests drive, as a lock in the folder of each pins them."""

import hashlib
import platform
import shutil
import subprocess
from pathlib import Path

import pytest

BUILD = Path(__file__).parents[1] / "build"
BOUND = 240.0


def installed(source: Path, name: str, *, driver: str, program: str) -> Path:
    """Return a folder with what the lock in `source` pins, installed once for each lock; `driver` is copied anew.

    Skips the test where npm, or a build of `program` for this machine, is not to be had.
    """
    if shutil.which("npm") is None or platform.machine() != "x86_64":
        pytest.skip(f"no installer: npm, or no build of {program} for this machine")
    lock = (source / "package-lock.json").read_bytes()
    folder = BUILD / f"{name}-{hashlib.sha256(lock).hexdigest()[:16]}"
    if not (folder / "done").exists():
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(source, folder)
        subprocess.run(
            ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=folder, check=True, timeout=BOUND
        )
        (folder / "done").touch()
    shutil.copy(source / driver, folder)
    return folder
