"""What goes in and what comes out: complete, in order, whole lines once, over links that break anywhere."""

import asyncio
import hashlib

import pytest

from sandbox.errors import ChannelClosed, ChannelStalled
from sandbox.holder import frames
from sandbox.holder.errors import HolderGone, InputRefused
from sandbox.holder.frames import Cause, Phase, Type
from tests.contract.holder.held import BOUND, ON_THE_SOCKET, Held, cutting, numbered, served

ECHO = ("cat",)


async def test_an_agent_reads_what_is_sent_and_is_heard_and_its_end_is_told_last(held: Held):
    await held.start(*ECHO)
    heard, channel = await held.attach()
    await channel.send(b"hello\n")
    await channel.send(b"two lines\nat once\n")
    await channel.close_input()
    async with asyncio.timeout(BOUND):
        state = await channel.wait_over()
    assert bytes(heard.stdout) == b"hello\ntwo lines\nat once\n"
    assert (state.phase, state.exit_code, state.signal, state.cause) == (Phase.ENDED, 0, None, Cause.ITSELF)
    assert (state.accepted, state.drained, state.stdout_end) == (24, 24, 24)
    assert heard.closed == ["the agent exited with code 0"]
    assert heard.lost == heard.gaps == []


async def test_stdout_and_stderr_stay_apart_and_a_killed_agent_tells_its_signal(held: Held):
    await held.start("sh", "-c", "echo out; echo err >&2; read x; kill -9 $$")
    heard, channel = await held.attach()
    await heard.until(lambda: heard.stdout == b"out\n" and heard.stderr == b"err\n")
    await channel.send(b"go\n")
    async with asyncio.timeout(BOUND):
        state = await channel.wait_over()
    assert (state.exit_code, state.signal) == (None, 9)


async def test_an_agent_that_ends_before_anybody_comes_is_heard_all_the_same(held: Held):
    await held.start("sh", "-c", "seq 1 1000; echo sorry >&2; exit 7")
    heard, channel = await held.attach()
    async with asyncio.timeout(BOUND):
        state = await channel.wait_over()
    assert (bytes(heard.stdout), bytes(heard.stderr)) == (numbered(1000), b"sorry\n")
    assert state.exit_code == 7


@ON_THE_SOCKET
async def test_an_agent_that_closes_its_output_ends_the_channel_and_goes_on(held: Held):
    await held.start("sh", "-c", "echo last; exec >&-; read x")
    heard, channel = await held.attach()
    await heard.until(lambda: heard.closed)
    assert heard.closed == ["the agent closed its output"]
    assert bytes(heard.stdout) == b"last\n"
    assert held.processes()
    await channel.kill(0)
    async with asyncio.timeout(BOUND):
        assert (await channel.wait_over()).cause is Cause.CLIENT
    assert heard.closed == ["the agent closed its output"]


async def test_input_for_an_agent_that_closed_its_own_is_refused_by_name(held: Held):
    await held.start("sh", "-c", "exec <&-; echo closed; sleep 1000")
    heard, channel = await held.attach()
    await heard.until(lambda: heard.stdout)
    await channel.send(b"the pipe takes it or not\n")
    with pytest.raises(InputRefused) as refused:
        await channel.send(b"nobody reads\n")
    assert refused.value.kind == "input_closed"
    state = await channel.ask()
    assert (state.accepted, state.drained) == (25, 0)


async def test_sixteen_megabytes_in_one_line_go_in_whole_and_come_back(held: Held):
    await held.start(*ECHO)
    heard, channel = await held.attach()
    line = b"x" * (frames.LONGEST_INPUT - 1) + b"\n"
    await channel.send(line)
    await heard.until(lambda: len(heard.stdout) == len(line))
    assert hashlib.sha256(heard.stdout).digest() == hashlib.sha256(line).digest()
    await channel.send(b"and on\n")
    await heard.until(lambda: heard.stdout.endswith(b"and on\n"))


@pytest.mark.parametrize("data", [b"", b"half a line", b"x" * frames.LONGEST_INPUT + b"\n"])
async def test_what_is_no_line_is_refused_and_nothing_of_it_arrives(held: Held, data: bytes):
    await held.start(*ECHO)
    heard, channel = await held.attach()
    with pytest.raises(InputRefused) as refused:
        await channel.send(data)
    assert refused.value.kind == "not_a_line"
    await channel.send(b"a line\n")
    await heard.until(lambda: heard.stdout)
    assert bytes(heard.stdout) == b"a line\n"


async def test_a_client_that_dies_within_a_line_leaves_nothing_of_it(held: Held):
    await held.start(*ECHO)
    line = frames.encode(Type.INPUT, 0, 0, b"x" * 100_000 + b"\n")
    for cut in (1, 10, 19, 20, 21, 65_000, len(line) - 1):
        async with served(held) as client:
            await client.send(line[:cut])
            client.vanish()
    heard, channel = await held.attach()
    assert channel.input_end == 0
    await channel.send(b"whole\n")
    await heard.until(lambda: heard.stdout)
    assert bytes(heard.stdout) == b"whole\n"


@pytest.mark.parametrize("arrives", [True, False], ids=["had", "had not"])
async def test_a_line_that_was_under_way_is_given_to_the_agent_once(held: Held, arrives: bool):
    """The link breaks after the line went out (the answer is lost), or before it did."""
    await held.start(*ECHO)
    heard, channel = held.channel()
    broken = asyncio.Event()

    class Breaking:
        def __init__(self, link, ear):
            self.link, self.ear, self.inputs = link, ear, 0

        async def send(self, data):
            if data[0] == Type.INPUT:
                self.inputs += 1
                if self.inputs == 3:
                    if arrives:
                        await self.link.send(data)
                    self.ear.on_closed("broken")
                    broken.set()
                    return
            await self.link.send(data)

        def pause(self): ...

        def resume(self): ...

        async def close(self):
            await self.link.close()

    async def opener(ear):
        return Breaking(await held.opener(ear), ear)

    await channel.attach(opener)
    lines = [b"%d\n" % number for number in range(1, 6)]
    sending = asyncio.ensure_future(_send_all(channel, lines))
    async with asyncio.timeout(BOUND):
        await broken.wait()
        assert heard.lost == ["broken"]
        await channel.attach(held.opener)
        await sending
    await heard.until(lambda: len(heard.stdout) >= 10)
    assert bytes(heard.stdout) == b"".join(lines)
    assert (await channel.ask()).accepted == 10


async def _send_all(channel, lines):
    for line in lines:
        await channel.send(line)


async def test_the_same_line_told_twice_is_taken_once_and_one_too_early_is_refused(held: Held):
    await held.start(*ECHO)
    first = frames.encode(Type.INPUT, 0, 0, b"one\n")
    async with served(held) as client:
        for _ in range(3):
            await client.send(first)
            assert (await client.until(Type.ACCEPTED)).offset == 4
        wrong = ((5, b"another\n", b"input_gap"), (2, b"another\n", b"input_overlap"), (4, b"half", b"not_a_line"))
        for offset, text, name in (*wrong, (4, b"", b"not_a_line")):
            await client.send(frames.encode(Type.INPUT, 0, offset, text))
            refused = await client.until(Type.REFUSED)
            assert (refused.offset, refused.payload.partition(b":")[0]) == (offset, name)
        await client.send(frames.encode(Type.INPUT, 0, 4, b"two\n"))
        assert (await client.until(Type.ACCEPTED)).offset == 8
    heard, _ = await held.attach()
    await heard.until(lambda: len(heard.stdout) >= 8)
    assert bytes(heard.stdout) == b"one\ntwo\n"


@pytest.mark.parametrize("seed", range(3))
async def test_output_is_complete_and_in_order_whatever_byte_the_link_breaks_at(held: Held, seed: int):
    count = 20_000
    await held.start("sh", "-c", f"seq 1 {count} | while read x; do echo $x; done; read x")
    heard, channel = held.channel()
    expected = numbered(count)
    breaks = 0
    while len(heard.stdout) < len(expected):
        after = (seed + 1) * 7919 * (breaks + 1) % 40_011 + 150
        if breaks % 4 == 3:
            after += (
                frames.LONGEST_OUTPUT + 1024
            )  # else no piece comes over whole where the agent writes faster than it is heard
        try:
            await channel.attach(cutting(held.opener, after))
        except HolderGone:  # the link broke right behind the welcome
            breaks += 1
            continue
        await heard.until(lambda: not channel.attached or len(heard.stdout) == len(expected))
        breaks += 1
    assert bytes(heard.stdout) == expected
    assert breaks > 3
    assert heard.gaps == []


async def test_a_new_manager_goes_on_from_the_offset_that_it_names(held: Held):
    await held.start("sh", "-c", "seq 1 5000; read x")
    heard, _ = await held.attach()
    expected = numbered(5000)
    await heard.until(lambda: len(heard.stdout) == len(expected))
    for at in (0, 1, 777, len(expected) - 1, len(expected)):
        again, _ = await held.attach(stdout_from=at)
        await again.until(lambda again=again, at=at: len(again.stdout) == len(expected) - at)
        assert bytes(again.stdout) == expected[at:]


async def test_what_is_sent_while_the_link_is_lost_waits_for_the_next_one(held: Held):
    await held.start(*ECHO)
    heard, channel = await held.attach()
    await channel.send(b"first\n")
    await channel._detach()
    waiting = asyncio.ensure_future(channel.send(b"second\n"))
    await channel.attach(held.opener)
    async with asyncio.timeout(BOUND):
        await waiting
    await heard.until(lambda: bytes(heard.stdout) == b"first\nsecond\n")


async def test_a_closed_channel_says_so_and_the_agent_goes_on(held: Held):
    await held.start(*ECHO)
    heard, channel = await held.attach()
    await channel._detach()
    waiting = asyncio.ensure_future(channel.send(b"lost\n"))
    await asyncio.sleep(0)
    await channel.close()
    await channel.close()
    with pytest.raises(ChannelClosed, match="closed by this side"):
        await waiting
    with pytest.raises(ChannelClosed):
        await channel.send(b"more\n")
    with pytest.raises(ChannelClosed):
        await channel.attach(held.opener)
    assert heard.closed == ["closed by this side"]
    assert held.processes()


async def test_an_agent_that_does_not_read_stalls_the_sender_and_loses_nothing(held: Held):
    await held.start("sh", "-c", "sleep 1000")
    heard, channel = await held.attach()
    line = b"y" * (8 * 1024 * 1024 - 1) + b"\n"
    for _ in range(8):
        await channel.send(line)
    with pytest.raises(ChannelStalled):
        await channel.send(line)
    assert (await channel.ask()).accepted == 8 * len(line)
    assert bytes(heard.stdout) == b""
