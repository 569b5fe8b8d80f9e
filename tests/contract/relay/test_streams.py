"""What is carried over one attachment: complete, in order, each stream by itself."""

import asyncio
import contextlib

import pytest

from sandbox.relay.frames import WINDOW
from tests.contract.relay.carried import BOUND, Carried
from tests.integration.relay_process import (
    MIB,
    assert_at_rest,
    check_pattern,
    close,
    echo,
    freed,
    host,
    send_pattern,
    talk,
)
from tests.integration.test_unix_listener import room_for


async def exchange_pattern(relay: Carried, start: int, size: int) -> None:
    reader, writer = await relay.connect()
    async with asyncio.TaskGroup() as group:
        group.create_task(send_pattern(writer, start, size))
        group.create_task(check_pattern(reader, start, size))
    writer.write_eof()
    assert await reader.read() == b""
    await close(writer)


@pytest.mark.parametrize(("connections", "size"), [(100, 256 * 1024), (2, 8 * MIB)])
async def test_bytes_arrive_intact_both_ways_on_many_streams_at_once(relay: Carried, connections: int, size: int):
    async with host(relay.path, echo), relay.link(), asyncio.TaskGroup() as group:
        for number in range(connections):
            group.create_task(exchange_pattern(relay, number * 4099, size))


async def test_the_end_of_the_clients_input_arrives_and_the_answer_still_comes_back(relay: Carried):
    async def answer_after_the_end(reader, writer):
        text = await reader.read()
        writer.write(b"%d bytes until the end" % len(text))

    async with host(relay.path, answer_after_the_end), relay.link():
        assert await talk(relay, b"x" * 300_000) == b"300000 bytes until the end"


async def test_the_end_of_the_hosts_answer_arrives_and_the_client_can_still_send(relay: Carried):
    heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def answer_first(reader, writer):
        writer.write(b"y" * 300_000)
        writer.write_eof()
        heard.set_result(await reader.read())

    async with host(relay.path, answer_first), relay.link():
        reader, writer = await relay.connect()
        assert await reader.read() == b"y" * 300_000
        writer.write(b"z" * 300_000)
        writer.write_eof()
        assert await heard == b"z" * 300_000
        await close(writer)


async def test_an_answer_given_before_the_whole_request_was_read_reaches_the_client(relay: Carried):
    async def refuse(reader, writer):
        await reader.readexactly(10)
        writer.write(b"too large")

    async with host(relay.path, refuse), relay.link():
        reader, writer = await relay.connect()
        with contextlib.suppress(ConnectionError):
            await send_pattern(writer, 0, 8 * MIB)
        assert await reader.read() == b"too large"
        await close(writer)


@pytest.mark.requirement("D08.10")
async def test_a_stream_that_nobody_reads_holds_up_no_other_and_little_is_kept(relay: Carried):
    """On both sides: a client that does not read its answer, and a host that does not read a request."""
    go_on, stuck = asyncio.Event(), [asyncio.Event(), asyncio.Event()]
    offered = 16 * MIB

    async def behave(reader, writer):
        word = await reader.readexactly(5)
        if word == b"offer":
            stuck[0].set()
            await send_pattern(writer, 0, offered)
        elif word == b"stuck":
            stuck[1].set()
            await go_on.wait()
            await check_pattern(reader, 0, offered)
            writer.write(b"all there")
        else:
            writer.write(b"alive")

    async with host(relay.path, behave), relay.link():
        deaf, mute = await relay.connect(), await relay.connect()
        deaf[1].transport.pause_reading()
        deaf[1].write(b"offer")
        mute[1].write(b"stuck")
        sending = asyncio.ensure_future(send_pattern(mute[1], 0, offered))
        for each in stuck:
            await each.wait()
        before = relay.resident_bytes()
        for _ in range(50):
            assert await talk(relay, b"hello") == b"alive"
        assert not sending.done()
        assert relay.resident_bytes() - before < MIB
        assert_at_rest(relay)
        go_on.set()
        deaf[1].transport.resume_reading()
        await check_pattern(deaf[0], 0, offered)
        await sending
        assert await mute[0].readexactly(9) == b"all there"
        await close(deaf[1])
        await close(mute[1])


async def test_a_client_that_resets_frees_the_host_and_the_descriptors(relay: Carried):
    gone = asyncio.Event()

    async def wait_for_the_end(reader, writer):
        if await reader.read(5) == b"hello":
            writer.write(b"here")
            with contextlib.suppress(ConnectionError):
                await reader.read()
            gone.set()

    async with host(relay.path, wait_for_the_end), relay.link():
        files = relay.open_files()
        reader, writer = await relay.connect()
        writer.write(b"hello")
        assert await reader.readexactly(4) == b"here"
        writer.transport.abort()
        await gone.wait()
        await freed(relay, files)


async def test_a_host_that_left_frees_the_connection_of_a_client_that_keeps_still(relay: Carried):
    async with host(relay.path, lambda reader, _: reader.read(1)), relay.link():
        files = relay.open_files()
        reader, writer = await relay.connect()
        writer.write(b"x")
        assert await reader.read() == b""
        await freed(relay, files)
        await close(writer)


async def test_a_client_is_reset_when_nobody_listens_for_its_port(relay: Carried):
    for targets in ({}, {relay.port: relay.path}):
        async with relay.link(targets=targets):
            with pytest.raises(OSError, match=r"reset|not connected|Broken"):
                await talk(relay, b"hello")


async def test_beyond_256_connections_clients_wait_and_are_served_in_the_end(relay: Carried):
    async with host(relay.path, echo), relay.link():
        # One by one: of many at once the kernel refuses some, and those come again out of turn.
        held = [await relay.connect() for _ in range(300)]
        for number, (reader, writer) in enumerate(held):
            if number == 256:
                assert_at_rest(relay)
                await asyncio.gather(*(close(writer) for _, writer in held[:256]))
            writer.write(b"hello")
            assert await reader.readexactly(5) == b"hello"
        await asyncio.gather(*(close(writer) for _, writer in held[256:]))


async def test_without_free_descriptors_clients_wait_and_are_served_in_the_end(relay: Carried):
    async with host(relay.path, echo), relay.link():
        relay.limit_files(16)
        held = await asyncio.gather(*(relay.connect() for _ in range(30)))
        for _, writer in held:
            writer.write(b"hello")
        for reader, writer in held:
            assert await reader.readexactly(5) == b"hello"
            await close(writer)
        relay.limit_files(1000)


async def test_a_slow_reader_gets_the_rest_of_an_answer_whose_sender_has_gone(relay: Carried):
    async def answer_and_go(reader, writer):
        if await reader.read(5) == b"large":
            await send_pattern(writer, 0, WINDOW)

    async with host(relay.path, answer_and_go), relay.link():
        reader, writer = await relay.connect()
        writer.transport.pause_reading()
        writer.write(b"large")
        for _ in range(20):
            assert await talk(relay, b"other") == b""
        writer.transport.resume_reading()
        async with asyncio.timeout(BOUND):
            await check_pattern(reader, 0, WINDOW)
            assert await reader.read() == b""
        await close(writer)


async def test_a_stream_for_which_there_is_no_file_is_cut_for_its_client(relay: Carried):
    async with host(relay.path, echo), relay.link():
        with room_for(1):  # for the client's own end
            reader, writer = await relay.connect()
            with contextlib.suppress(ConnectionResetError):
                async with asyncio.timeout(BOUND):
                    assert await reader.read() == b""
            await close(writer)
        assert await talk(relay, b"x") == b"x", "the next one has its file"
