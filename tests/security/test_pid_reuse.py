"""A process id that has come round to somebody else: who closes what has ended signals nobody."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# In a process namespace of its own the next id can be chosen.
SCENE = """
import asyncio, os, subprocess, sys
from pathlib import Path
from acp_runtime.manager.local_channel import LocalChannel
from sandbox.ownership import Owner, start_time

class Deaf:
    def __init__(self): self.closed = asyncio.Event()
    def on_stdout(self, data): pass
    def on_stderr(self, data): pass
    def on_closed(self, reason): self.closed.set()

def innocent(pid):
    Path("/proc/sys/kernel/ns_last_pid").write_text(str(pid - 1))
    process = subprocess.Popen(["cat"], stdin=-1, stdout=-1, bufsize=0, start_new_session=True)
    assert process.pid == pid, (process.pid, pid)
    return process

def answers(process):
    # Whoever was sent a signal it dies of does not run again, though it may be a while until it is gone.
    try:
        process.stdin.write(b"x")
        return process.stdout.read(1) == b"x"
    except BrokenPipeError:
        return False

async def main():
    heard = Deaf()
    # It lives for several ticks of the clock by which the moment of a start is told: ids do not come round within one.
    channel = await LocalChannel.open(["sleep", "0.1"], cwd=Path("/"), env={"PATH": os.environ["PATH"]}, receiver=heard)
    before = start_time(channel.pid)
    await heard.closed.wait()
    async with asyncio.timeout(30):
        while channel.exit_code is None:  # its outputs end before its id is free
            await asyncio.sleep(0)
    other = innocent(channel.pid)
    await channel.close()
    print(answers(other), start_time(channel.pid) not in (before, None))
    other.kill()
    other.wait()

asyncio.run(main())
"""


@pytest.mark.requirement("T20")
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: makes a process namespace")
def test_the_end_of_an_agent_is_no_signal_to_who_has_its_number_now() -> None:
    argv = ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", SCENE]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.split() == ["True", "True"], done.stderr
