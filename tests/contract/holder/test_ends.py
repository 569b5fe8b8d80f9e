"""How an agent ends: with all that it started, told once, by whom and how; and how a holder ends."""

import asyncio
import os
import signal

import pytest

from sandbox.errors import ChannelClosed
from sandbox.holder import frames
from sandbox.holder.errors import HolderGone, InputRefused
from sandbox.holder.frames import Cause, Phase, Type
from sandbox.holder.journal import read_state
from tests.contract.holder.held import BOUND, ON_THE_SOCKET, Held, ended, holders, numbered, read_back, served

# Children of every kind, all deaf to SIGTERM: one in the group, one in a session of its own, one that forked twice,
# one that forked twice, has a session of its own and holds none of the pipes.
FAMILY = """
trap '' TERM
sleep 1001 &
setsid sleep 1002 &
(sleep 1003 & exec true)
(setsid sh -c 'sleep 1004 & exec true' </dev/null >/dev/null 2>&1 &)
"""
# The last child is there when it can be seen.
AWAIT = "until pgrep -f 'sleep 100[4]' >/dev/null; do :; done; echo family"


async def over(channel) -> frames.State:
    async with asyncio.timeout(BOUND):
        return await channel.wait_over()


async def test_a_kill_ends_all_that_the_agent_started(held: Held):
    await held.start("sh", "-c", f"{FAMILY}\n{AWAIT}\nread x")
    heard, channel = await held.attach()
    await heard.until(lambda: heard.stdout == b"family\n")
    async with asyncio.timeout(BOUND):
        while len(held.processes()) < 5:  # one that is just being executed has no environment to be seen by
            await channel.ask()
    await channel.kill(0.1)
    state = await over(channel)
    assert held.processes() == []
    assert (state.phase, state.signal, state.cause, state.left) == (Phase.ENDED, 9, Cause.CLIENT, 0)
    assert heard.closed == ["the agent was killed by signal 9 as asked"]


async def test_the_end_of_the_agent_is_the_end_of_all_that_it_started(held: Held):
    await held.start("sh", "-c", f"{FAMILY}\n{AWAIT}\nexit 3", grace=0.1)
    heard, channel = await held.attach()
    state = await over(channel)
    assert bytes(heard.stdout) == b"family\n"
    assert held.processes() == []
    assert (state.exit_code, state.cause, state.left) == (3, Cause.ITSELF, 0)


async def test_an_agent_is_asked_to_end_before_it_is_killed(held: Held):
    script = "trap 'echo bye; exit 5' TERM; echo ready; while :; do read x; done"
    await held.start("sh", "-c", script)
    heard, channel = await held.attach()
    await heard.until(lambda: heard.stdout == b"ready\n")
    await channel.kill(BOUND)
    state = await over(channel)
    assert bytes(heard.stdout) == b"ready\nbye\n"
    assert (state.exit_code, state.cause) == (5, Cause.CLIENT)


async def test_a_second_kill_may_be_in_more_of_a_hurry(held: Held):
    await held.start("sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1; done")
    heard, channel = await held.attach()
    await heard.until(lambda: heard.stdout == b"ready\n")
    await channel.kill(1000)
    assert (await channel.ask()).phase is Phase.ENDING
    with pytest.raises(InputRefused) as refused:
        await channel.send(b"anybody?\n")
    assert refused.value.kind == "agent_ended"
    await channel.kill(0)
    assert (await over(channel)).signal == signal.SIGKILL


async def test_an_agent_that_keeps_starting_children_is_ended(held: Held):
    # Each child starts the next and dies of age; all are deaf to SIGTERM.
    script = "trap '' TERM; echo ready; f() { while :; do (setsid sleep 5 & exec true); done; }; f"
    await held.start("sh", "-c", script)
    heard, channel = await held.attach()
    await heard.until(lambda: heard.stdout == b"ready\n")
    await channel.kill(0)
    assert (await over(channel)).left == 0
    assert held.processes() == []


async def test_what_the_agent_wrote_last_is_heard_before_its_end(held: Held):
    await held.start("sh", "-c", "seq 1 300000; exit 1", stdout_bound=1 << 20)
    heard, channel = await held.attach()
    expected = numbered(300000)
    while not heard.closed:
        news = len(heard.stdout)
        await channel.acknowledge(channel.received)
        await heard.until(lambda news=news: len(heard.stdout) > news or heard.closed)
    assert heard.stdout == expected
    assert channel.state.exit_code == 1


@ON_THE_SOCKET
async def test_without_a_client_for_its_time_to_live_the_agent_ends_and_the_journal_stays(held: Held):
    state = await held.start("sh", "-c", f"{FAMILY}\n{AWAIT}\nread x", ttl=1, grace=0.1)
    heard, channel = await held.attach()
    await heard.until(lambda: heard.stdout == b"family\n")
    (holder,) = holders(held.journal)
    await channel.close()
    await ended(state.pid)
    await ended(holder)
    assert held.processes() == []
    assert not held.socket.exists()
    found = read_state((held.journal / "state").read_bytes())
    assert (found.phase, found.cause, found.signal) == (Phase.ENDED, Cause.TTL, 9)
    assert b"".join(frame.payload for frame in read_back(held, 0)) == b"family\n"


@ON_THE_SOCKET
@pytest.mark.requirement("D09.1")
async def test_with_a_holder_that_nobody_came_for_ends_the_init_of_its_container(held: Held):
    init = await asyncio.create_subprocess_exec("sleep", "1000")
    try:
        await held.start("sh", "-c", "exit 3", ttl=1, init=init.pid)
        async with asyncio.timeout(BOUND):
            assert await init.wait() == -signal.SIGTERM
    finally:
        if init.returncode is None:
            init.kill()
    assert read_state((held.journal / "state").read_bytes()).exit_code == 3


@ON_THE_SOCKET
async def test_a_holder_that_is_dismissed_leaves_the_init_alone(held: Held):
    init = await asyncio.create_subprocess_exec("sleep", "1000")
    try:
        await held.start("true", init=init.pid)
        (holder,) = holders(held.journal)
        _, channel = await held.attach()
        await over(channel)
        await channel.dismiss()
        await ended(holder)
        assert init.returncode is None
        init.send_signal(signal.SIGUSR1)
        async with asyncio.timeout(BOUND):
            assert await init.wait() == -signal.SIGUSR1
    finally:
        if init.returncode is None:
            init.kill()


@ON_THE_SOCKET
async def test_a_served_agent_outlives_the_time_to_live(held: Held):
    await held.start("sh", "-c", "sleep 2; echo done; read x", ttl=1)
    heard, channel = await held.attach()
    await heard.until(lambda: heard.stdout == b"done\n")
    await channel.send(b"more\n")


@ON_THE_SOCKET
async def test_one_who_is_not_served_does_not_keep_the_agent_alive(held: Held):
    state = await held.start("cat", ttl=1)
    _, writer = await asyncio.open_unix_connection(held.socket)
    await ended(state.pid)
    writer.close()


async def test_the_holder_of_an_ended_agent_stays_until_it_is_dismissed(held: Held):
    state = await held.start("sh", "-c", "echo result; exit 0")
    (holder,) = holders(held.journal)
    await ended(state.pid)
    for _ in range(3):
        heard, channel = await held.attach()
        assert (await over(channel)).exit_code == 0
        assert bytes(heard.stdout) == b"result\n"
    await channel.dismiss()
    await ended(holder)
    assert not held.socket.exists()
    _, late = held.channel()
    with pytest.raises(HolderGone):
        await late.attach(held.opener)
    assert read_state((held.journal / "state").read_bytes()).exit_code == 0


async def test_a_holder_of_a_living_agent_is_not_dismissed(held: Held):
    await held.start("cat")
    async with served(held) as client:
        await client.send(frames.encode(Type.BYE))
        assert await client.error() == ("still_running", 0)
    heard, channel = await held.attach()
    await channel.send(b"alive\n")
    await heard.until(lambda: heard.stdout)


async def test_a_holder_that_is_stopped_ends_its_agent_and_tells_so(held: Held):
    await held.start("sh", "-c", f"{FAMILY}\n{AWAIT}\nread x", grace=0.1)
    heard, channel = await held.attach()
    await heard.until(lambda: heard.stdout)
    (holder,) = holders(held.journal)
    os.kill(holder, signal.SIGTERM)
    state = await over(channel)
    assert state.cause is Cause.SIGNAL
    assert held.processes() == []


@pytest.mark.parametrize("lines", [10, 20_000, 400_000])
async def test_the_journal_of_a_killed_holder_holds_all_that_was_heard(held: Held, lines: int):
    await held.start("sh", "-c", f"seq 1 {lines}; echo problem >&2; read x")
    heard, _ = await held.attach()
    await heard.until(lambda: len(heard.stdout) >= lines)
    (holder,) = holders(held.journal)
    os.kill(holder, signal.SIGKILL)
    await ended(holder)
    await heard.until(lambda: heard.lost)
    state = read_state((held.journal / "state").read_bytes())
    assert (state.phase, state.exit_code, state.signal) == (Phase.LOST, None, None)
    found = read_back(held, 0)
    assert {frame.type for frame in found} == {Type.OUTPUT}
    whole = b"".join(frame.payload for frame in found)
    assert numbered(lines).startswith(whole)
    assert whole.startswith(bytes(heard.stdout))
    assert whole[100:] == b"".join(frame.payload for frame in read_back(held, 100))


async def test_a_lost_channel_ends_with_the_channel_only(held: Held):
    await held.start("cat")
    heard, channel = await held.attach()
    (holder,) = holders(held.journal)
    os.kill(holder, signal.SIGKILL)
    await heard.until(lambda: heard.lost)
    assert heard.closed == []
    with pytest.raises(HolderGone):
        await channel.attach(held.opener)
    await channel.close()
    with pytest.raises(ChannelClosed):
        await channel.wait_over()
