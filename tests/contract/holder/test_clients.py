"""Who may be the client: the one with the token and no lower epoch. Whoever else comes, the served one goes on."""

import asyncio
import contextlib
import os
import random
import shutil
import struct

import pytest

from sandbox.errors import ChannelClosed
from sandbox.holder import frames
from sandbox.holder.errors import (
    EpochRefused,
    HolderGone,
    OffsetRefused,
    Replaced,
    TokenRefused,
    VersionRefused,
    error_from,
)
from sandbox.holder.frames import Type
from tests.contract.holder.held import BOUND, ON_THE_SOCKET, Held, ended, hello, holders, raw, served

ECHO = ("cat",)


async def still_served(heard, channel) -> None:
    """The client is served as before: it is answered, and nothing was said about its end."""
    before = len(heard.stdout)
    await channel.send(b"still here\n")
    await heard.until(lambda: len(heard.stdout) == before + len("still here\n"))
    assert heard.lost == heard.closed == []


async def test_a_wrong_token_is_refused_by_name_and_harms_nobody(held: Held):
    await held.start(*ECHO)
    heard, channel = await held.attach()
    for token in (held.token[:-1], held.token + "0", "0" * 32, held.token.upper() + " "):
        _, other = held.channel(epoch=9, token=token)
        with pytest.raises(TokenRefused):
            await other.attach(held.opener)
        await still_served(heard, channel)


async def test_a_lower_epoch_is_refused_by_name_also_after_the_higher_one_has_left(held: Held):
    await held.start(*ECHO, epoch=5)
    heard, channel = await held.attach(epoch=7)
    _, older = held.channel(epoch=6)
    with pytest.raises(EpochRefused) as refused:
        await older.attach(held.opener)
    assert refused.value.about == 7
    await still_served(heard, channel)
    await channel.close()
    with pytest.raises(EpochRefused):
        await older.attach(held.opener)
    assert (await held.attach(epoch=7))[1].state.epoch == 7


@pytest.mark.parametrize("epoch", [3, 4])
async def test_an_equal_or_higher_epoch_replaces_the_client_who_is_told_by_name(held: Held, epoch: int):
    await held.start(*ECHO, epoch=3)
    heard, channel = await held.attach(epoch=3)
    await channel.send(b"mine\n")
    await heard.until(lambda: heard.stdout)
    again, successor = await held.attach(epoch=epoch)
    await again.until(lambda: bytes(again.stdout) == b"mine\n")
    await heard.until(lambda: heard.closed)
    assert isinstance(channel.failure, Replaced)
    assert channel.failure.about == epoch
    await still_served(again, successor)


async def test_what_a_replaced_client_was_sending_never_reaches_the_agent_in_part(held: Held):
    await held.start(*ECHO)
    async with served(held) as old:
        await old.send(frames.encode(Type.INPUT, 0, 0, b"x" * 500_000 + b"\n")[:400_000])
        heard, channel = await held.attach(epoch=2)
        assert await old.error() == ("replaced", 2)
        await channel.send(b"new\n")
        await heard.until(lambda: heard.stdout)
        assert bytes(heard.stdout) == b"new\n"


@pytest.mark.parametrize(("lowest", "highest", "taken"), [(0, 0, False), (1, 1, True), (1, 9, True), (2, 9, False)])
async def test_a_client_of_other_versions_is_refused_by_name_and_one_of_more_versions_served(
    held: Held, lowest: int, highest: int, taken: bool
):
    await held.start(*ECHO)
    payload = struct.pack(">4sHHQQQ", b"ACPH", lowest, highest, 1, 0, 0) + held.token.encode()
    async with raw(held) as client:
        await client.send(frames.encode(Type.HELLO, payload=payload))
        if taken:
            assert (await client.next()).type == Type.STATE
        else:
            name, about = await client.error()
            assert (name, about) == ("version_refused", 1)
            assert isinstance(error_from(f"{name}: x", about), VersionRefused)


async def test_offsets_that_were_never_written_or_were_acknowledged_are_refused_by_name(held: Held):
    await held.start(*ECHO)
    heard, channel = await held.attach()
    await channel.send(b"0123456789\n")
    await heard.until(lambda: len(heard.stdout) == 11)
    await channel.acknowledge(5)
    assert (await channel.ask()).stdout_first == 5
    for places, name, about in (
        ({"stdout_from": 4}, "offset_gone", 5),
        ({"stdout_from": 1000}, "offset_refused", 22),
        ({"stdout_from": 5, "stderr_from": 1}, "offset_refused", 0),
    ):
        _, other = held.channel(**places)
        with pytest.raises(OffsetRefused) as refused:
            await other.attach(held.opener)
        assert (refused.value.kind, refused.value.about) == (name, about)
        await still_served(heard, channel)
    again, _ = await held.attach(stdout_from=5)
    await again.until(lambda: again.stdout.startswith(b"56789\n"))


async def test_a_hello_may_come_in_pieces(held: Held):
    await held.start(*ECHO)
    async with raw(held) as client:
        for byte in hello(held):
            await client.send(bytes([byte]))
        assert (await client.next()).type == Type.STATE


async def test_a_hello_may_be_followed_at_once(held: Held):
    await held.start(*ECHO)
    async with raw(held) as client:
        await client.send(hello(held) + frames.encode(Type.INPUT, 0, 0, b"quick\n"))
        assert (await client.until(Type.ACCEPTED)).offset == 6
        assert (await client.until(Type.OUTPUT)).payload == b"quick\n"


@ON_THE_SOCKET
async def test_those_who_keep_still_keep_nobody_out(held: Held):
    await held.start(*ECHO)
    heard, channel = await held.attach()
    silent = [await asyncio.open_unix_connection(held.socket) for _ in range(40)]
    try:
        await still_served(heard, channel)
        again, successor = await held.attach()
        await again.until(lambda: again.stdout == heard.stdout)
        await still_served(again, successor)
        async with asyncio.timeout(BOUND):  # each is sent away: the first for want of room, the last in time
            for reader, _ in silent:
                assert b"hello_late" in await reader.read()
        await still_served(again, successor)
    finally:
        for _, writer in silent:
            writer.close()


GARBAGE = {
    "text": b"GET / HTTP/1.1\r\nHost: holder\r\n\r\n",
    "zeros": bytes(200),
    "ones": b"\xff" * 200,
    "a giant length": struct.pack(">BBHLQL", ord("H"), 0, 0, 2**32 - 1, 0, 0) + b"x" * 100,
    "another frame first": frames.encode(Type.PING) + bytes(100),
    "input first": frames.encode(Type.INPUT, 0, 0, b"line\n"),
    "a hello that was changed": frames.hello("0" * 32, 1, 0, 0)[:-1] + b"1",
    "a hello without a token": frames.encode(Type.HELLO, payload=struct.pack(">4sHHQQQ", b"ACPH", 1, 1, 1, 0, 0)),
    "a hello with a long token": frames.hello("0" * 65, 1, 0, 0),
    "a hello of something else": frames.encode(Type.HELLO, payload=b"ABCD" + bytes(28) + b"0" * 32),
    "an empty hello": frames.encode(Type.HELLO),
    "a short hello": frames.encode(Type.HELLO, payload=b"ACPH"),
}


@ON_THE_SOCKET
@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE.keys())
async def test_garbage_instead_of_a_hello_is_refused_by_name_and_the_client_goes_on(held: Held, garbage: bytes):
    await held.start(*ECHO)
    heard, channel = await held.attach()
    async with raw(held) as other:
        await other.send(garbage)
        name, _ = await other.error()
        assert name in {"frame_refused", "token_refused"}
    for cut in {1, len(garbage) // 2, len(garbage) - 1}:
        async with raw(held) as other:
            await other.send(garbage[:cut])
    await still_served(heard, channel)


def corrupted(frame: bytes, at: int) -> bytes:
    return frame[:at] + bytes([frame[at] ^ 0x40]) + frame[at + 1 :]


LINE = frames.encode(Type.INPUT, 0, 0, b"a line of some length\n")
BAD_FRAMES = {
    "an unknown type": frames.encode(ord("Z")),
    "type zero": frames.encode(0),
    "a frame of a holder": frames.encode(Type.STATE, payload=bytes(136)),
    "output": frames.encode(Type.OUTPUT, 1, 0, b"forged"),
    "a second hello": frames.hello("0" * 32, 1, 0, 0),
    "settings": frames.encode(Type.SETTINGS, payload=b"ttl=1\0"),
    "empty settings": frames.encode(Type.SETTINGS),
    "an empty hello": frames.encode(Type.HELLO),
    "an input over the limit": struct.pack(">BBHLQL", ord("I"), 0, 0, frames.LONGEST_INPUT + 1, 0, 0),
    "a giant input": struct.pack(">BBHLQL", ord("I"), 0, 0, 2**32 - 1, 0, 0),
    "a ping with words": frames.encode(Type.PING, payload=b"words"),
    "a kill with too much": frames.encode(Type.KILL, payload=bytes(5)),
    "a changed payload": corrupted(LINE, len(LINE) - 3),
    "a changed offset": corrupted(LINE, 15),
    "a changed length": corrupted(LINE, 7) + bytes(64),
    "bytes that must be zero": corrupted(LINE, 2),
    "an acknowledgement of what was never sent": frames.encode(Type.ACK, 1, 10**15),
    "an acknowledgement of no stream": frames.encode(Type.ACK, 3, 0),
}


@ON_THE_SOCKET
@pytest.mark.parametrize("bad", BAD_FRAMES.values(), ids=BAD_FRAMES.keys())
async def test_a_bad_frame_cuts_its_client_off_by_name_and_the_agent_goes_on(held: Held, bad: bytes):
    await held.start(*ECHO)
    async with served(held) as client:
        await client.send(bad)
        name, _ = await client.error()
        assert name == ("ack_refused" if bad[0] == Type.ACK else "frame_refused")
    heard, channel = await held.attach()
    await still_served(heard, channel)
    assert (await channel.ask()).accepted == len("still here\n")


@ON_THE_SOCKET
@pytest.mark.parametrize("seed", range(4))
async def test_a_thousand_random_pieces_harm_nobody(held: Held, seed: int):
    await held.start(*ECHO)
    await held.attach()
    chance = random.Random(seed)
    for _ in range(60):
        async with raw(held) as other:
            await other.send(chance.randbytes(chance.randrange(1, 400)))
    for _ in range(20):
        async with served(held) as other:
            await other.send(chance.randbytes(chance.randrange(1, 400)))
    again, successor = await held.attach()
    await still_served(again, successor)


@ON_THE_SOCKET
async def test_a_client_that_asks_much_and_reads_nothing_is_not_read_and_can_be_replaced(held: Held):
    await held.start(*ECHO)
    async with raw(held) as client:
        await client.send(hello(held))
        client._reader._transport.pause_reading()
        for _ in range(100):
            client._writer.write(frames.encode(Type.PING) * 1000)
        heard, channel = await held.attach()
        await still_served(heard, channel)


async def test_a_place_without_a_holder_is_told_as_such(held: Held):
    _, channel = held.channel()
    with pytest.raises(HolderGone):
        await channel.attach(held.opener)


async def test_a_socket_at_a_long_path_is_made_and_reached(held: Held):
    deep = held.folder
    for _ in range(4):
        deep = deep / ("d" * 60)
    deep.mkdir(parents=True)
    held.socket = deep / "holder.sock"
    await held.start(*ECHO)
    heard, channel = await held.attach()
    await still_served(heard, channel)


@ON_THE_SOCKET
async def test_a_holder_is_reached_at_a_shared_socket_and_at_its_own_when_that_is_gone(held: Held):
    common = held.folder / "common"
    common.mkdir()
    inner, held.socket = held.socket, common / "holder.sock"
    await held.start(*ECHO, socket=str(inner), shared=str(held.socket))
    heard, channel = await held.attach()
    await still_served(heard, channel)
    shutil.rmtree(common)
    await still_served(heard, channel)
    held.socket = inner
    again, successor = await held.attach(stdout_from=channel.received)
    await heard.until(lambda: heard.closed)
    assert isinstance(channel.failure, Replaced)
    await still_served(again, successor)


@ON_THE_SOCKET
async def test_a_holder_takes_both_of_its_sockets_with_it(held: Held):
    common = held.folder / "common.sock"
    await held.start("true", shared=str(common))
    (holder,) = holders(held.journal)
    assert held.socket.exists()
    assert common.exists()
    _, channel = await held.attach()
    async with asyncio.timeout(BOUND):
        await channel.wait_over()
    await channel.dismiss()
    await ended(holder)
    assert not held.socket.exists()
    assert not common.exists()


async def test_an_attach_that_an_engine_left_behind_ends_when_it_is_replaced(held: Held):
    """Nobody reads its output, nobody ends its input: so a restart of the engine leaves it."""
    await held.start(*ECHO)
    ours, its = os.pipe()
    os.set_blocking(its, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(its, bytes(4096))
    left = await asyncio.create_subprocess_exec(
        *(held.program, "attach", held.socket), stdin=asyncio.subprocess.PIPE, stdout=its
    )
    assert left.stdin is not None
    left.stdin.write(hello(held, epoch=5) + frames.encode(Type.INPUT, 0, 0, b"taken\n"))
    _, early = held.channel(epoch=4)
    async with asyncio.timeout(BOUND):
        # Once the one that is left behind is served; it may replace this one in the middle.
        with contextlib.suppress(EpochRefused, Replaced, ChannelClosed):
            while True:
                await early.attach(held.opener)
        await held.attach(epoch=6)
        assert await left.wait() == 0
    os.close(ours)
    os.close(its)
