"""The way of model requests out of a sandbox, over both: a shared socket, and an exec of the engine."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from acp_runtime.config import load
from acp_runtime.core.model import Order
from acp_runtime.gateway import ledger
from acp_runtime.gateway.errors import GatewayError
from acp_runtime.gateway.place import GatewayPlace
from acp_runtime.keys import Secret
from acp_runtime.manager.gateway_link import GatewayLink
from acp_runtime.manager.launcher import LaunchRequest
from acp_runtime.manager.model_way import PORT, account_of, group, relay_command, run_mounts
from acp_runtime.manager.run_dir import make_run_dir
from acp_runtime.models import Route
from acp_runtime.session.catalogue import AgentKind
from sandbox.container import Sandbox
from sandbox.engine import Engine
from sandbox.probe import ProbeResult
from sandbox.programs_volume import PROGRAMS_MOUNT, RELAY, ensure_programs
from sandbox.spec import VolumeMount
from tests.docker.proxies import sealed
from tests.docker.test_transports import CERTIFICATES
from tests.faults.storm.own_engine import own_engine
from tests.integration.http_ends import BOUND, KEY, upstream

pytestmark = pytest.mark.docker

PROBED = {
    "shared": ProbeResult(sockets_shared=True, gid=os.getgid(), uid=os.getuid(), why=""),
    "exec": ProbeResult(sockets_shared=False, gid=-1, uid=-1, why="a test says so"),
}
KIND, ORDER = AgentKind("none", ("none",)), Order(agent="none", workspace="/")
REQUEST = LaunchRequest("aaaabbbb", "one", 1, KIND, ORDER, Path("/nowhere"), str, "t" * 48)
ASK = f"""
import http.client
line = http.client.HTTPConnection("127.0.0.1", {PORT}, timeout=60)
line.request("POST", "/v1/chat/completions", b"x" * 300_000, {{"authorization": "Bearer stand-in"}})
answer = line.getresponse()
open("/tmp/answered", "w")
try:
    print(answer.status, len(answer.read()))
except (OSError, http.client.HTTPException) as error:
    print(answer.status, type(error).__name__)
"""
TRESPASS = f"""
import json, os, signal, subprocess
def tried(act):
    try:
        return repr(act())
    except OSError as error:
        return type(error).__name__
pids = [pid for pid in os.listdir("/proc") if pid.isdigit() and "relay" in open(f"/proc/{{pid}}/comm").read()]
attach = subprocess.run(["{RELAY}", "attach", "/run/relay.sock"], capture_output=True, stdin=subprocess.DEVNULL)
print(json.dumps([len(pids), attach.returncode, attach.stdout[20:].decode(), *(tried(act) for pid in pids for act in (
    lambda: os.kill(int(pid), signal.SIGTERM), lambda: open(f"/proc/{{pid}}/mem", "rb"),
    lambda: os.listdir(f"/proc/{{pid}}/fd"), lambda: open(f"/proc/{{pid}}/environ", "rb").read())),
    tried(lambda: open("/run/relay.sock.mine", "w")), tried(lambda: os.unlink("/run/relay.sock"))]))
"""
CUT = """
import os, signal, time
while not os.path.exists("/tmp/answered"):  # what is cut is an answer that has begun
    time.sleep(0.01)
for pid in filter(str.isdigit, os.listdir("/proc")):
    if b"attach" in open(f"/proc/{pid}/cmdline", "rb").read().split(b"\\0"):
        os.kill(int(pid), signal.SIGKILL)
        print("cut")
"""


@dataclass
class Placed:
    """A sandbox with its relay, and the gateway that is the way out of it."""

    sandbox: Sandbox
    folder: Path
    probed: ProbeResult
    environ: Mapping[str, str]
    links: list[GatewayLink] = field(default_factory=list)

    @property
    def place(self) -> GatewayPlace:
        return GatewayPlace.of_store("aaaabbbb", self.folder.parents[2] / "store.db", self.folder.parents[1])

    @asynccontextmanager
    async def open(self, url: str, *, epoch: int = 1) -> AsyncIterator[GatewayLink]:
        """Have the way served inside the block."""
        route = Route.parse(url, key=Secret(KEY, name="MODEL_KEY"))
        link = GatewayLink(self.place, epoch, 60, self.environ)
        self.links.append(link)
        given = {"sandbox": self.sandbox, "probed": self.probed, "run_dir": self.folder, "environ": self.environ}
        made = account_of(REQUEST, route=route, config=load(None, {"HOME": "/nowhere"}), **given)
        await link.open(lambda: made)
        yield link
        await link.close_account("one", 1)

    async def python(self, script: str, user: str = "10001:10001") -> str:
        done = await self.sandbox.run(("python3", "-c", script), cwd="/", limit_bytes=1 << 20, timeout=BOUND, user=user)
        assert (done.exit_code, done.stderr.decode()) == (0, "")
        return done.stdout.decode().strip()

    def records(self) -> list[dict[str, Any]]:
        return ledger.read(self.place.folder, ledger.Place())[0]

    async def close(self) -> None:
        for link in reversed(self.links):
            await link.close()
        assert not self.place.held


MakePlaced = Callable[..., Awaitable[Placed]]


@pytest.fixture
async def make_placed(engine: Engine, make_spec, image: str, tmp_path: Path) -> AsyncIterator[MakePlaced]:
    made: list[Placed] = []

    async def make(by: Engine, way: str, **environ: str) -> Placed:
        folder, probed = make_run_dir(tmp_path / "run", "store", "one", 1), PROBED[way]
        mounts = (VolumeMount(await ensure_programs(by, image), PROGRAMS_MOUNT), *run_mounts(probed, folder))
        spec = make_spec(command=relay_command(probed), gid=group(probed), mounts=mounts, work=False, home=False)
        sandbox = await Sandbox.create(by, spec)
        made.append(Placed(sandbox, folder, probed, {**os.environ, **environ}))
        return made[-1]

    yield make
    for placed in made:
        assert await Sandbox(engine, placed.sandbox.spec, placed.sandbox.id).remove()
        await placed.close()


async def with_the_key(end, request):
    """Answer with as many bytes as came, if the key came with them."""
    body = await end.hear_body()
    known = dict(request.headers)[b"authorization"] == b"Bearer " + KEY.encode()
    await end.answer(200 if known else 401, body)


@pytest.mark.requirement("D08.9")
@pytest.mark.parametrize("way", PROBED)
async def test_a_model_request_from_inside_arrives_with_the_key_and_one_that_came_early_is_held(
    engine: Engine, make_placed: MakePlaced, way: str
):
    placed = await make_placed(engine, way)
    early = asyncio.ensure_future(placed.python(ASK))
    async with upstream(with_the_key) as model:
        async with placed.open(model.url):
            assert await early == "200 300000"
            assert await placed.python(ASK) == "200 300000"
        again = asyncio.ensure_future(placed.python(ASK))
        async with placed.open(model.url, epoch=2):
            assert await again == "200 300000"
        with pytest.raises(GatewayError, match="later manager"):
            async with placed.open(model.url, epoch=1):
                raise AssertionError("an earlier manager was let in")


@pytest.mark.requirement("D08.9")
async def test_a_cut_exec_breaks_the_answer_under_way_and_mends_itself(engine: Engine, make_placed: MakePlaced):
    halfway, placed = asyncio.Event(), await make_placed(engine, "exec")

    async def answer_half_and_then_whole(end, request):
        body = await end.hear_body()
        if not halfway.is_set():
            halfway.set()
            end.writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 300000\r\n\r\n" + body[:1000])
            await end.reader.read()
        else:
            await end.answer(200, body)

    async with upstream(answer_half_and_then_whole) as model, placed.open(model.url):
        broken = asyncio.ensure_future(placed.python(ASK))
        await halfway.wait()
        assert await placed.python(CUT, user="0:0") == "cut"
        assert await broken in {"200 ConnectionResetError", "200 IncompleteRead"}
        assert await placed.python(ASK) == "200 300000"


@pytest.mark.requirement("D08.10")
async def test_an_agent_reaches_neither_the_relay_nor_the_way_to_the_manager(engine: Engine, make_placed: MakePlaced):
    placed = await make_placed(engine, "exec")
    async with upstream(with_the_key) as model, placed.open(model.url):
        processes, code, said, *tried = json.loads(await placed.python(TRESPASS))
        assert (processes >= 2, code, said) == (True, 1, "relay_gone: nobody answers at the socket: Permission denied.")
        assert set(tried) == {"PermissionError"}
        assert await placed.python(ASK) == "200 300000"


async def test_the_way_over_an_engine_behind_tls(engine: Engine, make_placed: MakePlaced):
    assert engine.endpoint.unix_path is not None
    with sealed(engine.endpoint.unix_path, CERTIFICATES) as port:
        environ = {
            "DOCKER_HOST": f"tcp://127.0.0.1:{port}",
            "DOCKER_TLS_VERIFY": "1",
            "DOCKER_CERT_PATH": str(CERTIFICATES),
        }
        remote = await Engine.connect(environ)
        placed = await make_placed(remote, "exec", **environ)
        async with upstream(with_the_key) as model, placed.open(model.url):
            assert await asyncio.gather(*(placed.python(ASK) for _ in range(4))) == ["200 300000"] * 4
        await placed.close()
        await remote.close()


UPLOAD = f"""
import os, socket, subprocess, sys
if len(sys.argv) == 1:  # in the background, so that it outlives the exec
    os.mkfifo("/tmp/said")
    subprocess.Popen([sys.executable, "-c", open("/proc/self/cmdline").read().split("\\0")[2], "go"],
                     stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    sys.exit()
line = socket.create_connection(("127.0.0.1", {PORT}))
line.sendall(b"POST /v1/x HTTP/1.1\\r\\nhost: x\\r\\ncontent-length: 60000000\\r\\n\\r\\n")
try:
    while True:
        line.sendall(bytes(65536))
except OSError as error:
    open("/tmp/said", "w").write(type(error).__name__)
"""
HEAR = 'print(open("/tmp/said").read())'
ATTACHED = """
import os
found = [open(f"/proc/{pid}/cmdline", "rb").read().split(b"\\0") for pid in os.listdir("/proc") if pid.isdigit()]
print(sum(b"attach" in words for words in found))
"""


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # docker-py's, that an engine refused
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: an engine of its own")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_the_way_comes_back_after_a_restart_of_the_engine(
    make_placed: MakePlaced, image: str, number: signal.Signals
):
    """The container goes on; the exec before is left with an output that nobody reads, and must not stay."""
    uploading, over = asyncio.Event(), asyncio.Event()

    async def never_read(end, request):
        if request.target.endswith(b"/x"):
            uploading.set()
            await over.wait()
        else:
            await with_the_key(end, request)

    with own_engine(image, live_restore=True) as own:
        remote = await Engine.connect({"DOCKER_HOST": own.host})
        placed = await make_placed(remote, "exec", DOCKER_HOST=own.host)
        async with upstream(never_read) as model, placed.open(model.url):
            assert await placed.python(ASK) == "200 300000"
            await placed.python(UPLOAD)
            await uploading.wait()
            await asyncio.to_thread(own.end, number)
            await asyncio.to_thread(own.start)
            # Until the relay knows that the attachment is broken, what is asked would be reset with it.
            assert await placed.python(HEAR) in {"ConnectionResetError", "BrokenPipeError"}
            assert await placed.python(ASK) == "200 300000"
            assert await placed.python(ATTACHED) == "1"
            over.set()
        assert await placed.sandbox.remove()
        await remote.close()
