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
from sandbox.hold import INNER, Hold
from sandbox.holder.channel import HeldChannel
from sandbox.holder.dead import replay
from sandbox.holder.errors import EpochRefused, HolderError, HolderGone
from sandbox.holder.frames import Cause, Phase, Settings, State
from sandbox.holder.link import Link, SocketLink
from sandbox.holder.reader import journal_of, reader, remove_journals
from sandbox.holder.start import start
from sandbox.programs_volume import HOLDER, PROGRAMS_MOUNT, ensure_programs
from sandbox.spec import JOURNAL, HostMount, Limits, SandboxSpec, VolumeMount
from tests.contract.holder.held import BOUND, Heard, numbered
from tests.docker.conftest import TEST_LABELS

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
        place = {"journal": journal_of(1), "socket": self.socket, "token": self.token, "epoch": 1, "cwd": "/"}
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
        return await self.inside_of(self.sandbox, script, user)

    @staticmethod
    async def inside_of(sandbox: Sandbox, script: str, user: str) -> str:
        done = await sandbox.run(["sh", "-c", script], cwd="/", limit_bytes=1 << 20, timeout=BOUND, user=user)
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
    folder = make_run_dir(tmp_path, store, "one", 1) / SOCKETS
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


@pytest.mark.parametrize("placed", ["exec"], indirect=True)
@pytest.mark.parametrize("socket", [SOCKET, INNER])
async def test_a_holder_is_reached_from_inside_wherever_it_listens(placed: Placed, socket: str):
    """That of an earlier version, made where sockets are shared, has none but the one in the shared folder."""
    placed.socket = socket
    await placed.start(*ECHO)
    placed.folder.rename(placed.folder.with_name("moved"))  # lost to this side, not to the holder
    hold, heard = Hold(placed.sandbox, HOLDER, RUN, None if socket == INNER else placed.folder), Heard()
    channel = HeldChannel(heard, heard, token=placed.token, epoch=2)
    assert (await hold.attach(channel)).phase is Phase.RUNNING
    await channel.send(b"hello\n")
    await heard.until(lambda: heard.stdout == b"hello\n")
    await channel.kill(0)
    async with asyncio.timeout(BOUND):
        await channel.wait_over()
    await channel.dismiss()
    again = HeldChannel(heard, heard, token=placed.token, epoch=2)
    with pytest.raises(HolderGone) as gone:
        await hold.attach(again)
    assert gone.value.kind == "holder_gone"


@pytest.mark.requirement("D08.6")
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
holder=$PPID  # by its name there may be two for a moment: the one that started it
cd /proc/$holder || echo "no holder"
for path in {JOURNAL}/1/state {JOURNAL}/1/o-0000000000000000 environ mem fd/3 {SOCKET} /proc/self/status; do
    cat $path >/dev/null 2>&1 && echo "read $path"
done
ls {JOURNAL}/1 {RUN} 2>/dev/null
kill -0 $holder 2>/dev/null && echo signalled
kill -0 1 2>/dev/null && echo "signalled PID 1"
attach='import ctypes, sys; print(ctypes.CDLL(None).ptrace(16, int(sys.argv[1]), 0, 0), end=" ")'
sleep 60 & echo "traced $(python3 -c "$attach" $holder)$(python3 -c "$attach" 1)$(python3 -c "$attach" $!)"; kill -9 $!
grep -E '^(Uid|Gid|Groups|Cap...|NoNewPrivs|Seccomp):' /proc/self/status | tr '\\n\\t' '; ' | tr -s ' '
echo
"""
NONE = "0000000000000000"
RIGHTS = f"Uid: 10001 10001 10001 10001;Gid: 10001 10001 10001 10001;Groups: ;CapInh: {NONE};CapPrm: {NONE};"
RIGHTS += f"CapEff: {NONE};CapBnd: {NONE};CapAmb: {NONE};NoNewPrivs: 1;Seccomp: 2;"


@pytest.mark.requirement("D08.7", "T22")
async def test_an_agent_can_do_nothing_to_its_holder(placed: Placed):
    await placed.start("sh", "-c", f"{TRESPASS} read x")
    heard, channel = await placed.attach()
    await heard.until(lambda: heard.stdout.endswith(b";\n"))
    assert heard.stdout.decode().split("\n") == ["read /proc/self/status", "traced -1 -1 0 ", RIGHTS, ""]
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


@pytest.mark.requirement("D08.7")
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
    # It waits until somebody is there: no program can be executed in a container that is full of processes.
    bomb = "import os\ninput()\nprint('armed', flush=True)\nwhile True:\n    try: os.fork()\n    except OSError: pass"
    await placed.start("python3", "-c", bomb)
    heard, channel = await placed.attach()
    await channel.send(b"now\n")
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


ONCE = pytest.mark.parametrize("placed", ["socket"], indirect=True)
ENDLESS = ("seq", "1", "100000000")


async def told(sandbox: Sandbox, attempt: int = 1, **places: int) -> tuple[Heard, State]:
    heard = Heard()
    async with asyncio.timeout(BOUND):
        return heard, await replay(sandbox.open_channel, journal_of(attempt), heard, heard, **places)


def assert_goes_on(said: bytes, before: bytes) -> None:
    assert said.startswith(before)
    assert numbered(said.count(b"\n") + 1).startswith(said)


@pytest.mark.requirement("D08.6")
@ONCE
async def test_what_was_said_is_told_once_more_when_the_container_was_killed_in_mid_write(
    placed: Placed, engine: Engine, image: str
):
    await placed.start(*ENDLESS, stdout_bound=2 << 20)
    before, channel = await placed.attach()
    await before.until(lambda: len(before.stdout) > 500_000)
    await placed.sandbox.remove()
    await before.until(lambda: before.lost)
    await channel.close()
    async with reader(engine, placed.sandbox.spec, image) as sandbox:
        heard, state = await told(sandbox)
        rest, _ = await told(sandbox, stdout_from=channel.received)
        assert "refused" in await Placed.inside_of(sandbox, "touch /journal/x || echo refused", user="0:0")
    assert (state.phase, heard.gaps, state.stdout_end) == (Phase.LOST, [], len(heard.stdout))
    assert_goes_on(bytes(heard.stdout), bytes(before.stdout))
    assert before.stdout + rest.stdout == heard.stdout


@ONCE
async def test_when_only_the_holder_was_killed_the_journal_is_read_beside_what_goes_on(
    placed: Placed, engine: Engine, image: str
):
    await placed.start(*ENDLESS, stdout_bound=2 << 20)
    before, channel = await placed.attach()
    await before.until(lambda: len(before.stdout) > 500_000)
    async with reader(engine, placed.sandbox.spec, image) as sandbox:
        with pytest.raises(HolderError, match="attach to it"):
            await told(sandbox)
        await placed.inside("kill -9 $(pgrep -x holder)", user="0:0")
        await before.until(lambda: before.lost)
        await channel.close()
        heard, state = await told(sandbox)
        assert (state.phase, heard.gaps) == (Phase.LOST, [])
        assert_goes_on(bytes(heard.stdout), bytes(before.stdout))
        with pytest.raises(HolderError) as refused:
            await told(sandbox, attempt=2)
        assert refused.value.kind == "journal_missing"
    same, _ = await told(placed.sandbox)
    assert same.stdout == heard.stdout


@pytest.mark.parametrize("foreign", [False, True])
async def test_an_agent_without_journals_has_none_to_read(
    engine: Engine, image: str, make_spec: Callable[..., SandboxSpec], *, foreign: bool
):
    spec = make_spec(subagent="other", journal=True)
    if foreign:
        await engine.create_volume(spec.journal_volume, TEST_LABELS)
    for wanted in (make_spec(subagent="other"), spec):
        with pytest.raises(HolderError, match="no journals of the agent other") as refused:
            async with reader(engine, wanted, image):
                pass
        assert refused.value.kind == "journal_missing"
    await engine.remove_volume(spec.journal_volume)


async def test_journals_of_earlier_attempts_are_removed_and_nothing_else(make_sandbox):
    sandbox = await make_sandbox(work=False, home=False, journal=True)
    made = "cd /journal; mkdir 1 2 9 10 11 lost+found; touch 1/state 10/state"
    await Placed.inside_of(sandbox, made, user="0:0")
    await remove_journals(sandbox, before=10)
    assert await Placed.inside_of(sandbox, "ls /journal", user="0:0") == "10\n11\nlost+found\n"
    await remove_journals(sandbox, before=10)
