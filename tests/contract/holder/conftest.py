"""The contract holds for the shipped program over both transports, and for its source under the sanitizers."""

import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

import sandbox.programs
from sandbox.programs import program as program_file
from tests.contract.holder.held import Held

SOURCE = Path(sandbox.programs.__file__).with_name("holder.c")
SANITIZERS = ("-std=c11", "-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


def compile_sanitized(source: Path, target: Path, *more: str) -> Path:
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("no sanitizer runtime: gcc is not installed")
    argv = [compiler, *SANITIZERS, *more, str(source), "-o", str(target)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0 and ("asan" in done.stderr or "ubsan" in done.stderr):
        pytest.skip("no sanitizer runtime: gcc has no libasan or libubsan")
    assert done.returncode == 0, done.stderr
    return target


@pytest.fixture(scope="session")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_sanitized(SOURCE, tmp_path_factory.mktemp("holder") / "holder")


@pytest.fixture(params=["shipped-socket", "shipped-attach", "sanitized-socket"])
async def held(request: pytest.FixtureRequest) -> AsyncIterator[Held]:
    program, transport = request.param.split("-")
    if program == "shipped":
        path = program_file("holder", {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()])
    else:
        path = request.getfixturevalue("sanitized")
    folder = Path(tempfile.mkdtemp(prefix="held-"))
    place = Held(path, folder, transport)
    yield place
    await place.end()


@pytest.fixture
def small_disk(held: Held) -> Iterator[Path]:
    """A file system of 2 MiB that holds the journal."""
    if os.geteuid() != 0:
        pytest.skip("needs root: mounting a small file system")
    place = held.folder / "disk"
    place.mkdir()
    argv = ["mount", "-t", "tmpfs", "-o", "size=2m", "holder-test", str(place)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"needs root: and the right to mount ({done.stderr.strip()})")
    held.journal = place / "journal"
    yield place
    held.kill()
    subprocess.run(["umount", "-l", str(place)], check=True)
