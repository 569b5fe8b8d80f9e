"""The journal of an agent that died with its holder, told once more: complete, in order, whatever happened to it."""

import asyncio
import os
import secrets
import shutil
import signal
import sys
import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from acp_runtime.manager.local_channel import LocalChannel
from sandbox.channel import Receiver
from sandbox.errors import ChannelClosed, ChannelStalled
from sandbox.holder import dead, frames
from sandbox.holder.dead import DeadChannel, replay
from sandbox.holder.errors import HolderError
from sandbox.holder.frames import UNKNOWN, Phase, State, Type
from sandbox.holder.journal import MAGIC
from sandbox.holder.link import Link
from tests.contract.holder.held import BOUND, ON_THE_SOCKET, Heard, Held, cutting, ended, holders, numbered

SHIPPED = pytest.mark.parametrize("held", ["shipped-socket"], indirect=True)
KEPT = Path(__file__).parents[2] / "fixtures" / "holder_frames" / "version_1.hex"
LINES = 60_000
BOOT_AT = len(MAGIC) + 17 * 8
BOOT = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip().replace("-", "")
LATE = 1 << 32
EXPECTED = numbered(LINES)


async def here(argv: Sequence[str], *, cwd: str, env: Mapping[str, str], receiver: Receiver, user: str) -> Link:
    """Run the script as a process of this machine."""
    assert (argv[0], user) == ("python3", "0:0")
    return await LocalChannel.open([sys.executable, *argv[1:]], cwd=Path(cwd), env=dict(env), receiver=receiver)


class Noting:
    """Opens as `here` does; `opened` is set then, and `asked` says whether the link was paused and resumed."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.asked: list[str] = []
        self._link: Link

    async def __call__(self, argv: Sequence[str], **how: Any) -> Link:
        self._link = await here(argv, **how)
        self.opened.set()
        return self

    async def send(self, data: bytes) -> None:
        await self._link.send(data)

    def pause(self) -> None:
        self.asked.append("pause")
        self._link.pause()

    def resume(self) -> None:
        self.asked.append("resume")
        self._link.resume()

    async def close(self) -> None:
        await self._link.close()


async def told(journal: Path, **places: int) -> tuple[Heard, State]:
    heard = Heard()
    async with asyncio.timeout(BOUND):
        return heard, await replay(here, str(journal), heard, heard, **places)


async def killed(held: Held, *argv: str, enough: Callable[[Heard], Any], **fields: Any) -> Heard:
    """Kill holder and agent in the middle of what they do; return what a client heard until then."""
    await held.start(*argv, **fields)
    heard, channel = await held.attach()
    await heard.until(lambda: enough(heard))
    (holder,) = holders(held.journal)
    os.kill(holder, signal.SIGKILL)  # first: it must not see the agent's end
    held.kill()
    await ended(holder)
    await heard.until(lambda: heard.lost)
    await channel.close()
    return heard


@SHIPPED
@pytest.mark.parametrize("most", [1, 300_000, 1_500_000])
async def test_what_was_said_before_a_kill_in_mid_write_comes_once_more_and_a_little_more(held: Held, most: int):
    argv = ("seq", "1", "100000000")
    before = await killed(held, *argv, enough=lambda heard: len(heard.stdout) > most, stdout_bound=2 << 20)
    heard, state = await told(held.journal)
    assert (state.phase, heard.gaps) == (Phase.LOST, [])
    assert heard.stdout.startswith(before.stdout)
    assert state.stdout_end == len(heard.stdout)
    assert numbered(heard.stdout.count(b"\n") + 1).startswith(heard.stdout)
    assert heard.closed == ["the agent's holder was killed"]
    start = len(before.stdout) // 2
    again, _ = await told(held.journal, stdout_from=start)
    assert again.stdout == heard.stdout[start:]


@SHIPPED
async def test_an_agent_that_ended_unwatched_is_told_with_its_end_and_both_streams(held: Held):
    await held.start("sh", "-c", f"echo problem >&2; seq 1 {LINES}; echo more >&2; exit 3", ttl=3)
    (holder,) = holders(held.journal)
    await ended(holder)
    heard, state = await told(held.journal, stderr_from=4)
    assert (heard.stdout, heard.stderr) == (EXPECTED, b"lem\nmore\n")
    assert (state.phase, state.exit_code, heard.gaps) == (Phase.ENDED, 3, [])
    assert heard.closed == ["the agent exited with code 3"]
    nothing, same = await told(held.journal, stdout_from=len(EXPECTED), stderr_from=13)
    assert (nothing.stdout, nothing.stderr, same) == (b"", b"", state)


@SHIPPED
async def test_what_was_acknowledged_and_deleted_is_a_gap_for_who_asks_for_it(held: Held):
    await held.start("sh", "-c", f"seq 1 {LINES}; read x", stdout_bound=1 << 20)
    heard, channel = await held.attach()
    await heard.until(lambda: len(heard.stdout) == len(EXPECTED))
    await channel.acknowledge(200_000)
    await channel.ask()
    held.kill()
    await heard.until(lambda: heard.lost)
    late, state = await told(held.journal)
    ((stream, offset, length),) = late.gaps
    assert (stream, offset) == (1, 0)
    assert 0 < length <= 200_000
    assert late.stdout == EXPECTED[length:]
    assert state.stdout_first == 200_000


def scrambled(path: Path) -> None:
    path.write_bytes(os.urandom(path.stat().st_size))


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 0x10
    path.write_bytes(data)


DAMAGES = {
    "emptied": lambda path: os.truncate(path, 0),
    "cut in a header": lambda path: os.truncate(path, 7),
    "cut in a record": lambda path: os.truncate(path, path.stat().st_size // 2),
    "scrambled": scrambled,
    "a bit flipped": flipped,
    "removed": Path.unlink,
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "endless": lambda path: os.truncate(path, 32 << 20),
}


def damaged(held: Held, damage: str, name: str) -> Path:
    """Return a copy of the journal with one file of it damaged."""
    copy = held.folder / "copies" / damage
    shutil.copytree(held.journal, copy)
    DAMAGES[damage](copy / name)
    return copy


@pytest.mark.requirement("D08.6")
@SHIPPED
@pytest.mark.parametrize("which", ["o0", "o1", "o-1", "e0"])
async def test_damaged_files_cost_what_they_held_and_nothing_else(held: Held, which: str):
    script = f"seq 1 {LINES} >&2; seq 1 {LINES}; read x"
    await killed(
        held, "sh", "-c", script, enough=lambda heard: len(heard.stdout) == len(EXPECTED), stdout_bound=4 << 20
    )
    name = held.files(which[0])[int(which[1:])].name
    for damage in DAMAGES:
        heard, state = await told(damaged(held, damage, name))
        assert state.stdout_end == state.stderr_end == len(EXPECTED), damage
        for stream, data in ((1, bytes(heard.stdout)), (2, bytes(heard.stderr))):
            at, rest = 0, data
            for offset, length in [(offset, length) for told_of, offset, length in heard.gaps if told_of == stream]:
                assert rest[: offset - at] == EXPECTED[at:offset], damage
                at, rest = offset + length, rest[offset - at :]
            assert rest == EXPECTED[at:], damage
        lost = sum(length for _, _, length in heard.gaps)
        assert lost < 150_000, damage
        assert lost or damage == "endless", damage  # what is behind the records alone


@SHIPPED
async def test_without_its_state_a_journal_is_read_and_all_input_counts_as_accepted(held: Held):
    await killed(held, "sh", "-c", f"seq 1 {LINES}; read x", enough=lambda heard: len(heard.stdout) == len(EXPECTED))
    for damage in ("emptied", "cut in a header", "scrambled", "removed", "a folder"):
        heard, state = await told(damaged(held, damage, "state"))
        assert heard.stdout == EXPECTED, damage
        assert (state.phase, state.stdout_end, state.accepted) == (Phase.LOST, len(EXPECTED), UNKNOWN), damage


@SHIPPED
async def test_a_journal_of_an_earlier_start_of_the_machine_proves_nothing_about_the_input(held: Held):
    await killed(held, "sh", "-c", "echo one; read x", enough=lambda heard: heard.stdout)
    _, state = await told(held.journal)
    assert state.accepted == 0
    with (held.journal / "state").open("r+b") as file:
        file.seek(BOOT_AT)
        own = file.read(16)
        file.seek(BOOT_AT)
        file.write(own[::-1])
    os.utime(held.journal / "state", (LATE, LATE))  # the clock was set back when the machine was started anew
    heard, state = await told(held.journal)
    assert (heard.stdout, state.phase, state.accepted, state.drained) == (b"one\n", Phase.LOST, UNKNOWN, UNKNOWN)
    assert own.hex() == BOOT


@SHIPPED
async def test_a_clock_that_is_set_back_takes_nothing_from_what_a_journal_proves(held: Held):
    await killed(held, "sh", "-c", "echo one; read x", enough=lambda heard: heard.stdout)
    os.utime(held.journal / "state", (1, 1))
    _, state = await told(held.journal)
    assert state.accepted == 0


@SHIPPED
async def test_what_was_written_before_the_state_said_so_is_told(held: Held):
    await killed(held, "sh", "-c", "echo one; read x", enough=lambda heard: heard.stdout)
    (file,) = held.files("o")
    with file.open("ab") as more:
        more.write(frames.encode(Type.OUTPUT, 1, 4, b"two\n"))
        more.write(frames.encode(Type.OUTPUT, 1, 1000, b"from nowhere\n"))
    heard, state = await told(held.journal)
    assert (heard.stdout, heard.gaps, state.stdout_end) == (b"one\ntwo\n", [], 8)


@ON_THE_SOCKET
async def test_a_journal_that_a_holder_has_is_left_to_it(held: Held):
    await held.start("sh", "-c", "echo mine; read x")
    with pytest.raises(HolderError) as refused:
        await told(held.journal)
    assert refused.value.kind == "already_running"
    heard, _ = await held.attach()
    await heard.until(lambda: heard.stdout == b"mine\n")


async def test_one_that_is_not_there_or_empty_is_refused_by_name(tmp_path: Path):
    for journal in (tmp_path, tmp_path / "other"):
        with pytest.raises(HolderError) as refused:
            await told(journal)
        assert refused.value.kind == "journal_missing"
        assert str(journal) in str(refused.value)


def made(journal: Path, size: int, files: int) -> None:
    """Make a journal of so much stdout, without an agent."""
    journal.mkdir()
    piece = secrets.token_bytes(frames.LONGEST_OUTPUT)
    per_file = size // files // len(piece)
    for number in range(files):
        first = number * per_file * len(piece)
        with (journal / f"o-{first:016x}").open("wb") as file:
            for record in range(per_file):
                file.write(frames.encode(Type.OUTPUT, 1, first + record * len(piece), piece))
    state = replace(dead._unknown(), accepted=0, drained=0, stdout_end=per_file * files * len(piece))
    numbers = [1, 1, 7, 1, 0, 0, 0, state.stdout_end, *[0] * 9]
    (journal / "state").write_bytes(MAGIC + b"".join(number.to_bytes(8) for number in numbers))


class Counted:
    """A receiver and watcher that keeps nothing."""

    def __init__(self) -> None:
        self.count = 0
        self.gaps: list[tuple[int, int, int]] = []

    def on_stdout(self, data: bytes) -> None:
        self.count += len(data)

    def on_stderr(self, data: bytes) -> None: ...

    def on_closed(self, reason: str) -> None: ...

    def on_lost(self, reason: str) -> None: ...

    def on_gap(self, stream: int, offset: int, length: int) -> None:
        self.gaps.append((stream, offset, length))


@pytest.mark.parametrize("files", [64, 1])
async def test_the_largest_journal_is_read_in_little_memory(tmp_path: Path, files: int):
    made(tmp_path / "1", 64 << 20, files)
    counted = Counted()
    tracemalloc.start()
    try:
        async with asyncio.timeout(BOUND):
            state = await replay(here, str(tmp_path / "1"), counted, counted)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (counted.count, counted.gaps, state.stdout_end) == (64 << 20, [], 64 << 20)
    assert peak < 8 << 20


async def test_a_reader_that_pauses_is_waited_for_and_nothing_is_lost(tmp_path: Path):
    made(tmp_path / "1", 16 << 20, 16)
    counted = Counted()
    channel = DeadChannel(counted, counted)
    channel.pause()
    opener = Noting()
    reading = asyncio.create_task(channel.replay(opener, str(tmp_path / "1")))
    async with asyncio.timeout(BOUND):
        await opener.opened.wait()
        assert (opener.asked, counted.count < 16 << 20) == (["pause"], True)  # a piece that has arrived may come
        channel.resume()
        await reading
    assert (opener.asked, counted.count) == (["pause", "resume"], 16 << 20)
    await channel.close()


async def test_a_channel_that_breaks_is_an_error_and_the_next_goes_on_from_there(tmp_path: Path):
    made(tmp_path / "1", 4 << 20, 4)
    heard = Heard()
    channel = DeadChannel(heard, heard)

    async def breaking(argv: Sequence[str], *, receiver: Receiver, **how: Any) -> Link:
        async def opened(cutter: Receiver) -> Link:
            return await here(argv, receiver=cutter, **how)

        return await cutting(opened, 1_000_003)(receiver)

    for _ in range(3):
        with pytest.raises(ChannelClosed, match=r"read in part only \(cut\)"):
            await channel.replay(breaking, str(tmp_path / "1"))
    assert 0 < len(heard.stdout) < 4 << 20
    await channel.replay(here, str(tmp_path / "1"))
    whole, _ = await told(tmp_path / "1")
    assert heard.stdout == whole.stdout
    assert (len(heard.stdout), heard.gaps, len(heard.closed)) == (4 << 20, [], 1)


async def test_a_script_that_keeps_still_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    made(tmp_path / "1", 1 << 20, 1)
    monkeypatch.setattr(dead, "STALL_BOUND", 0.2)
    monkeypatch.setattr(dead, "SCRIPT", "import signal; signal.pause()")
    with pytest.raises(ChannelStalled):
        await told(tmp_path / "1")


async def test_a_script_that_cannot_run_is_told_with_its_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(dead, "SCRIPT", "import nothing_of_that_name")
    with pytest.raises(ChannelClosed, match="No module named 'nothing_of_that_name'"):
        await told(tmp_path)


async def test_nothing_can_be_sent_to_the_dead_and_its_channel_ends_once(tmp_path: Path):
    made(tmp_path / "1", 1 << 20, 1)
    heard = Heard()
    channel = DeadChannel(heard, heard)
    with pytest.raises(ChannelClosed, match="has died"):
        await channel.send(b"hello\n")
    await channel.acknowledge(10)
    await channel.replay(here, str(tmp_path / "1"))
    assert channel.received == 1 << 20
    await channel.close()
    await channel.close()
    assert heard.closed == ["the agent's holder was killed"]
    with pytest.raises(ChannelClosed, match="nothing to replay"):
        await channel.replay(here, str(tmp_path / "1"))


async def test_who_closes_a_replay_under_way_ends_it(tmp_path: Path):
    made(tmp_path / "1", 4 << 20, 1)
    heard = Heard()
    channel = DeadChannel(heard, heard)
    channel.pause()
    opener = Noting()
    reading = asyncio.create_task(channel.replay(opener, str(tmp_path / "1")))
    async with asyncio.timeout(BOUND):
        await opener.opened.wait()
        await channel.close()
        with pytest.raises(ChannelClosed):
            await reading
    assert len(heard.closed) == 1


async def test_a_journal_of_version_1_is_read_for_ever(tmp_path: Path):
    """Its records and its state are frames that were kept; the first five bytes were acknowledged."""
    data = bytes.fromhex("".join(KEPT.read_text().split()))
    _, welcome, output, *_ = frames.Splitter().feed(data)
    (tmp_path / "state").write_bytes(MAGIC + welcome.payload)
    (tmp_path / "o-0000000000000005").write_bytes(frames.encode(*output))
    heard, state = await told(tmp_path)
    assert (heard.stdout, state.accepted, state.drained, state.epoch) == (b"hello\n", 70, 60, 3)
    os.utime(tmp_path / "state", (1, 1))  # it does not say of which start of the machine it is
    _, earlier = await told(tmp_path)
    assert (earlier.accepted, earlier.drained) == (UNKNOWN, UNKNOWN)
    assert sorted(heard.gaps) == [(1, 0, 5), (1, 11, 889), (2, 0, state.stderr_end)]


def test_a_signal_is_told_with_the_end():
    state = replace(dead._unknown(), phase=Phase.ENDED, signal=signal.SIGKILL, oom_kills=1)
    assert "want of memory" in state.describe()
