"""A journal that was damaged, or is in use: told by name or as a gap, never as something else."""

import asyncio
import os
import random
from pathlib import Path

import pytest

from sandbox.holder import frames
from sandbox.holder.errors import HolderError
from sandbox.holder.frames import HEADER, Phase, Type, gap_length
from sandbox.holder.journal import read_state
from tests.contract.holder.held import BOUND as BOUND_SECONDS
from tests.contract.holder.held import ON_THE_SOCKET, Held, ended, holders, numbered, read_back

LINES = 60_000
BOUND = 4 << 20  # so that files of 64 KiB are begun


async def filled(held: Held) -> bytes:
    """Fill the journal without reading it; return what the agent wrote."""
    await held.start("sh", "-c", f"seq 1 {LINES}; read x; echo after; read x", stdout_bound=BOUND)
    heard, channel = await held.attach()
    await heard.until(lambda: len(heard.stdout) == len(numbered(LINES)))
    await channel.close()
    assert len(held.files("o")) > 3
    return bytes(heard.stdout)


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


DAMAGES = {
    "a changed byte": flipped,
    "a changed header": lambda path: path.write_bytes(b"X" + path.read_bytes()[1:]),
    "a missing end": lambda path: path.write_bytes(path.read_bytes()[:-1000]),
    "only a header": lambda path: path.write_bytes(path.read_bytes()[: HEADER - 1]),
    "an empty file": lambda path: path.write_bytes(b""),
    "a missing file": lambda path: path.unlink(),
    "another stream's file": lambda path: path.write_bytes(path.read_bytes().replace(b"O\x01", b"O\x02")),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
}


PLACES = [
    *((damage, 2) for damage in DAMAGES),
    *((damage, which) for damage in list(DAMAGES)[:3] for which in (0, -1)),
    ("a missing file", 0),
]


@ON_THE_SOCKET
@pytest.mark.parametrize(("damage", "which"), PLACES)
async def test_what_is_damaged_is_told_as_a_gap_and_all_around_it_is_heard(held: Held, damage: str, which: int):
    expected = await filled(held)
    DAMAGES[damage](held.files("o")[which])
    heard, channel = await held.attach()
    await heard.until(lambda: channel.received == len(expected))
    await channel.send(b"go on\n")
    await heard.until(lambda: heard.stdout.endswith(b"after\n"))
    expected += b"after\n"
    assert heard.gaps
    position, rest = 0, bytes(heard.stdout)
    for stream, offset, length in heard.gaps:
        assert (stream, rest[: offset - position]) == (1, expected[position:offset])
        position, rest = offset + length, rest[offset - position :]
    assert rest == expected[position:]
    assert sum(length for _, _, length in heard.gaps) < 200_000
    kept = read_back(held, 0)
    assert b"".join(frame.payload for frame in kept if frame.type == Type.OUTPUT) == bytes(heard.stdout)
    found = [(1, frame.offset, gap_length(frame.payload)) for frame in kept if frame.type == Type.GAP]
    assert found == heard.gaps


@ON_THE_SOCKET
@pytest.mark.parametrize("seed", range(5))
async def test_whatever_a_journal_holds_reading_it_covers_every_byte_once(held: Held, seed: int):
    expected = await filled(held)
    chance = random.Random(seed)
    for path in held.files("o"):
        data = bytearray(path.read_bytes())
        for _ in range(chance.randrange(3)):
            at = chance.randrange(len(data))
            data[at : at + chance.randrange(100)] = chance.randbytes(chance.randrange(100))
        path.write_bytes(data)
    if seed % 2:  # the end is missing
        os.truncate(held.files("o")[-1], held.files("o")[-1].stat().st_size - 1)
    start = chance.randrange(len(expected))
    at = start
    for frame in read_back(held, start):
        assert frame.offset == at
        if frame.type == Type.OUTPUT:
            assert frame.payload == expected[at : at + len(frame.payload)]
            at += len(frame.payload)
        else:
            at += gap_length(frame.payload)
    assert at == len(expected)


SECOND = b"second\n"
SPOILT = {
    "a changed byte": lambda data: data[:-2] + b"X\n",
    "a changed header": lambda data: data[: -len(SECOND) - HEADER] + b"X" + data[-len(SECOND) - HEADER + 1 :],
    "a giant length": lambda data: data[: -len(SECOND) - HEADER + 4] + b"\xff" * 4 + data[-len(SECOND) - HEADER + 8 :],
    "a longer length": lambda data: data[: -len(SECOND) - HEADER + 7] + b"\xff" + data[-len(SECOND) - HEADER + 8 :],
    "a missing end": lambda data: data[:-1],
    "a missing record": lambda data: data[: -len(SECOND) - HEADER],
    "the record before": lambda data: data[: -len(SECOND) - HEADER] + frames.encode(Type.INPUT, 0, 0, SECOND),
}


@ON_THE_SOCKET
@pytest.mark.parametrize("damage", SPOILT)
async def test_input_that_was_damaged_is_not_given_to_the_agent_and_the_client_hears_of_it(held: Held, damage: str):
    gate, first = held.folder / "gate", b"f" * 200_000 + b"\n"
    os.mkfifo(gate)
    gate.chmod(0o666)
    held.folder.chmod(0o755)
    await held.start("sh", "-c", f"read x <{gate}; exec cat")
    heard, channel = await held.attach()
    await channel.send(first)
    await channel.send(SECOND)
    (file,) = held.files("i")
    file.write_bytes(SPOILT[damage](file.read_bytes()))
    await asyncio.to_thread(gate.write_text, "go\n")
    await heard.until(lambda: heard.lost)
    assert heard.lost == ["what was accepted for the agent is damaged; its input is closed before that."]
    assert channel.failure is None
    await channel.attach(held.opener)
    async with asyncio.timeout(BOUND_SECONDS):
        state = await channel.wait_over()
    assert heard.stdout == first
    assert (state.exit_code, state.accepted, state.drained) == (0, len(first + SECOND), len(first))


@pytest.mark.parametrize("data", [b"", b"ACPHOLD1", b"ACPHOLD1" + bytes(136), b"x" * 144])
def test_a_state_that_is_none_is_refused_by_name(data: bytes):
    with pytest.raises(HolderError) as refused:
        read_state(data)
    assert refused.value.kind == "journal_damaged"


async def test_a_journal_in_use_and_one_of_before_are_refused_by_name_and_left_alone(held: Held):
    await held.start("sh", "-c", "echo mine; read x")
    heard, channel = await held.attach()
    await heard.until(lambda: heard.stdout)
    with pytest.raises(HolderError) as refused:
        await held.start("cat")
    assert refused.value.kind == "already_running"
    await channel.send(b"end\n")
    await heard.until(lambda: heard.closed)
    (holder,) = holders(held.journal)
    await channel.dismiss()
    await ended(holder)
    with pytest.raises(HolderError) as refused:
        await held.start("cat")
    assert refused.value.kind == "journal_exists"
    assert read_state((held.journal / "state").read_bytes()).phase is Phase.ENDED
    assert read_back(held, 0)[0].payload == b"mine\n"


async def test_journal_and_socket_are_closed_to_others(held: Held):
    await held.start("cat")
    heard, channel = await held.attach()
    await channel.send(b"x\n")
    await heard.until(lambda: heard.stdout)
    assert held.journal.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in held.journal.iterdir()} == {0o600}
    assert held.socket.stat().st_mode & 0o777 == 0o660
    assert {path.stat().st_uid for path in (held.journal, *held.journal.iterdir())} == {os.geteuid()}
