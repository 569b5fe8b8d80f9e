"""The relay as a process on this machine: the shipped static program, and the same source under the sanitizers."""

import asyncio
import contextlib
import socket
from pathlib import Path

import pytest

from tests.contract.holder.conftest import compile_sanitized
from tests.integration.conftest import RELAY_SOURCE
from tests.integration.relay_process import (
    MIB,
    Relay,
    assert_at_rest,
    check_pattern,
    close,
    echo,
    fill_up,
    free_port,
    freed,
    host,
    keep_sending,
    running,
    send_pattern,
    send_rest,
    talk,
)


@pytest.fixture(scope="session")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A relay that holds a connection for half a second."""
    return compile_sanitized(RELAY_SOURCE, tmp_path_factory.mktemp("relay") / "relay", "-DHOLD_MS=500")


async def exchange_pattern(relay: Relay, start: int, size: int) -> None:
    reader, writer = await relay.connect()
    async with asyncio.TaskGroup() as group:
        group.create_task(send_pattern(writer, start, size))
        group.create_task(check_pattern(reader, start, size))
    writer.write_eof()
    assert await reader.read() == b""
    await close(writer)


@pytest.mark.parametrize(("connections", "size"), [(200, 2 * MIB), (3, 50 * MIB)])
async def test_bytes_arrive_intact_both_ways_on_many_connections_at_once(relay, connections, size):
    async with host(relay.path, echo), asyncio.TaskGroup() as group:
        for number in range(connections):
            group.create_task(exchange_pattern(relay, number * 4099, size))


async def test_the_end_of_the_clients_input_arrives_and_the_answer_still_comes_back(relay):
    async def answer_after_the_end(reader, writer):
        text = await reader.read()
        writer.write(b"%d bytes until the end" % len(text))

    async with host(relay.path, answer_after_the_end):
        assert await talk(relay, b"x" * 300_000) == b"300000 bytes until the end"


async def test_the_end_of_the_hosts_answer_arrives_and_the_client_can_still_send(relay):
    heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def answer_first(reader, writer):
        writer.write(b"y" * 300_000)
        writer.write_eof()
        heard.set_result(await reader.read())

    async with host(relay.path, answer_first):
        reader, writer = await relay.connect()
        assert await reader.read() == b"y" * 300_000
        writer.write(b"z" * 300_000)
        writer.write_eof()
        assert await heard == b"z" * 300_000
        await close(writer)


async def test_an_answer_given_before_the_whole_request_was_read_reaches_the_client(relay):
    async def refuse(reader, writer):
        await reader.readexactly(10)
        writer.write(b"too large")

    async with host(relay.path, refuse):
        reader, writer = await relay.connect()
        with contextlib.suppress(ConnectionError):
            await send_pattern(writer, 0, 8 * MIB)
        assert await reader.read() == b"too large"
        await close(writer)


async def test_a_host_that_never_reads_stops_the_client_and_the_relay_holds_little(relay):
    go_on, stuck = asyncio.Event(), asyncio.Event()
    offered = 64 * MIB

    async def read_when_told(reader, writer):
        if await reader.readexactly(5) == b"stuck":
            stuck.set()
            await go_on.wait()
            await check_pattern(reader, 0, offered)
            writer.write(b"all there")
        else:
            writer.write(b"alive")

    async with host(relay.path, read_when_told):
        before = relay.resident_bytes()
        reader, writer = await relay.connect()
        writer.write(b"stuck")
        await stuck.wait()
        accepted = await fill_up(relay, writer.get_extra_info("socket"), offered)
        assert accepted < offered // 2
        assert relay.resident_bytes() - before < MIB
        go_on.set()
        await send_rest(writer, accepted, offered)
        assert await reader.readexactly(9) == b"all there"
        await close(writer)


async def test_a_client_that_never_reads_stops_the_host_and_the_relay_holds_little(relay):
    sent: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    offered = 64 * MIB

    async def offer(reader, writer):
        if await reader.readexactly(5) == b"offer":
            sent.set_result(await fill_up(relay, writer.get_extra_info("socket"), offered))
            await send_rest(writer, sent.result(), offered)
        else:
            writer.write(b"alive")

    async with host(relay.path, offer):
        before = relay.resident_bytes()
        reader, writer = await relay.connect()
        writer.transport.pause_reading()
        writer.write(b"offer")
        assert await sent < offered // 2
        assert relay.resident_bytes() - before < MIB
        writer.transport.resume_reading()
        await check_pattern(reader, 0, offered)
        await close(writer)


async def test_a_client_is_held_while_there_is_no_socket_and_while_nobody_listens(relay):
    files = relay.open_files()
    for text in (b"before there was one", b"after it was closed"):
        while relay.open_files() > files:  # noqa: ASYNC110 - until it has closed those of the last one
            await asyncio.sleep(0)
        held = asyncio.ensure_future(talk(relay, text))
        while relay.open_files() < files + 2:  # noqa: ASYNC110 - until the relay has it, and has tried
            await asyncio.sleep(0)
        relay.path.unlink(missing_ok=True)
        async with host(relay.path, echo):
            assert await held == text


async def test_a_client_whose_host_does_not_come_in_time_is_reset(impatient, tmp_path):
    async with running(impatient, tmp_path / "host.sock") as relay:
        files = relay.open_files()
        reader, writer = await relay.connect()
        with pytest.raises(ConnectionResetError):
            await reader.read()
        await close(writer)
        async with host(relay.path, echo):
            assert await talk(relay, b"later") == b"later"
            await freed(relay, files)


async def test_a_full_backlog_of_the_socket_delays_connections_and_loses_none(relay):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(relay.path))
        listener.listen(1)
        listener.setblocking(False)
        talks = [asyncio.ensure_future(talk(relay, b"%d" % number)) for number in range(20)]
        loop = asyncio.get_running_loop()
        for _ in talks:
            connection, _ = await loop.sock_accept(listener)
            reader, writer = await asyncio.open_unix_connection(sock=connection)
            await echo(reader, writer)
            await close(writer)
        assert await asyncio.gather(*talks) == [b"%d" % number for number in range(20)]


async def test_without_free_descriptors_clients_wait_in_the_backlog_and_are_served_in_the_end(relay):
    relay.limit_files(16)
    async with host(relay.path, echo):
        held = await asyncio.gather(*(relay.connect() for _ in range(30)))
        for _, writer in held:
            writer.write(b"hello")
        for reader, writer in held:
            assert await reader.readexactly(5) == b"hello"
            await close(writer)
        assert relay.open_files() <= 16


async def test_beyond_256_connections_clients_wait_in_the_backlog_and_are_served_in_the_end(relay):
    served: list[int] = []

    async def count(reader, writer):
        served.append(1)
        await echo(reader, writer)

    async def greet(reader, writer):
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"

    async with host(relay.path, count):
        # One by one: of many at once the kernel may refuse some at first, and they come again out of turn.
        held = []
        for _ in range(256):
            held.append(await relay.connect())
            await greet(*held[-1])
        late = [await relay.connect() for _ in range(44)]
        assert_at_rest(relay)
        assert len(served) == 256
        await asyncio.gather(*(close(writer) for _, writer in held))
        for each in late:
            await greet(*each)
        await asyncio.gather(*(close(writer) for _, writer in late))


async def test_hung_up_and_waiting_sides_cost_no_processor_time(relay):
    """Each of these is reported by poll for ever to who goes on watching it."""
    leave, done = asyncio.Event(), asyncio.Event()

    async def behave(reader, writer):
        match await reader.read(5):
            case b"hello":
                writer.write(b"alive")
            case b"leave":
                writer.write(b"x" * 32 * MIB)
                await leave.wait()
                writer.transport.abort()
            case b"quiet":
                await done.wait()

    async with host(relay.path, behave):
        ended, slow = [await relay.connect() for _ in range(2)]
        ended[1].write(b"quiet")
        ended[1].write_eof()
        slow[1].transport.pause_reading()
        slow[1].write(b"leave")
        for _ in range(50):
            assert await talk(relay, b"hello") == b"alive"
        leave.set()
        assert await talk(relay, b"hello") == b"alive"
        relay.limit_files(relay.open_files())
        waiting = [await relay.connect() for _ in range(2)]
        assert_at_rest(relay)
        relay.limit_files(1000)
        done.set()
        for reader, writer in waiting:
            # The host has had them too when they end: nobody comes to it after the test.
            writer.write_eof()
            assert await reader.read() == b""
        for _, writer in [ended, slow, *waiting]:
            await close(writer)


async def test_a_client_that_resets_frees_the_host(relay):
    gone = asyncio.Event()

    async def wait_for_the_end(reader, writer):
        writer.write(b"here")
        with contextlib.suppress(ConnectionError):
            await reader.read()
        gone.set()

    async with host(relay.path, wait_for_the_end):
        reader, writer = await relay.connect()
        assert await reader.readexactly(4) == b"here"
        writer.transport.abort()
        await gone.wait()


async def test_a_client_that_ended_and_then_vanishes_is_given_up(relay):
    told, done = asyncio.Event(), asyncio.Event()

    async def answer_and_wait(reader, writer):
        if await reader.read() == b"tell me":
            writer.write(b"unread")
            told.set()
            await done.wait()

    async with host(relay.path, answer_and_wait):
        files = relay.open_files()
        client = socket.create_connection(("127.0.0.1", relay.port))
        client.sendall(b"tell me")
        client.shutdown(socket.SHUT_WR)
        await told.wait()
        assert await talk(relay, b"") == b""
        client.close()
        await freed(relay, files)
        done.set()


async def test_a_host_that_left_frees_the_connection_of_a_client_that_keeps_still(relay):
    async with host(relay.path, lambda reader, _: reader.read(1)):
        files = relay.open_files()
        reader, writer = await relay.connect()
        writer.write(b"x")
        assert await reader.read() == b""
        await freed(relay, files)
        await close(writer)


async def test_a_host_that_reads_no_more_can_still_answer(relay):
    async def answer_without_reading(reader, writer):
        writer.get_extra_info("socket").shutdown(socket.SHUT_RD)
        await reader.read()
        await send_pattern(writer, 0, 8 * MIB)

    async with host(relay.path, answer_without_reading):
        reader, writer = await relay.connect()
        async with asyncio.TaskGroup() as group:
            group.create_task(check_pattern(reader, 0, 8 * MIB))
            group.create_task(send_pattern(writer, 0, 8 * MIB))
        await close(writer)


async def test_a_client_that_keeps_sending_after_its_host_has_gone_is_cut_off(relay):
    async with host(relay.path, lambda reader, _: reader.readexactly(1)):
        reader, writer = await relay.connect()
        writer.write(b"x")
        assert await reader.read() == b""
        with pytest.raises(ConnectionError):
            await keep_sending(relay, writer)


async def test_a_stop_ends_the_relay_although_connections_are_open(relay):
    """That it ends with 0 is asserted by the fixture; here its clients see the end."""
    async with host(relay.path, echo):
        reader, writer = await relay.connect()
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        relay.process.terminate()
        assert await reader.read() == b""
        assert await relay.process.wait() == 0
        await close(writer)


async def test_two_ports_lead_to_two_sockets(program, tmp_path):
    paths, port = [tmp_path / "a.sock", tmp_path / "b.sock"], free_port()
    async with (
        running(program, paths[0], f"127.0.0.2:{port}", paths[1]) as relay,
        host(paths[0], lambda _, writer: writer.drain()),
        host(paths[1], echo),
    ):
        reader, writer = await asyncio.open_connection("127.0.0.2", port)
        writer.write(b"to b")
        assert await reader.readexactly(4) == b"to b"
        assert await talk(relay, b"to a") == b""
        await close(writer)
