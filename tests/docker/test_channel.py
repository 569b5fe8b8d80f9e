"""Channels on a real engine: every byte, in order, both ways, and an end that is told once."""

import asyncio
import contextlib
import os
import shlex

import pytest

from sandbox.channel import ExecChannel
from sandbox.container import Sandbox
from sandbox.errors import ChannelClosed, ChannelStalled, CommandMissing, EngineRefused, SandboxGone
from tests.docker.recorder import BOUND, Recorder

pytestmark = pytest.mark.docker

MEGABYTE = 1024 * 1024
PYTHON = ("python3", "-I", "-c")


async def opened(sandbox: Sandbox, *argv: str, cwd: str = "/") -> tuple[ExecChannel, Recorder]:
    recorder = Recorder()
    return await sandbox.open_channel(argv, cwd=cwd, env={}, receiver=recorder), recorder


async def said(sandbox: Sandbox, *argv: str) -> str:
    done = await sandbox.run(argv, cwd="/", limit_bytes=MEGABYTE, timeout=BOUND)
    assert done.exit_code == 0, done
    return done.stdout.decode()


async def fill(channel: ExecChannel) -> int:
    """Send until the program's unread input fills all buffers on the way; how many bytes were taken."""
    sent = 0
    with contextlib.suppress(ChannelStalled):
        while sent < 50 * MEGABYTE:
            await channel.send(bytes(100_000), patience=0.5)
            sent += 100_000
    return sent


async def test_twenty_megabytes_go_in_and_come_out_unchanged(sandbox):
    channel, recorder = await opened(sandbox, "cat")
    data = os.urandom(20 * MEGABYTE)
    await channel.send(data)
    await channel.close_input()
    await recorder.closed()
    assert recorder.stdout == data
    assert await channel.exit_code() == 0


async def test_messages_of_any_size_arrive_whole_and_in_order(sandbox):
    channel, recorder = await opened(sandbox, "cat")
    messages = [os.urandom(size) for size in (1, 7, 8, 9, 4096, 65535, 65536, 300_000, 1, 0, 2 * MEGABYTE)]
    for message in messages:
        await channel.send(message)
    await recorder.until(lambda: len(recorder.stdout) == sum(map(len, messages)))
    assert recorder.stdout == b"".join(messages)
    await channel.close()


async def test_sends_at_the_same_time_do_not_mix(sandbox):
    channel, recorder = await opened(sandbox, "cat")
    messages = {bytes([letter]) * MEGABYTE for letter in b"abcdef"}
    await asyncio.gather(*map(channel.send, messages))
    await channel.close_input()
    await recorder.closed()
    received = bytes(recorder.stdout)
    assert {received[start : start + MEGABYTE] for start in range(0, len(received), MEGABYTE)} == messages


async def test_stdout_and_stderr_stay_apart(sandbox):
    script = "import os\nfor n in range(2000): os.write(1 + n % 2, b'%d\\n' % n)"
    _, recorder = await opened(sandbox, *PYTHON, script)
    await recorder.closed()
    assert recorder.stdout == b"".join(b"%d\n" % n for n in range(0, 2000, 2))
    assert recorder.stderr == b"".join(b"%d\n" % n for n in range(1, 2000, 2))


async def test_after_a_half_close_the_output_goes_on_and_the_exit_code_is_known(sandbox):
    channel, recorder = await opened(sandbox, "sh", "-c", "cat; echo after the end; exit 7")
    await channel.send(b"before the end\n")
    await channel.close_input()
    await channel.close_input()
    with pytest.raises(ChannelClosed, match="input was closed"):
        await channel.send(b"too late")
    await recorder.closed()
    assert recorder.stdout == b"before the end\nafter the end\n"
    assert await channel.exit_code() == 7


async def test_the_last_words_of_a_program_that_never_read_its_input_arrive(sandbox):
    channel, recorder = await opened(sandbox, "sh", "-c", "head -c 1 >/dev/null; head -c 3000000 /dev/zero; exit 4")
    with pytest.raises(ChannelClosed, match="the program ended"):
        await channel.send(bytes(30 * MEGABYTE))
    await recorder.closed()
    assert len(recorder.stdout) == 3_000_000
    assert await channel.exit_code() == 4


@pytest.mark.parametrize(("argv", "words"), [("no-such-program", "not found"), ("/etc/passwd", "permission denied")])
async def test_a_program_that_cannot_be_executed_ends_the_channel_with_that_reason(sandbox, argv, words):
    channel, recorder = await opened(sandbox, argv)
    reason = await recorder.closed()
    assert argv in reason
    assert words in reason
    assert isinstance(channel.failure, CommandMissing)
    assert not recorder.stdout, "the engine's words are not the program's output"
    with pytest.raises(CommandMissing, match=words):
        await said(sandbox, argv)


async def test_a_program_may_say_the_same_words_as_the_engine(sandbox):
    channel, recorder = await opened(sandbox, "sh", "-c", "printf 'OCI runtime exec failed: or so'; exit 3")
    await recorder.closed()
    assert recorder.stdout == b"OCI runtime exec failed: or so"
    assert channel.failure is None


async def test_a_container_removed_by_somebody_else_ends_the_channel(engine, sandbox):
    channel, recorder = await opened(sandbox, "cat")
    await engine.remove_container(sandbox.id)
    assert await recorder.closed()
    with pytest.raises(ChannelClosed, match="Nothing can be sent to 'cat'"):
        await channel.send(b"anybody?")
    assert await channel.exit_code() is None
    assert (await sandbox.fate()).state == "gone"
    assert "removed" in (await sandbox.fate()).describe()
    with pytest.raises(SandboxGone):
        await opened(sandbox, "cat")


async def test_a_killed_program_has_exit_code_137(sandbox):
    channel, recorder = await opened(sandbox, "sh", "-c", "echo $$; exec sleep 600")
    await recorder.until(lambda: b"\n" in recorder.stdout)
    await said(sandbox, "sh", "-c", f"kill -9 {recorder.stdout.decode().strip()}")
    await recorder.closed()
    assert await channel.exit_code() == 137
    assert (await sandbox.fate()).state == "running"


async def test_a_paused_reader_makes_the_program_wait_and_loses_nothing(sandbox):
    """The program writes until nothing took a byte for a second, says how far it came, and goes on when it can."""
    script = """
import os, select
total, done, told = 60_000_000, 0, False
os.set_blocking(1, False)
while done < total:
    if not select.select([], [1], [], None if told else 1.0)[1]:
        told = True
        with open("/tmp/far", "w") as far: far.write(str(done))
        continue
    done += os.write(1, b"x" * min(65536, total - done))
"""
    await said(sandbox, "mkfifo", "/tmp/far")
    channel, recorder = await opened(sandbox, *PYTHON, script)
    channel.pause()
    channel.pause()
    far = int(await said(sandbox, "cat", "/tmp/far"))
    received = len(recorder.stdout)
    assert received <= far < 30_000_000
    channel.resume()
    await recorder.closed()
    assert len(recorder.stdout) == 60_000_000
    assert await channel.exit_code() == 0


async def test_a_program_that_does_not_read_stalls_the_sender_and_nothing_is_torn(sandbox):
    await said(sandbox, "mkfifo", "/tmp/go")
    channel, recorder = await opened(sandbox, "sh", "-c", "read line </tmp/go; wc -c")
    sent = await fill(channel)
    assert sent < 50 * MEGABYTE
    await said(sandbox, "sh", "-c", "echo go >/tmp/go")
    await channel.send(bytes(100_000))
    await channel.close_input()
    await recorder.closed()
    assert int(recorder.stdout) == sent + 100_000


async def test_a_message_that_cannot_be_finished_closes_the_channel(sandbox):
    channel, recorder = await opened(sandbox, "sleep", "600")
    with pytest.raises(ChannelClosed, match="in the middle of a message"):
        await channel.send(bytes(50 * MEGABYTE), patience=0.5)
    assert "has not read its input" in await recorder.closed()


async def test_a_cancelled_send_closes_the_channel_when_it_tore_its_message(sandbox):
    channel, recorder = await opened(sandbox, "sleep", "600")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await channel.send(bytes(50 * MEGABYTE))
    assert "torn" in await recorder.closed()


async def test_close_does_not_wait_for_a_program_that_neither_reads_nor_ends(sandbox):
    channel, recorder = await opened(sandbox, "sleep", "600")
    await fill(channel)
    async with asyncio.timeout(BOUND):
        await channel.close()
        await channel.close()
    assert recorder.reason == "closed by this side"
    assert await channel.exit_code() is None, "the engine would invent one"


async def test_no_exit_code_is_made_up_for_a_program_that_was_left(sandbox):
    channel, recorder = await opened(sandbox, "cat")
    await channel.close()
    assert recorder.reason == "closed by this side"
    assert await channel.exit_code() is None


async def test_closing_a_paused_channel_drops_what_waits_and_tells_the_end_once(sandbox):
    channel, recorder = await opened(sandbox, "yes")
    await recorder.until(lambda: bool(recorder.stdout))
    channel.pause()
    received = len(recorder.stdout)
    await channel.close()
    channel.resume()
    assert len(recorder.stdout) == received
    assert recorder.reason == "closed by this side"


async def test_a_receiver_that_pauses_from_within_gets_nothing_more_until_it_resumes(sandbox):
    class OneAtATime(Recorder):
        channel: ExecChannel | None = None
        paused = False

        def on_stdout(self, data: bytes) -> None:
            assert not self.paused, "called while paused"
            super().on_stdout(data)
            if self.channel is not None:
                self.channel.pause()
                self.paused = True

    recorder = OneAtATime()
    script = "import os\nfor n in range(300): os.write(1, b'out'); os.write(2, b'err')"
    argv = ("sh", "-c", f"read line; {shlex.join((*PYTHON, script))}")
    recorder.channel = channel = await sandbox.open_channel(argv, cwd="/", env={}, receiver=recorder)
    await channel.send(b"go\n")
    while not recorder.reasons:
        await recorder.until(lambda: recorder.paused or bool(recorder.reasons))
        recorder.paused = False
        channel.resume()
    assert recorder.stdout == b"out" * 300
    assert recorder.stderr == b"err" * 300


async def test_many_channels_at_once_do_not_mix(sandbox):
    async def one(number: int) -> bool:
        channel, recorder = await opened(sandbox, "cat")
        data = bytes([number]) * 500_000
        await channel.send(data)
        await channel.close_input()
        await recorder.closed()
        return recorder.stdout == data

    assert all(await asyncio.gather(*map(one, range(12))))


async def test_a_paused_container_is_told_as_such(engine, sandbox):
    await engine._client.call("pause", lambda api: api.pause(sandbox.id), deadline=BOUND)
    with pytest.raises(EngineRefused, match="paused"):
        await opened(sandbox, "cat")
    assert (await sandbox.fate()).state == "paused"
