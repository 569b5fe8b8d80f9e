"""A process that forks committers: each owns the store and commits until it is killed.

Reads one store path a line; answers with the pid of the committer, then with one line for each commit that returned.
Forked from one warm process, because a fresh interpreter costs more than the whole life of a committer.

The argument says how: `after` as everybody, `too-early` with acknowledgements before the commits, `normal` without a
sync at each commit, `stubborn` saying `failed` for what the disk refuses and trying that again.
"""

import asyncio
import os
import sys
from pathlib import Path
from random import Random

from acp_runtime.clock import ManualClock
from acp_runtime.core.decide import decide
from acp_runtime.core.errors import StoreError
from acp_runtime.core.inputs import Heard, SessionReady
from acp_runtime.core.transcript import MessageEntry
from acp_runtime.store.store import Store
from tests.histories import spawn

SUBAGENT = "bg-0000000000"


def say(words: str) -> None:
    """Say a line in one write, which a kill cannot divide, however Python buffers its output."""
    os.write(sys.stdout.fileno(), f"{words}\n".encode())


async def commit_for_ever(path: Path, how: str) -> None:
    random = Random(os.getpid())
    async with Store.open(path, ManualClock()) as store:
        if how == "normal":
            await store.query("PRAGMA synchronous = NORMAL")
        committed = await store.load(SUBAGENT)
        if committed is None:
            committed = await store.commit(SUBAGENT, None, 0, decide(None, spawn(SUBAGENT), 0)[0])
            state, version = committed.state, committed.version
            committed = await store.commit(SUBAGENT, state, version, decide(state, SessionReady(1, "s", "", ""), 0)[0])
        say(f"ready {committed.version}")
        while True:
            entries = [MessageEntry("agent", "x" * random.randrange(1, 2048)) for _ in range(random.randrange(1, 30))]
            events, _ = decide(committed.state, Heard(1, tuple(entries)), 0)
            if how == "too-early":
                say(f"acknowledged {committed.version + len(events)}")
            try:
                committed = await store.commit(SUBAGENT, committed.state, committed.version, events)
            except StoreError:
                if how != "stubborn":
                    raise
                say(f"failed {committed.version}")
                continue
            say(f"acknowledged {committed.version}")


def work(path: Path, how: str) -> None:
    while True:
        try:
            asyncio.run(commit_for_ever(path, how))
        except StoreError:
            if how != "stubborn":
                raise
            say("failed 0")


def main() -> None:
    for line in sys.stdin:
        if (pid := os.fork()) == 0:
            work(Path(line.strip()), sys.argv[1])
        say(f"pid {pid}")
        os.waitpid(pid, 0)
        say("ended")


if __name__ == "__main__":
    main()
