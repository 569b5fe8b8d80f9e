"""The holder in its place: a hardened container, started by an exec, its agent without any right, over both ways in."""

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from acp_runtime.manager.run_dir import HOLDER as SOCKETS
from acp_runtime.manager.run_dir import make_run_dir
from sandbox.channel import Receiver
from sandbox.container import Sandbox
from sandbox.engine import Engine
from sandbox.holder.channel import HeldChannel
from sandbox.holder.errors import EpochRefused, HolderGone
from sandbox.holder.frames import Cause, Phase, Settings, State
from sandbox.holder.journal import read_output, read_state
from sandbox.holder.link import Link, SocketLink
from sandbox.holder.start import start
from sandbox.programs_volume import HOLDER, PROGRAMS_MOUNT, ensure_programs
from sandbox.spec import JOURNAL, HostMount, Limits, VolumeMount
from tests.contract.holder.held import BOUND, Heard, numbered

pytestmark = pytest.mark.docker

RUN = "/run/holder"
SOCKET = f"{RUN}/holder.sock"
GID = 54321 if os.geteuid() == 0 else os.getegid()
SMALL = Limits(memory_bytes=96 * 1024**2, pids=64, tmp_bytes=1024**2)
ECHO = ("cat",)


@dataclass
class Placed:
    """A sandbox with a holder's program, socket folder and journal, and one way in."""

    sandbox: Sandbox
    folder: Path
    way: str
    token: str
    env: dict[str, str]
    socket: str = SOCKET

    async def start(self, *argv: str, **fields: Any) -> State:
        place = {"journal": f"{JOURNAL}/1", "socket": self.socket, "token": self.token, "epoch": 1, "cwd": "/"}
        return await start(self.run, Settings(argv=argv, env=self.env, **{**place, **fields}))

    async def execute(self, receiver: Receiver, *words: str) -> Link:
        return await self.sandbox.open_channel(
            [HOLDER, *words], cwd="/", env={}, receiver=receiver, user=f"0:{self.sandbox.spec.gid}"
        )

    async def run(self, receiver: Receiver) -> Link:
        return await self.execute(receiver, "run")

    async def opener(self, receiver: Receiver) -> Link:
        if self.way == "socket":
            return await SocketLink.open(self.folder / "holder.sock", receiver)
        return await self.execute(receiver, "attach", self.socket)

    async def attach(self, *, epoch: int = 1, **places: int) -> tuple[Heard, HeldChannel]:
        heard = Heard()
        channel = HeldChannel(heard, heard, token=self.token, epoch=epoch, **places)
        await channel.attach(self.opener)
        return heard, channel

    async def inside(self, script: str, user: str = "10001:10001") -> str:
        done = await self.sandbox.run(["sh", "-c", script], cwd="/", limit_bytes=1 << 20, timeout=BOUND, user=user)
        return done.stdout.decode(errors="replace")


@pytest.fixture
async def programs(engine: Engine, image: str) -> VolumeMount:
    return VolumeMount(await ensure_programs(engine, image), PROGRAMS_MOUNT)


@pytest.fixture(params=["socket", "exec"])
async def placed(
    request: pytest.FixtureRequest,
    programs: VolumeMount,
    store: str,
    make_sandbox: Callable[..., Awaitable[Sandbox]],
    tmp_path: Path,
) -> AsyncIterator[Placed]:
    folder = make_run_dir(tmp_path, store, "one") / SOCKETS
    os.chown(folder, -1, GID)
    mounts = (HostMount(str(folder), RUN, read_only=False), programs)
    sandbox = await make_sandbox(gid=GID, mounts=mounts, work=False, home=False, journal=True, limits=SMALL)
    env = {"PATH": "/usr/local/bin:/usr/bin:/bin", "SUBAGENTS_TEST_STORE": store}
    yield Placed(sandbox, folder, request.param, secrets.token_hex(16), env)
    await sandbox.remove(volumes=True)


async def test_an_agent_is_held_and_attached_and_ends(placed: Placed):
    state = await placed.start(*ECHO)
    assert state.phase is Phase.RUNNING
    heard, channel = await placed.attach()
    await channel.send(b"hello\n")
    await heard.until(lambda: heard.stdout == b"hello\n")
    await channel.close()
    again, channel = await placed.attach(epoch=2, stdout_from=2)
    await channel.send(b"again\n")
    await again.until(lambda: again.stdout == b"llo\nagain\n")
    with pytest.raises(EpochRefused):
        await placed.attach(epoch=1)
    await channel.close_input()
    async with asyncio.timeout(BOUND):
        assert (await channel.wait_over()).exit_code == 0
    await channel.dismiss()
    with pytest.raises(HolderGone):
        await placed.attach()
    assert await placed.inside(f"ls {RUN}", user=f"0:{GID}") == ""


async def test_links_that_are_cut_in_a_flood_lose_and_repeat_nothing(placed: Placed):
    count = 100_000
    await placed.start("sh", "-c", f"seq 1 {count}; read x")
    expected = numbered(count)
    heard, channel = await placed.attach()
    for part in range(1, 6):
        await heard.until(lambda part=part: len(heard.stdout) >= len(expected) * part // 6)
        await channel._detach()
        await channel.attach(placed.opener)
    await heard.until(lambda: len(heard.stdout) == len(expected))
    assert heard.stdout == expected
    await channel.close()


TRESPASS = f"""
holder=$(pgrep -x holder)
cd /proc/$holder || echo "no holder"
for path in {JOURNAL}/1/state {JOURNAL}/1/o-0000000000000000 environ mem fd/3 {SOCKET} /proc/self/status; do
    cat $path >/dev/null 2>&1 && echo "read $path"
done
ls {JOURNAL}/1 {RUN} 2>/dev/null
kill -0 $holder 2>/dev/null && echo signalled
kill -0 1 2>/dev/null && echo "signalled PID 1"
grep -E '^(Uid|Gid|Groups|Cap...|NoNewPrivs|Seccomp):' /proc/self/status | tr '\\n\\t' '; ' | tr -s ' '
echo
"""
NONE = "0000000000000000"
RIGHTS = f"Uid: 10001 10001 10001 10001;Gid: 10001 10001 10001 10001;Groups: ;CapInh: {NONE};CapPrm: {NONE};"
RIGHTS += f"CapEff: {NONE};CapBnd: {NONE};CapAmb: {NONE};NoNewPrivs: 1;Seccomp: 2;"


async def test_an_agent_can_do_nothing_to_its_holder(placed: Placed):
    await placed.start("sh", "-c", f"{TRESPASS} read x")
    heard, channel = await placed.attach()
    await heard.until(lambda: heard.stdout.endswith(b";\n"))
    assert heard.stdout.decode().split("\n") == ["read /proc/self/status", RIGHTS, ""]
    assert heard.stderr == b""
    look = "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n'"
    assert placed.token not in await placed.inside(look, user="0:0")
    await channel.close()


FAMILY = """
trap '' TERM
sleep 1001 & setsid sleep 1002 & (sleep 1003 & exec true)
(setsid sh -c 'sleep 1004 & exec true' </dev/null >/dev/null 2>&1 &)
until pgrep -f 'sleep 100[4]' >/dev/null; do :; done
echo family
"""


async def test_a_kill_ends_the_tree_and_nothing_beside_it(placed: Placed):
    await placed.start("sh", "-c", f"{FAMILY} read x")
    heard, channel = await placed.attach()
    await heard.until(lambda: heard.stdout == b"family\n")
    await channel.kill(0.1)
    async with asyncio.timeout(BOUND):
        state = await channel.wait_over()
    assert (state.cause, state.left) == (Cause.CLIENT, 0)
    assert await placed.inside("pgrep -fc 'sleep 100[0-9]'") == "0\n"
    assert (await placed.sandbox.fate()).state == "running"
    await channel.close()


async def test_want_of_memory_is_told_with_the_end(placed: Placed):
    await placed.start("python3", "-c", "held = bytearray(300 << 20)\nheld[::4096] = held[::4096]")
    heard, channel = await placed.attach()
    async with asyncio.timeout(BOUND):
        state = await channel.wait_over()
    assert state.signal == 9
    assert state.oom_kills is not None
    assert state.oom_kills >= 1
    assert "want of memory" in heard.closed[0]
    await channel.close()


async def test_a_fork_bomb_is_counted_and_ended(placed: Placed):
    bomb = "import os\nprint('armed', flush=True)\nwhile True:\n    try: os.fork()\n    except OSError: pass"
    await placed.start("python3", "-c", bomb)
    heard, channel = await placed.attach()
    await heard.until(lambda: heard.stdout)
    async with asyncio.timeout(BOUND):
        while not (await channel.ask()).pids_denied:
            pass
        await channel.kill(0)
        state = await channel.wait_over()
    assert state.left == 0
    assert await placed.inside("pgrep -c python3") == "0\n"
    await channel.close()


async def test_without_a_shared_folder_the_socket_is_roots_in_the_containers_own_memory(
    programs: VolumeMount, store: str, make_sandbox: Callable[..., Awaitable[Sandbox]], tmp_path: Path
):
    sandbox = await make_sandbox(mounts=(programs,), work=False, home=False, journal=True, limits=SMALL)
    placed = Placed(sandbox, tmp_path, "exec", secrets.token_hex(16), {"SUBAGENTS_TEST_STORE": store})
    placed.socket = "/run/holder.sock"
    await placed.start("/bin/cat")
    heard, channel = await placed.attach()
    await channel.send(b"hello\n")
    await heard.until(lambda: heard.stdout == b"hello\n")
    assert await placed.inside("stat -c '%u:%g %a' /run/holder.sock") == "0:0 660\n"
    attached = await placed.inside(f"{HOLDER} attach /run/holder.sock </dev/null 2>&1 || echo; echo $?")
    assert "holder_gone" in attached
    await channel.close()


async def test_the_result_is_in_the_journal_when_the_container_was_killed(
    placed: Placed, engine: Engine, store: str, make_sandbox: Callable[..., Awaitable[Sandbox]]
):
    count = 50_000
    await placed.start("sh", "-c", f"seq 1 {count}; read x")
    heard, channel = await placed.attach()
    await heard.until(lambda: len(heard.stdout) == len(numbered(count)))
    await placed.sandbox.remove()
    await heard.until(lambda: heard.lost)
    mount = VolumeMount(f"acp-{store[:8]}-one-journal", JOURNAL)
    reader = await make_sandbox(subagent="reader", mounts=(mount,), work=False, home=False)

    async def read(*argv: str) -> bytes:
        done = await reader.run(argv, cwd="/", limit_bytes=16 << 20, timeout=BOUND, user="0:0")
        assert done.exit_code == 0
        return done.stdout

    names = (await read("ls", f"{JOURNAL}/1")).decode().split()
    files = {name: await read("cat", f"{JOURNAL}/1/{name}") for name in names}
    state = read_state(files["state"])
    assert state.phase is Phase.LOST
    found = read_output(names, files.__getitem__, 1, 0, state.stdout_end)
    assert b"".join(frame.payload for frame in found) == numbered(count)
    await channel.close()
    await reader.remove()
