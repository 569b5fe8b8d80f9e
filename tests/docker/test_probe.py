"""The probe: what this process and the engine's containers share, by trying."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from sandbox.errors import ImageMissing
from sandbox.probe import ProbeResult, probe
from sandbox.spec import LABEL
from tests.docker.conftest import TEST_LABELS

pytestmark = pytest.mark.docker

REPO = Path(__file__).parents[2]
# Run where only this process sees the directory: as with an engine on another machine.
ALONE = """
import asyncio, dataclasses, json, os, pathlib, sys
from sandbox import seccomp
import sandbox.client
from sandbox.engine import Engine
from sandbox.probe import probe
seccomp.profile()  # read while the checkout, which may be closed to others, can be
async def main():
    engine = await Engine.connect(os.environ)
    result = await probe(engine, pathlib.Path(sys.argv[1]), sys.argv[2], labels=json.loads(sys.argv[3]))
    print(json.dumps(dataclasses.asdict(result)))
    await engine.close()
if len(sys.argv) > 4 and os.geteuid() == 0:
    os.setgroups([int(sys.argv[4])])
    os.setgid(1001)
    os.setuid(1001)
os.umask(0o077)
asyncio.run(main())
"""


@pytest.fixture
def labels(store: str) -> dict[str, str]:
    """Found by the check for leaks, though the probe has a store of its own."""
    return {**TEST_LABELS, f"{LABEL}test-store": store}


@pytest.fixture
async def nothing_probed_is_left(engine, labels):
    yield
    assert await engine.containers(labels) == []


def in_a_mount_namespace_of_its_own(script: str, *arguments: str) -> ProbeResult:
    if os.geteuid() != 0:
        pytest.skip("needs root: a mount namespace of its own")
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", *arguments]
    environ = {**os.environ, "PYTHONPATH": str(REPO)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, env=environ, check=False)
    assert done.returncode == 0, done.stderr
    return ProbeResult(**json.loads(done.stdout))


async def test_a_local_engine_shares_sockets_and_the_owner_is_seen(
    engine, image, tmp_path, labels, nothing_probed_is_left
):
    result = await probe(engine, tmp_path, image, labels=labels)
    assert result == ProbeResult(sockets_shared=True, gid=os.getgid(), uid=os.getuid(), why="")
    assert list(tmp_path.iterdir()) == []


def test_an_ordinary_user_of_the_engine_shares_through_the_group(engine, image, labels):
    """As root this process gives root away; else it is such a user already."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o700)
        user = os.getuid() or 1001
        os.chown(name, user, os.getgid() if os.getuid() else 1001)
        group = str(Path(engine.endpoint.unix_path or "/").stat().st_gid)
        command = [sys.executable, "-c", ALONE, name, image, json.dumps(labels), group]
        environ = {**os.environ, "PYTHONPATH": str(REPO)}
        done = subprocess.run(command, capture_output=True, text=True, timeout=90, env=environ, check=False)
        assert done.returncode == 0, done.stderr
        result = ProbeResult(**json.loads(done.stdout))
    assert (result.sockets_shared, result.uid) == (True, user), result.why


async def test_an_engine_may_be_taken_for_a_remote_one(engine, tmp_path):
    result = await probe(engine, tmp_path, "not even looked at", assume_remote=True)
    assert not result.sockets_shared
    assert result.why.endswith("remote one.")


def test_a_directory_that_the_engine_does_not_have_is_not_shared(image, tmp_path, labels):
    script = 'mount -t tmpfs none "$1" && mkdir "$1/here" && exec "$4" -c "$5" "$1/here" "$2" "$3"'
    result = in_a_mount_namespace_of_its_own(script, str(tmp_path), image, json.dumps(labels), sys.executable, ALONE)
    assert not result.sockets_shared
    assert "does not see the directory" in result.why


def test_a_directory_of_the_same_name_with_other_content_is_not_shared(image, tmp_path, labels):
    """The probe's directory exists on both sides, but they are two."""
    script = """
cd "$1" && mkdir real && mount --bind real real && exec "$4" -c "
import os, shutil, tempfile
make, remove = tempfile.mkdtemp, shutil.rmtree
def twice(**options):
    name = make(**options)
    os.system(f'mount -t tmpfs none {name} && chmod 700 {name}')
    return name
tempfile.mkdtemp = twice
shutil.rmtree = lambda path, **options: os.system(f'umount {path}; rmdir {path}')
$5" "$1/real" "$2" "$3"
"""
    result = in_a_mount_namespace_of_its_own(script, str(tmp_path), image, json.dumps(labels), sys.executable, ALONE)
    assert not result.sockets_shared
    assert "is another one in a container" in result.why


async def test_a_path_too_long_for_a_socket_is_told(engine, image, tmp_path):
    deep = tmp_path / ("x" * 100)
    deep.mkdir()
    result = await probe(engine, deep, image)
    assert "too long for a socket" in result.why


async def test_what_stops_the_probe_itself_is_an_error_and_no_answer(engine, tmp_path, labels):
    with pytest.raises(ImageMissing):
        await probe(engine, tmp_path, "no-such-image:nowhere", labels=labels)
    assert list(tmp_path.iterdir()) == []
