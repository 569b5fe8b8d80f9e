"""What the journal holds at most, and what happens there: stdout waits, stderr loses its oldest, input is refused."""

import asyncio
import os
from pathlib import Path

import pytest

from sandbox.holder import frames
from sandbox.holder.errors import HolderError, InputRefused
from sandbox.holder.frames import Cause, Phase
from sandbox.holder.journal import read_state
from tests.contract.holder.held import BOUND, ON_THE_SOCKET, Held, ended, fill, holders, numbered, read_back

MIB = 1 << 20
FILE = 65_536  # a file of the journal that holds so much is full
LINES = 1_000_000
FLOOD = ("sh", "-c", f"seq 1 {LINES}; echo all written >&2; read x")


async def settled(channel) -> int:
    """Return the end of stdout once it does not move while the holder answers fifty questions."""
    end, same = -1, 0
    async with asyncio.timeout(BOUND):
        while same < 50:
            state = await channel.ask()
            same = same + 1 if state.stdout_end == end else 0
            end = state.stdout_end
    return end


@pytest.mark.requirement("D08.6")
async def test_at_the_bound_the_agent_waits_and_nothing_is_lost(held: Held):
    await held.start(*FLOOD, stdout_bound=MIB)
    heard, channel = await held.attach()
    await heard.until(lambda: len(heard.stdout) > MIB // 2)
    end = await settled(channel)
    assert end <= MIB
    assert heard.stderr == b""
    assert sum(path.stat().st_size for path in held.files("o")) <= MIB
    expected = numbered(LINES)
    while len(heard.stdout) < len(expected):
        before = len(heard.stdout)
        await channel.acknowledge(channel.received)
        await heard.until(lambda before=before: len(heard.stdout) > before)
    assert heard.stdout == expected
    await heard.until(lambda: heard.stderr == b"all written\n")
    assert heard.gaps == []


async def test_what_is_acknowledged_leaves_the_disk(held: Held):
    await held.start(*FLOOD)
    whole = len(numbered(LINES))
    heard, channel = await held.attach()
    await heard.until(lambda: heard.stderr and len(heard.stdout) == whole)
    full = sum(path.stat().st_size for path in held.files("o"))
    assert full > len(heard.stdout)
    await channel.acknowledge(channel.received, channel.received_stderr)
    assert (await channel.ask()).stdout_first == len(heard.stdout)
    assert sum(path.stat().st_size for path in held.files("o")) < 5 * MIB


async def test_input_that_the_agent_has_read_leaves_the_disk(held: Held):
    await held.start("sh", "-c", "cat >/dev/null; echo end")
    heard, channel = await held.attach()
    for _ in range(6):
        await channel.send(b"z" * (5 * MIB) + b"\n")
    await channel.close_input()
    await heard.until(lambda: heard.stdout == b"end\n")
    assert sum(path.stat().st_size for path in held.files("i")) <= 10 * MIB


async def test_stderr_loses_its_oldest_and_the_loss_is_told(held: Held):
    script = f"seq 1 {LINES} >&2; echo done; read x"
    await held.start("sh", "-c", script, stderr_bound=MIB)
    heard, channel = held.channel()
    await held.attach()
    await _until_written(held)
    state = await channel.attach(held.opener)
    await heard.until(lambda: heard.stdout == b"done\n" and heard.stderr.endswith(b"%d\n" % LINES))
    ((stream, offset, lost),) = heard.gaps
    expected = numbered(LINES)
    assert (stream, offset, lost) == (2, 0, state.stderr_first)
    assert state.stderr_dropped == lost
    assert heard.stderr == expected[lost:]
    assert MIB // 2 < len(heard.stderr) <= MIB


async def _until_written(held: Held) -> None:
    heard, _ = await held.attach()
    await heard.until(lambda: heard.stdout == b"done\n")


async def test_on_a_full_disk_the_agent_waits_and_goes_on_by_itself(held: Held, small_disk: Path):
    await held.start(*FLOOD)
    heard, channel = await held.attach()
    await heard.until(lambda: len(heard.stdout) > MIB)
    end = await settled(channel)
    assert end < 2 * MIB
    expected = numbered(LINES)
    while len(heard.stdout) < len(expected):
        before = len(heard.stdout)
        await channel.acknowledge(channel.received)
        await heard.until(lambda before=before: len(heard.stdout) > before)
    assert heard.stdout == expected
    assert heard.gaps == []


async def test_room_made_by_others_lets_the_agent_go_on(held: Held, small_disk: Path):
    await held.start("sh", "-c", f"read x; seq 1 {LINES // 10}; read x")
    heard, channel = await held.attach()
    ballast = small_disk / "ballast"
    fill(ballast)
    with pytest.raises(InputRefused) as refused:
        await channel.send(b"go\n")
    assert refused.value.kind == "journal_full"
    assert (await channel.ask()).accepted == 0
    ballast.unlink()
    await channel.send(b"go\n")
    expected = numbered(LINES // 10)
    await heard.until(lambda: len(heard.stdout) == len(expected))
    assert heard.stdout == expected


async def test_a_record_that_fits_in_part_only_is_taken_back(held: Held, small_disk: Path):
    await held.start("sh", "-c", f"read x; seq 1 {LINES // 10}; read x")
    heard, channel = await held.attach()
    fill(small_disk / "ballast", but=40_000)
    await channel.send(b"go\n")
    assert await settled(channel) < 40_000
    (small_disk / "ballast").unlink()
    expected = numbered(LINES // 10)
    await heard.until(lambda: channel.received >= len(expected))
    assert (bytes(heard.stdout), heard.gaps) == (expected, [])


async def test_a_disk_with_little_room_is_used_again_and_again(held: Held, small_disk: Path):
    await held.start("sh", "-c", f"read x; seq 1 {LINES // 10}; read x")
    heard, channel = await held.attach()
    fill(small_disk / "ballast", but=200_000)
    await channel.send(b"go\n")
    expected = numbered(LINES // 10)
    while channel.received < len(expected):
        before = channel.received
        await channel.acknowledge(before)
        await heard.until(lambda before=before: channel.received > before)
    assert (bytes(heard.stdout), heard.gaps) == (expected, [])


async def test_stderr_on_a_full_disk_is_counted_and_told_as_a_gap(held: Held, small_disk: Path):
    """Each byte that is lost counts once, whether it was never kept or was deleted to make room."""
    gate = held.folder / "gate"
    os.mkfifo(gate)
    gate.chmod(0o666)
    held.folder.chmod(0o755)
    flood, again, rest = numbered(200_000), numbered(1000), b"late\n"
    script = f"echo early >&2; read x <{gate}; seq 1 200000 >&2; read x; seq 1 1000 >&2; read x; echo late >&2; read x"
    await held.start("sh", "-c", script)
    heard, channel = await held.attach()
    await heard.until(lambda: heard.stderr == b"early\n")
    fill(small_disk / "ballast")
    await asyncio.to_thread(gate.write_text, "go\n")
    written = len(b"early\n" + flood)
    while (state := await channel.ask()).stderr_end < written:
        pass
    first, channel = await held.attach(epoch=2)
    await first.until(lambda: channel.received_stderr == written)
    assert first.gaps != []
    assert state.stderr_dropped == sum(lost for _, _, lost in first.gaps) == written - len(first.stderr)
    (small_disk / "ballast").unlink()
    await channel.send(b"go\n")
    await channel.send(b"go\n")
    await first.until(lambda: first.stderr.endswith(rest))
    state = await channel.ask()
    last, channel = await held.attach(epoch=3)
    await last.until(lambda: channel.received_stderr == written + len(again + rest))
    assert (
        state.stderr_dropped == sum(lost for _, _, lost in last.gaps) == written + len(again + rest) - len(last.stderr)
    )
    assert last.stderr.endswith(again + rest)


async def test_a_holder_that_finds_no_room_for_its_journal_does_not_start(held: Held, small_disk: Path):
    fill(small_disk / "ballast")
    with pytest.raises(HolderError) as refused:
        await held.start("cat")
    assert refused.value.kind in {"journal_full", "journal_failed"}
    assert not held.socket.exists()
    assert held.processes() == []
    (small_disk / "ballast").unlink()
    await held.start("cat")


def fifo(path: Path) -> Path:
    os.mkfifo(path)
    path.chmod(0o666)
    return path


@ON_THE_SOCKET
async def test_what_never_finds_room_is_a_gap_and_keeps_no_holder_to_whom_nobody_comes(held: Held, small_disk: Path):
    """Nobody came for the time to live, and then for as long again."""
    held.folder.chmod(0o755)
    gate, done = fifo(held.folder / "gate"), fifo(held.folder / "done")
    script = f"echo early; read x <{gate}; seq 1 2000; echo written >{done}; read x"
    await held.start("sh", "-c", script, ttl=1, grace=0.01)
    (holder,) = holders(held.journal)
    heard, channel = await held.attach()
    await heard.until(lambda: heard.stdout == b"early\n")
    fill(small_disk / "ballast")
    await asyncio.to_thread(gate.write_text, "go\n")
    assert await asyncio.to_thread(done.read_text) == "written\n"
    await channel.close()
    await ended(holder)
    state = read_state((held.journal / "state").read_bytes())
    assert (state.phase, state.cause, state.stdout_end) == (Phase.ENDED, Cause.TTL, 6 + len(numbered(2000)))
    (told, gap) = read_back(held, 0)
    assert (told.payload, gap) == (b"early\n", frames.gap(1, 6, len(numbered(2000))))


@ON_THE_SOCKET
async def test_a_file_that_a_full_disk_left_empty_is_used_although_what_is_before_it_is_damaged(
    held: Held, small_disk: Path
):
    held.folder.chmod(0o755)
    gate = fifo(held.folder / "gate")
    script = f"head -c {FILE} /dev/zero; read x <{gate}; seq 1 2000; read x"
    await held.start("sh", "-c", script, stdout_bound=MIB)
    first, channel = await held.attach()
    await first.until(lambda: len(first.stdout) == FILE)
    fill(small_disk / "ballast")
    await asyncio.to_thread(gate.write_text, "go\n")
    async with asyncio.timeout(BOUND):
        while len(held.files("o")) < 2:
            await channel.ask()
    damaged, empty = held.files("o")
    assert empty.stat().st_size == 0
    damaged.write_bytes(bytes(FILE))
    heard, _ = await held.attach(epoch=2)
    await heard.until(lambda: heard.gaps == [(1, 0, FILE)])
    (small_disk / "ballast").unlink()
    await heard.until(lambda: heard.stdout == numbered(2000))
