"""The ways in which an engine does not answer, each on a real socket."""

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hostsetup.endpoint import Endpoint
from hostsetup.engine_api import Answer, ping

from tests.integration.hostsetup.peers import BOUND, at, listening

CHECKOUT = Path(__file__).parents[3]
NOBODY = 65534

# The modules are imported before the rights are given up: the interpreter itself may be out of reach for nobody.
AS_NOBODY = f"""
import os, sys
sys.path.insert(0, {str(CHECKOUT / ".ci")!r})
from hostsetup import engine
from hostsetup.talk import Stop
if os.geteuid() == 0:
    os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})
try:
    engine.status(os.environ)
except Stop as stop:
    print(stop)
    sys.exit(stop.code)
"""


def status(**environ):
    return subprocess.run(
        [sys.executable, "-I", "-B", "-c", AS_NOBODY],
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_an_engine_that_answers_is_named(tmp_path):
    with listening(tmp_path / "s"):
        found = ping(at(tmp_path / "s"))
    assert (found.answer, found.detail) == (Answer.ANSWERS, "Docker/1 ")


def test_a_socket_that_is_not_there_is_missing(tmp_path):
    assert ping(at(tmp_path / "s")).answer is Answer.MISSING
    (tmp_path / "file").touch()
    assert ping(at(tmp_path / "file" / "s")).answer is Answer.MISSING


def test_a_socket_that_nobody_listens_on_refuses(tmp_path):
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(tmp_path / "s"))
    assert ping(at(tmp_path / "s")).answer is Answer.REFUSED


def test_a_listener_that_says_nothing_is_silent(tmp_path):
    with socket.socket(socket.AF_UNIX) as mute:
        mute.bind(str(tmp_path / "s"))
        mute.listen()
        assert ping(at(tmp_path / "s"), timeout=0.2).answer is Answer.SILENT


@pytest.mark.parametrize("reply", [b"", b"\0\xff\r\n\r\n", b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"])
def test_a_listener_that_is_no_engine_is_strange(reply):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            peer, _ = server.accept()
            with peer:
                peer.recv(65536)
                peer.sendall(reply)

        thread = threading.Thread(target=serve)
        thread.start()
        found = ping(Endpoint(f"tcp://127.0.0.1:{server.getsockname()[1]}", "DOCKER_HOST", chosen=True))
        thread.join(BOUND)
    assert found.answer is Answer.STRANGE
    assert found.detail


@pytest.mark.parametrize(
    "url", ["ssh://ada@far", "npipe:////./pipe/docker", "tcp://", "nonsense", f"unix:///{'x' * 200}"]
)
def test_an_address_that_cannot_be_spoken_to_is_strange_and_never_raises(url):
    assert ping(Endpoint(url, "DOCKER_HOST", chosen=True)).answer is Answer.STRANGE


def test_a_socket_that_this_user_may_not_open_is_told_with_the_remedy(tmp_path):
    with listening(tmp_path / "s"):
        (tmp_path / "s").chmod(0)
        done = status(DOCKER_HOST=f"unix://{tmp_path / 's'}")
    assert done.returncode == 69
    assert "may not open" in done.stdout
    assert "sudo usermod -aG docker" in done.stdout


@pytest.mark.docker
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: only root can take another user's place")
def test_nobody_is_denied_at_the_real_socket_and_changes_nothing():
    done = status(NO_ENGINE_SETUP="1")
    assert done.returncode == 69
    assert "may not open unix:///var/run/docker.sock" in done.stdout
