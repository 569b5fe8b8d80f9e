"""The same channel over unsteady and encrypted ways to the engine."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sandbox.channel import ExecChannel
from sandbox.container import Sandbox
from sandbox.engine import Engine
from sandbox.errors import EngineUnreachable
from sandbox.upgrade import Reply
from tests.docker.proxies import merging, sealed
from tests.docker.recorder import BOUND, Recorder

pytestmark = pytest.mark.docker

CERTIFICATES = Path(__file__).parents[1] / "fixtures" / "engine_tls"
FIRST = b"the first words of the program"
MEGABYTE = 1024 * 1024


@pytest.fixture
def engine_socket(engine) -> str:
    assert engine.endpoint.unix_path is not None
    return engine.endpoint.unix_path


@pytest.fixture
async def through_merging(tmp_path, engine_socket) -> AsyncIterator[Engine]:
    async with merging(tmp_path / "m.sock", engine_socket, FIRST):
        engine = await Engine.connect({"DOCKER_HOST": f"unix://{tmp_path}/m.sock"})
        yield engine
        await engine.close()


@pytest.fixture
async def through_tls(engine_socket) -> AsyncIterator[Engine]:
    with sealed(engine_socket, CERTIFICATES) as port:
        environ = {
            "DOCKER_HOST": f"tcp://127.0.0.1:{port}",
            "DOCKER_TLS_VERIFY": "1",
            "DOCKER_CERT_PATH": str(CERTIFICATES),
        }
        engine = await Engine.connect(environ)
        yield engine
        await engine.close()


async def first_words(engine: Engine, sandbox: Sandbox) -> bytes:
    """What arrives of a program that speaks at once and then repeats its input."""
    recorder = Recorder()
    argv = ("sh", "-c", f"printf '{FIRST.decode()}'; cat")
    channel = await ExecChannel.open(engine, sandbox.id, argv, user="0:0", cwd="/", env={}, receiver=recorder)
    await channel.send(b"\nand the next")
    await channel.close_input()
    await recorder.closed()
    return bytes(recorder.stdout)


async def test_words_that_arrive_in_one_piece_with_the_headers_are_not_lost(through_merging, sandbox):
    assert await first_words(through_merging, sandbox) == FIRST + b"\nand the next"


async def test_a_channel_that_drops_what_follows_the_headers_would_be_found_out(through_merging, sandbox, monkeypatch):
    """The control of the test above: with the remainder thrown away, as docker-py can, the words are missing."""
    keep = Reply.feed
    monkeypatch.setattr(Reply, "feed", lambda reply, data: None if keep(reply, data) is None else b"")
    assert await first_words(through_merging, sandbox) == b"\nand the next"


async def test_a_channel_works_the_same_through_tls(through_tls, sandbox):
    assert await first_words(through_tls, sandbox) == FIRST + b"\nand the next"


async def test_twenty_megabytes_go_both_ways_through_tls(through_tls, sandbox):
    data = os.urandom(20 * MEGABYTE)
    remote = Sandbox(through_tls, sandbox.spec, sandbox.id)
    done = await remote.run(("cat",), cwd="/", stdin=data, limit_bytes=30 * MEGABYTE, timeout=BOUND)
    assert done.stdout == data
    assert done.exit_code == 0


async def test_a_half_close_through_tls_leaves_the_output_open(through_tls, sandbox):
    remote = Sandbox(through_tls, sandbox.spec, sandbox.id)
    script = "cat >/dev/null; head -c 5000000 /dev/zero; exit 6"
    done = await remote.run(("sh", "-c", script), cwd="/", stdin=b"x", limit_bytes=6 * MEGABYTE, timeout=BOUND)
    assert (len(done.stdout), done.exit_code) == (5_000_000, 6)


async def test_a_whole_sandbox_is_made_and_removed_through_tls(through_tls, make_spec):
    sandbox = await Sandbox.create(through_tls, make_spec())
    assert (await sandbox.run(("id", "-u"), cwd="/workspace", limit_bytes=10, timeout=BOUND)).stdout == b"10001\n"
    assert await sandbox.remove(volumes=True)


async def test_an_engine_with_an_unknown_certificate_is_told_as_such(engine_socket, tmp_path):
    # Not the engine's own certificate: Python 3.13 takes one that is given as its authority.
    (tmp_path / "ca.pem").write_bytes((CERTIFICATES.parent / "tls" / "upstream.pem").read_bytes())
    for name in ("cert.pem", "key.pem"):
        (tmp_path / name).write_bytes((CERTIFICATES / name).read_bytes())
    with sealed(engine_socket, CERTIFICATES) as port:
        environ = {
            "DOCKER_HOST": f"tcp://127.0.0.1:{port}",
            "DOCKER_TLS_VERIFY": "1",
            "DOCKER_CERT_PATH": str(tmp_path),
        }
        with pytest.raises(EngineUnreachable, match="does not accept this TLS connection"):
            await Engine.connect(environ)
