"""What was acknowledged survives: a committer is killed at any moment, again and again, and nothing is missing."""

import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

from acp_runtime.clock import ManualClock
from acp_runtime.core.model import TaskState
from acp_runtime.store.store import Store
from tests.integration.store.committer import SUBAGENT
from tests.integration.store.conftest import dump, look
from tests.ledger import check_log

ROOT = Path(__file__).parents[3]
KILLS = 20


class Committers:
    """Starts one committer after the other on a store and kills each at a moment that nobody chose."""

    def __init__(self, process: subprocess.Popen[str], path: Path) -> None:
        self.process = process
        self.path = path
        self.random = Random(20)

    def line(self) -> list[str]:
        assert self.process.stdout is not None
        words = self.process.stdout.readline().split()
        assert words, "the committers' process ended"
        return words

    def kill_one(self) -> int:
        """Return the highest version that was acknowledged before the kill."""
        assert self.process.stdin is not None
        print(self.path, file=self.process.stdin, flush=True)
        pid, acknowledged, wanted = 0, 0, self.random.randrange(1, 4)
        while not (pid and wanted <= 0):
            word, number = self.line()
            if word == "pid":
                pid = int(number)
            else:
                acknowledged, wanted = int(number), wanted - 1
        # Work of a random length, so that the kill falls anywhere between two commits.
        hashlib.pbkdf2_hmac("sha256", b"", b"", self.random.randrange(1, 12_000))
        os.kill(pid, signal.SIGKILL)
        while (words := self.line()) != ["ended"]:
            acknowledged = int(words[1])
        return acknowledged


@contextmanager
def committers(path: Path, when: str) -> Iterator[Committers]:
    argv = [sys.executable, "-m", "tests.integration.store.committer", when]
    with subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Committers(process, path)


def stored(path: Path) -> int:
    assert look(path, "PRAGMA integrity_check") == [("ok",)]
    ((count, newest),) = look(path, "SELECT count(*), max(version) FROM event WHERE stream = ?", SUBAGENT)
    assert count == newest, "a gap in the stream"
    return int(newest)


async def test_no_acknowledged_commit_is_lost_by_a_kill_at_any_moment(path: Path) -> None:
    with committers(path, "after") as running:
        for number in range(KILLS):
            acknowledged = running.kill_one()
            kept = stored(path)
            assert kept >= acknowledged, f"kill {number}: {kept} kept of {acknowledged} acknowledged"
    assert look(path, "SELECT value FROM meta WHERE key = 'epoch'") == [(str(KILLS),)]
    epochs = [epoch for (epoch,) in look(path, "SELECT epoch FROM event ORDER BY seq")]
    assert epochs == sorted(epochs)
    async with Store.open(path, ManualClock()) as store:
        state = check_log([row.event for row in await store.events(SUBAGENT, 0, None)])
        assert state.active is not None
        assert state.active.state is TaskState.RUNNING
        live = await dump(store)
        await store.rebuild()
        assert await dump(store) == live


def test_an_acknowledgement_before_the_commit_would_be_seen(path: Path) -> None:
    """The control: this harness does notice when something acknowledged is lost."""
    with committers(path, "too-early") as running:
        losses = (running.kill_one() > stored(path) for _ in range(4 * KILLS))
        assert any(losses)
