"""What a program of the same user may do to the daemon's socket: garbage, floods and half requests cost nobody else."""

import asyncio
import socket
from collections.abc import Iterator

import pytest

from acp_runtime.api.unix_client import VERSION_HEADER
from tests.integration.api.conftest import BOUND, Site

ATTACKS = {
    "nothing": b"",
    "zeros": b"\0" * 100_000,
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 300,
    "a header without an end": b"GET /v1/hello HTTP/1.1\r\nx: " + b"y" * 1_000_000,
    "a million headers": b"GET /v1/hello HTTP/1.1\r\n" + b"x: y\r\n" * 200_000,
    "a line with NUL": b"GET /v1/\0hello HTTP/1.1\r\nHost: x\r\n\r\n",
    "two lengths": b"POST /v1/usage HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxy",
    "a length and chunks": b"POST /v1/usage HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /v1/hello HTTP/1.1\r\n\r\n",
    "a negative length": b"POST /v1/usage HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    "a length of 100 TB": b"POST /v1/usage HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000000000\r\n\r\nx",
    "an upgrade": b"GET /v1/hello HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    "a tunnel": b"CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: x\r\n\r\n",
    "another host's page": b"POST /v1/usage HTTP/1.1\r\nHost: evil.test\r\nOrigin: http://evil.test\r\n"
    b"Content-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}",
}


def said_to(site: Site, data: bytes) -> bytes:
    """Send bytes, say that no more come, and return the answer."""
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(BOUND)
        line.connect(str(site.socket))
        answer = b""
        try:
            line.sendall(data)
            line.shutdown(socket.SHUT_WR)
            while piece := line.recv(65_536):
                answer += piece
        except OSError:  # it closed in the middle of what it would not hear
            pass
        return answer


@pytest.fixture
def crowd(site: Site) -> Iterator[list[socket.socket]]:
    """Sockets that are closed in the end."""
    made: list[socket.socket] = []
    yield made
    for each in made:
        each.close()


@pytest.mark.requirement("T18")
async def test_garbage_is_refused_and_the_daemon_answers_others(site: Site) -> None:
    async with site.daemon():
        for attack, data in ATTACKS.items():
            answer = await asyncio.to_thread(said_to, site, data)
            assert answer == b"" or answer.startswith((b"HTTP/1.1 4", b"HTTP/1.1 5")) or attack == "an upgrade", attack
            assert b"HTTP/1.1 101" not in answer, attack
            assert answer.count(b"HTTP/1.1 200") <= (attack == "an upgrade"), attack
            assert (await asyncio.to_thread(site.client.hello))["epoch"] == 1, attack


@pytest.mark.requirement("T18")
async def test_two_hundred_that_say_nothing_shut_nobody_out(site: Site, crowd: list[socket.socket]) -> None:
    async with site.daemon():
        for _ in range(200):
            crowd.append(socket.socket(socket.AF_UNIX))
            crowd[-1].connect(str(site.socket))
            crowd[-1].sendall(b"POST /v1/usage HTTP/1.1\r\n")
        assert (await asyncio.to_thread(site.client.hello))["epoch"] == 1
        for each in crowd:
            each.close()


def test_every_call_says_its_version() -> None:
    """A page of a browser cannot: a header of its own name is none that a simple request may have."""
    assert VERSION_HEADER.lower().startswith("x-")
