"""The way out of a container without a network: what its rules allow is reached, ten other places are not."""

import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from acp_runtime.carrying import CarryingLimits, HttpServer
from acp_runtime.egress.contact import Contact
from acp_runtime.egress.proxy import EgressProxy, Policy
from acp_runtime.egress.registry import builtin_registries
from acp_runtime.egress.resolving import Resolver
from acp_runtime.egress.rules import Rules
from acp_runtime.manager.egress_way import EGRESS_PORT, environment_for
from acp_runtime.manager.model_way import ATTACH_SOCKET, group, relay_command, run_mounts
from acp_runtime.manager.run_dir import EGRESS_SOCKET, make_run_dir
from sandbox.channel import ExecChannel, Receiver
from sandbox.container import Sandbox
from sandbox.engine import Engine
from sandbox.probe import ProbeResult
from sandbox.programs_volume import PROGRAMS_MOUNT, RELAY, ensure_programs
from sandbox.relay.link import RelayLink
from sandbox.spec import VolumeMount
from tests.docker.test_model_way import PROBED
from tests.integration.egress_site import BOUND, HERE, listening, tls_of_a_host

pytestmark = pytest.mark.docker

# Whatever a program tries: by the proxy that its environment names, and past it.
TRY = """
import json, socket, ssl, sys, urllib.request
loose = ssl._create_unverified_context()
def asked(url, proxied=True):
    handlers = [urllib.request.HTTPSHandler(context=loose)]
    if not proxied:
        handlers.append(urllib.request.ProxyHandler({}))
    try:
        with urllib.request.build_opener(*handlers).open(url, timeout=30) as answer:
            return answer.read().decode()
    except Exception as error:
        return "refused: " + str(error)
def connected(host, port):
    try:
        socket.create_connection((host, port), timeout=5)
        return "connected"
    except OSError as error:
        return "refused: " + str(error)
plain, tls = sys.argv[1:]
print(json.dumps({
    "allowed": [asked(f"http://allowed.example.org:{plain}/"), asked(f"https://allowed.example.org:{tls}/"),
                asked("http://127.0.0.1:8791/pip/simple/x/", proxied=False)],
    "others": [
        asked(f"http://other.example.org:{plain}/"), asked(f"https://other.example.org:{tls}/"),
        asked(f"https://allowed.example.org:{plain}/"), asked(f"http://127.0.0.1:{plain}/", proxied=False),
        asked(f"http://allowed.example.org:{tls}/"), asked("http://169.254.169.254/latest/meta-data/"),
        asked(f"http://2130706433:{plain}/"), asked(f"http://allowed.example.org@other.example.org:{plain}/"),
        asked(f"https://public.example.org:{tls}/"), asked("http://127.0.0.1:8791/npm/x", proxied=False),
        connected("allowed.example.org", int(plain)), connected("172.17.0.1", int(plain)), connected("8.8.8.8", 53),
    ],
}))
"""

MakeSandbox = Callable[[str, dict[str, str]], Awaitable[tuple[Sandbox, Path]]]


@pytest.fixture
async def make_proxied(engine: Engine, make_spec, image: str, tmp_path: Path) -> AsyncIterator[MakeSandbox]:
    made: list[Sandbox] = []

    async def make(way: str, env: dict[str, str]) -> tuple[Sandbox, Path]:
        folder, probed = make_run_dir(tmp_path / "run", "store", "one", 1), PROBED[way]
        mounts = (VolumeMount(await ensure_programs(engine, image), PROGRAMS_MOUNT), *run_mounts(probed, folder))
        command = relay_command(probed, proxied=True)
        spec = make_spec(command=command, gid=group(probed), mounts=mounts, env=env, work=False, home=False)
        made.append(await Sandbox.create(engine, spec))
        return made[-1], folder

    yield make
    for sandbox in made:
        assert await sandbox.remove()


@asynccontextmanager
async def served(sandbox: Sandbox, probed: ProbeResult, socket: Path, proxy: EgressProxy) -> AsyncIterator[None]:
    """Have a proxy of this process serve the sandbox, as a gateway does."""

    async def attach(receiver: Receiver) -> ExecChannel:
        argv = (RELAY, "attach", ATTACH_SOCKET)
        return await sandbox.open_channel(argv, cwd="/", env={}, receiver=receiver, user=f"0:{sandbox.spec.gid}")

    async with AsyncExitStack() as held:
        await held.enter_async_context(HttpServer(socket, os.getgid(), proxy, CarryingLimits()))
        if not probed.sockets_shared:
            await held.enter_async_context(RelayLink(attach, {EGRESS_PORT: socket}, token="t" * 48, epoch=1))
        yield


@pytest.mark.requirement("T7")
@pytest.mark.parametrize("way", PROBED)
async def test_from_a_container_the_allowed_host_and_registry_are_reached_and_nothing_else(
    make_proxied: MakeSandbox, way: str
):
    contacts: list[Contact] = []
    async with listening() as plain, listening(tls_of_a_host()) as tls:
        pip = builtin_registries()["pip"]
        pip = pip.moved({"index": f"http://registry.example.org:{plain.port}"}, private=True)
        rules = [f"unsafe_private:allowed.example.org:{plain.port}", f"unsafe_private:allowed.example.org:{tls.port}"]
        policy = Policy(Rules.parse([*rules, f"public.example.org:{tls.port}"]), (pip,))
        resolver = Resolver(lambda _, __: ["127.0.0.1"])
        proxy = EgressProxy(policy, contacts.append, here=HERE, carrying=CarryingLimits(), resolver=resolver)
        sandbox, folder = await make_proxied(way, environment_for((pip,)))
        async with served(sandbox, PROBED[way], folder / EGRESS_SOCKET, proxy):
            argv = ("python3", "-c", TRY, str(plain.port), str(tls.port))
            done = await sandbox.run(argv, cwd="/", limit_bytes=1 << 20, timeout=BOUND)
    assert (done.exit_code, done.stderr.decode()) == (0, "")
    found = json.loads(done.stdout)
    assert found["allowed"] == ["ok", "ok", "ok"]
    assert [each for each in found["others"] if not each.startswith("refused: ")] == []
    assert (plain.connections, tls.connections) == (3, 1)  # a tunnel to the allowed host at the port without TLS, too
    assert sum(not contact.refused for contact in contacts) >= 3
    assert any("the egress rule other.example.org" in each for each in found["others"])
