"""Who may be attached: the first, and then who has its token and no lower epoch. Connections wait while nobody is."""

import asyncio
import contextlib
import os
import random
import signal
import socket
import struct
from pathlib import Path

import pytest

from sandbox.holder.frames import encode
from sandbox.holder.link import SocketLink
from sandbox.relay import frames
from sandbox.relay.attachment import Attachment
from sandbox.relay.frames import WINDOW, RelayError, Type
from tests.contract.relay.carried import BOUND, Carried, attached, hello_of, raw
from tests.integration.relay_process import MIB, assert_at_rest, close, echo, freed, host, talk

# For tests in which the way is not the point: once, under the sanitizers.
ON_THE_SOCKET = pytest.mark.parametrize("relay", ["sanitized-socket"], indirect=True)


async def still_serves(relay: Carried) -> None:
    assert await talk(relay, b"still here") == b"still here"


# ---- holding


async def test_connections_are_held_until_a_manager_is_there(relay: Carried):
    async with host(relay.path, echo):
        early = [asyncio.ensure_future(talk(relay, b"%d" % number)) for number in range(20)]
        silent = await relay.connect()
        assert_at_rest(relay)
        async with relay.link():
            assert await asyncio.gather(*early) == [b"%d" % number for number in range(20)]
            await close(silent[1])


@pytest.mark.long
@pytest.mark.parametrize("relay", ["shipped-attach"], indirect=True)
async def test_a_connection_for_which_no_manager_comes_is_reset_after_a_minute(relay: Carried):
    reader, writer = await relay.connect()
    with pytest.raises(ConnectionResetError):
        await reader.read()
    await close(writer)
    async with host(relay.path, echo), relay.link():
        await still_serves(relay)


async def test_a_broken_attachment_cuts_open_streams_and_the_link_comes_back_by_itself(relay: Carried):
    begun = asyncio.Event()

    async def answer_half(reader, writer):
        if await reader.readexactly(4) == b"half":
            writer.write(b"half an ans")
            begun.set()
            with contextlib.suppress(ConnectionError):
                await reader.read()
        else:
            writer.write(b"whole")

    async with host(relay.path, answer_half), relay.link() as link:
        for _ in range(3):
            begun.clear()
            reader, writer = await relay.connect()
            writer.write(b"half")
            await begun.wait()
            assert await reader.readexactly(11) == b"half an ans"
            await relay.break_link()
            with pytest.raises(ConnectionResetError):  # and not an end, which could be taken for that of the answer
                await reader.read()
            await close(writer)
            assert await talk(relay, b"next") == b"whole"
        assert link.failure is None
    assert len(relay.links) == 4


async def test_after_its_link_has_closed_a_relay_holds_what_comes_for_the_next(relay: Carried):
    async with host(relay.path, echo):
        async with relay.link():
            await still_serves(relay)
        late = asyncio.ensure_future(talk(relay, b"late"))
        async with relay.link(epoch=2):
            assert await late == b"late"


# ---- who may


@pytest.mark.requirement("D08.10")
async def test_a_wrong_token_or_a_lower_epoch_is_refused_by_name_and_harms_nobody(relay: Carried):
    async with host(relay.path, echo), relay.link(epoch=5):
        for token, epoch, name in ((relay.token[:-1], 9, "token_refused"), ("0" * 32, 9, "token_refused"),
                                   (relay.token + "0", 9, "token_refused"), (None, 4, "epoch_refused")):  # fmt: skip
            with pytest.raises(RelayError) as refused:
                async with relay.link(epoch=epoch, token=token):
                    raise AssertionError("it was let in")
            assert refused.value.name == name
            await still_serves(relay)
    with pytest.raises(RelayError) as refused:
        async with relay.link(epoch=4):
            raise AssertionError("it was let in after the other had left")
    assert refused.value.about == 5


@pytest.mark.parametrize("epoch", [3, 4])
async def test_an_equal_or_higher_epoch_replaces_the_manager_who_does_not_come_back(relay: Carried, epoch: int):
    async with host(relay.path, echo), relay.link(epoch=3) as old:
        await still_serves(relay)
        async with relay.link(epoch=epoch) as new:
            await still_serves(relay)
            async with asyncio.timeout(BOUND):
                while old.failure is None:
                    await talk(relay, b"time passes")
            assert (old.failure.name, old.failure.about) == ("replaced", epoch)
            await still_serves(relay)
            assert new.failure is None
    assert len(relay.links) == 2


@pytest.mark.parametrize(("lowest", "highest", "taken"), [(0, 0, False), (1, 1, True), (1, 9, True), (2, 9, False)])
@ON_THE_SOCKET
async def test_a_manager_of_other_versions_is_refused_by_name(relay: Carried, lowest: int, highest: int, taken: bool):
    async with raw(relay) as manager:
        await manager.send(hello_of(relay, lowest, highest))
        if taken:
            assert (await manager.next()).type == Type.WELCOME
        else:
            assert await manager.error() == ("version_refused", 1)


@ON_THE_SOCKET
async def test_the_socket_is_closed_to_other_users(relay: Carried):
    assert relay.socket.stat().st_mode & 0o777 == 0o600


@ON_THE_SOCKET
async def test_a_hello_may_come_in_pieces_and_be_followed_at_once(relay: Carried):
    async with raw(relay) as manager:
        for byte in frames.hello(relay.token, 1):
            await manager.send(bytes([byte]))
        assert (await manager.next()).type == Type.WELCOME
    async with raw(relay) as manager:
        await manager.send(frames.hello(relay.token, 1) + encode(Type.PING, 0, 7))
        assert (await manager.until(Type.WELCOME)).offset in (0, 7)  # one answer may stand for both


@ON_THE_SOCKET
async def test_those_who_keep_still_keep_nobody_out(relay: Carried):
    silent = [await asyncio.open_unix_connection(relay.socket) for _ in range(40)]
    async with host(relay.path, echo), relay.link():
        await still_serves(relay)
        async with asyncio.timeout(BOUND):  # each is sent away: the first for want of room, the last in time
            for reader, writer in silent:
                assert b"hello_late" in await reader.read()
                await close(writer)


# ---- bad input

PAYLOAD = struct.pack(">4sHHQ", b"ACPR", 1, 1, 1)
BAD_HELLOS = {
    "garbage": b"\xff" * 200,
    "http": b"GET / HTTP/1.1\r\nhost: relay\r\n\r\n",
    "a hello of a holder's client": encode(Type.HELLO, payload=b"ACPH" + PAYLOAD[4:] + b"t" * 32),
    "too short": encode(Type.HELLO, payload=PAYLOAD),
    "too long": encode(Type.HELLO, payload=PAYLOAD + b"t" * 65),
    "giant": b"H\0\0\0\xff\xff\xff\xff" + bytes(12),
    "a wrong check": frames.hello("t" * 32, 1)[:-1] + b"u",
    "no hello": encode(Type.PING),
}


@pytest.mark.parametrize("name", BAD_HELLOS)
@ON_THE_SOCKET
async def test_what_is_no_hello_is_refused_by_name(relay: Carried, name: str):
    async with host(relay.path, echo), relay.link():
        async with raw(relay) as other:
            await other.send(BAD_HELLOS[name])
            assert await other.error() == ("frame_refused", 0)
        await still_serves(relay)


BAD_FRAMES = {
    "garbage": b"\xff" * 200,
    "giant": b"D\0\0\0\xff\xff\xff\xff" + bytes(12),
    "too long": encode(Type.DATA, 0, 256, bytes(65_537)),
    "a wrong check": encode(Type.DATA, 0, 256, b"data")[:-1] + b"x",
    "the relay's own": encode(Type.OPEN, 0, 256, b"\0\1"),
    "a second hello": frames.hello("t" * 32, 9),
    "a long ping": encode(Type.PING, 0, 1, b"x"),
}


@pytest.mark.parametrize("name", BAD_FRAMES)
@ON_THE_SOCKET
async def test_a_manager_that_sends_no_frames_is_cut_off_by_name_and_may_come_again(relay: Carried, name: str):
    async with attached(relay) as manager:
        await manager.send(BAD_FRAMES[name])
        assert await manager.error() == ("frame_refused", 0)
    async with host(relay.path, echo), relay.link():
        await still_serves(relay)


@ON_THE_SOCKET
async def test_a_manager_that_sends_more_than_it_may_is_cut_off_by_name(relay: Carried):
    for bad in (lambda number: encode(Type.DATA, 0, number, bytes(WINDOW)) + encode(Type.DATA, 0, number, b"x"),
                lambda number: encode(Type.END, 0, number) + encode(Type.DATA, 0, number, b"x")):  # fmt: skip
        async with attached(relay) as manager:
            reader, writer = await relay.connect()
            writer.transport.pause_reading()
            number = (await manager.until(Type.OPEN)).offset
            sending = asyncio.ensure_future(manager.send(bad(number) * (16 * MIB // WINDOW)))
            assert await manager.error() == ("credit_exceeded", number)
            await sending
            writer.transport.resume_reading()
            with contextlib.suppress(ConnectionResetError):  # or an end, where the manager had said so
                await reader.read()
            await close(writer)


@ON_THE_SOCKET
async def test_frames_of_streams_that_there_are_not_are_of_no_consequence(relay: Carried):
    """Also of one that had the same place in the relay."""
    async with attached(relay) as manager:
        reader, writer = await relay.connect()
        there = (await manager.until(Type.OPEN)).offset
        for number in (0, 1, there - 256, there + 256, there + 1, 2**64 - 1):
            for kind, payload in (
                (Type.DATA, b"not yours"),
                (Type.CREDIT, b"\xff" * 4),
                (Type.END, b""),
                (Type.RESET, b""),
            ):
                await manager.send(encode(kind, 0, number, payload))
        await manager.send(encode(Type.PING, 0, 7))
        assert (await manager.until(Type.WELCOME)).offset == 7
        await manager.send(encode(Type.DATA, 0, there, b"yours") + encode(Type.END, 0, there))
        assert await reader.read() == b"yours"
        await close(writer)


@pytest.mark.parametrize("seed", range(5))
@ON_THE_SOCKET
async def test_no_changed_bytes_break_the_relay(relay: Carried, seed: int):
    """Sessions as they are, with some bytes changed, left out or doubled; the sanitizers would tell."""
    chance = random.Random(seed)
    for _ in range(40):
        async with attached(relay) as manager:
            clients = [await relay.connect() for _ in range(chance.randrange(3))]
            numbers = [(await manager.until(Type.OPEN)).offset for _ in clients]
            said = bytearray()
            for _ in range(chance.randrange(1, 30)):
                kind = chance.choice([Type.DATA, Type.DATA, Type.CREDIT, Type.END, Type.RESET, Type.PING])
                number = chance.choice([*numbers, 256, chance.getrandbits(64)])
                size = {Type.DATA: chance.choice([1, 100, 20_000]), Type.CREDIT: 4}.get(kind, 0)
                said += encode(kind, 0, number, chance.randbytes(size))
            for _ in range(chance.randrange(4)):
                at = chance.randrange(len(said))
                said[at : at + chance.randrange(3)] = chance.randbytes(chance.randrange(3))
            for _, writer in clients:
                writer.write(b"x" * chance.choice([1, 100_000]))
            await manager.send(bytes(said))
            for _, writer in clients:
                writer.transport.abort()
                await close(writer)
    async with host(relay.path, echo), relay.link():
        await still_serves(relay)
        await freed(relay, 20)


# ---- the exec


class Nothing:
    """A receiver that keeps nothing."""

    def on_stdout(self, data: bytes) -> None: ...

    def on_stderr(self, data: bytes) -> None: ...

    def on_closed(self, reason: str) -> None: ...


async def test_an_attach_without_a_relay_says_so_and_ends(tmp_path, sanitized):
    process = await asyncio.create_subprocess_exec(
        *(sanitized, "attach", tmp_path / "none.sock"), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(BOUND):
        said, _ = await process.communicate()
    assert process.returncode == 1
    assert b"relay_gone: nobody answers" in said


async def test_an_attach_that_an_engine_left_behind_ends_when_it_is_replaced(relay: Carried):
    """Nobody reads its output, nobody ends its input: so a restart of the engine leaves it."""
    ours, its = os.pipe()
    os.set_blocking(its, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(its, bytes(4096))
    left = await asyncio.create_subprocess_exec(
        *(relay.program, "attach", relay.socket), stdin=asyncio.subprocess.PIPE, stdout=its
    )
    assert left.stdin is not None
    left.stdin.write(frames.hello(relay.token, 1))
    async with host(relay.path, echo):
        held = asyncio.ensure_future(talk(relay, b"held"))
        await asyncio.wait([held], timeout=0.2)
        async with relay.link():
            async with asyncio.timeout(BOUND):
                assert await left.wait() == 0
            with contextlib.suppress(OSError):
                await held
            await still_serves(relay)
    os.close(ours)
    os.close(its)


async def test_a_frozen_relay_loses_nothing(relay: Carried):
    async with host(relay.path, echo), relay.link():
        relay.process.send_signal(signal.SIGSTOP)
        reader, writer = await relay.connect()
        writer.write(b"x" * 200_000)
        relay.process.send_signal(signal.SIGCONT)
        assert await reader.readexactly(200_000) == b"x" * 200_000
        await close(writer)


LIES = {
    "streams without end": b"".join(encode(Type.OPEN, 0, number, b"\0\1") for number in range(600)),
    "a stream opened twice": 2 * encode(Type.OPEN, 0, 256, b"\0\1"),
    "a stream without a port": encode(Type.OPEN, 0, 256, b"\0"),
    "data without end": encode(Type.OPEN, 0, 256, b"\0\1") + 5 * encode(Type.DATA, 0, 256, bytes(WINDOW // 4)),
    "data behind an end": encode(Type.OPEN, 0, 256, b"\0\1")
    + encode(Type.END, 0, 256)
    + encode(Type.DATA, 0, 256, b"x"),
    "a giant": b"D\0\0\0\xff\xff\xff\xff" + bytes(12),
    "garbage": b"\xff" * 100,
}


@pytest.mark.parametrize("lie", LIES)
async def test_what_no_relay_sends_ends_the_attachment(tmp_path: Path, lie: str):
    """The other side of the contract: a relay that is none cannot make the manager keep without bounds."""

    async def tell(reader, writer):
        await reader.readexactly(20)
        writer.write(encode(Type.WELCOME, payload=struct.pack(">4Q", 1, 1, 256, WINDOW)) + LIES[lie])
        with contextlib.suppress(ConnectionError):
            await reader.read()

    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(str(tmp_path / "deaf.sock"))
        deaf.listen(1)
        async with host(tmp_path / "false.sock", tell):
            attachment = Attachment({1: tmp_path / "deaf.sock"})
            await attachment.open(lambda receiver: SocketLink.open(tmp_path / "false.sock", receiver), "t" * 32, 1)
            async with asyncio.timeout(BOUND):
                await asyncio.wait([attachment.lost])
            assert attachment.failure.name == "frames_corrupt"
            await attachment.close()
