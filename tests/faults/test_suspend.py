"""Machines that sleep and processes that stand still: no time asleep is counted, and no owner of before writes.

A machine cannot be put to sleep by a test. What the kernel's clocks show after a sleep can be had in a time namespace,
where the clock that counts sleep is ahead of the one that does not. And processes are frozen by SIGSTOP for longer than
their lease: for both clocks that is time like any other, so it shows what becomes of the lease, not of deadlines.
"""

import asyncio
import os
import select
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from acp_runtime.clock import ManualClock, SystemClock
from acp_runtime.detached import wait_for_end
from tests.e2e.daemon_site import BOUND, DaemonSite, daemon_site, processes_of
from tests.integration.store.conftest import look

TREE = Path(__file__).parents[2]
PARENT = "parent"
HOLDERS, FREEZES = 3, 6
ASLEEP = 10 * 86_400
CLOCKS = """
import time
from acp_runtime.clock import SystemClock
before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1_000_000
now = SystemClock().now()
after = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1_000_000
print(before <= now <= after, time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000 - now)
"""


@pytest.mark.requirement("D04.11")
def test_the_clock_of_deadlines_does_not_count_the_time_asleep() -> None:
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("needs root: a time namespace is made with unshare")
    argv = ["unshare", "--time", "--boottime", str(ASLEEP), "--fork", sys.executable, "-c", CLOCKS]
    done = subprocess.run(argv, cwd=TREE, check=True, capture_output=True, text=True, timeout=BOUND)
    same, ahead = done.stdout.split()
    assert same == "True"
    assert int(ahead) >= ASLEEP * 1000, "the namespace shows no sleep: this test shows nothing"


@pytest.mark.requirement("D04.11")
async def test_a_sleep_releases_nobody_who_waits_for_a_deadline() -> None:
    clock = ManualClock(now=1_000)
    waiting = asyncio.ensure_future(clock.until(2_000))
    await asyncio.sleep(0)
    clock.jump(ASLEEP * 1000)
    clock.advance(999)
    assert not waiting.done()
    clock.advance(1)
    async with asyncio.timeout(BOUND):
        await waiting


class Holders:
    """Processes that want one store, and the words that they say in the order in which they say them.

    `woken` are those that stood still, and go on though another owns the store.
    """

    def __init__(self, path: Path, how: str) -> None:
        self.path = path
        self.woken: list[int] = []
        said, says = os.pipe()
        argv = [sys.executable, "-m", "tests.faults.lease_holder", str(path), how]
        self.processes = [subprocess.Popen(argv, cwd=TREE, stdout=says) for _ in range(HOLDERS)]
        os.close(says)
        self._words = os.fdopen(said, "rb", buffering=0)
        self._rest = b""

    def words(self) -> Iterator[tuple[str, int]]:
        """Yield what they say and who says it; whoever stands still is woken as soon as another owns the store."""
        standing, owner = set[int](), 0
        while True:
            while b"\n" not in self._rest:
                ready, _, _ = select.select([self._words], [], [], BOUND)
                assert ready, "nobody says anything"
                self._rest += self._words.read(4096)
            line, _, self._rest = self._rest.partition(b"\n")
            word, who, _ = line.decode().split()
            if word == "stands":
                standing.add(int(who))
            owner = int(who) if word == "owns" else owner
            for pid in standing - {owner}:  # on a busy machine it may be replaced before it stands
                os.waitid(os.P_PID, pid, os.WSTOPPED)  # it says so before it does
                os.kill(pid, signal.SIGCONT)
                self.woken.append(pid)
            standing &= {owner}
            yield word, int(who)

    def epochs(self) -> list[int]:
        return [epoch for (epoch,) in look(self.path, "SELECT epoch FROM event ORDER BY seq")]

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait(BOUND)
        self._words.close()


@contextmanager
def holders(path: Path, how: str) -> Iterator[Holders]:
    made = Holders(path, how)
    try:
        yield made
    finally:
        made.close()


@pytest.mark.requirement("D05.2")
def test_an_owner_that_was_frozen_beyond_its_lease_writes_nothing_once_it_was_replaced(path: Path) -> None:
    with holders(path, "fenced") as running:
        lost = (who for word, who in running.words() if word == "lost")
        for _ in range(FREEZES):
            next(lost)
    epochs = running.epochs()
    assert epochs == sorted(epochs)
    assert len(set(epochs)) >= FREEZES, "hardly anybody wrote"
    assert look(path, "PRAGMA integrity_check") == [("ok",)]


def test_without_the_fence_an_owner_of_before_is_seen_to_write(path: Path) -> None:
    """The control: the same freeze, and the writes of the one that woke are found between those of its successor."""
    with holders(path, "unfenced") as running:
        for _ in running.words():
            if running.woken:
                break
        clock = SystemClock()
        until = clock.now() + BOUND * 1000
        while (epochs := running.epochs()) == sorted(epochs):
            assert clock.now() < until, "nobody wrote out of turn"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "state").mkdir()
    return tmp_path / "state" / "store.db"


@pytest.fixture
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonSite]:
    with daemon_site(tmp_path_factory.mktemp("s", numbered=True)) as site:
        with site.config.open("a", encoding="utf-8") as file:
            file.write("\n[daemon]\nlease = 5\n")
        yield site


def signal_all(pids: Collection[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):  # an errand of the daemon's may have ended meanwhile
            os.kill(pid, number)


def in_a_write(site: DaemonSite) -> bool:
    """Return whether what is frozen stands still in the middle of a write: then nobody can take its place."""
    try:
        with closing(sqlite3.connect(site.store, timeout=1, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
    except sqlite3.OperationalError:
        return True
    return False


@contextmanager
def frozen(site: DaemonSite) -> Iterator[None]:
    """Freeze a daemon and all its agents for longer than the lease that it holds."""
    pids = processes_of(site.root)
    assert len(pids) >= 2
    signal_all(pids, signal.SIGSTOP)
    while in_a_write(site):
        signal_all(pids, signal.SIGCONT)
        signal_all(pids, signal.SIGSTOP)
    try:
        ((lease,),) = site.look("SELECT value FROM meta WHERE key = 'lease'")
        asyncio.run(SystemClock().until(int(lease.split()[1]) + 1))
        yield
    finally:
        signal_all(set(pids) & set(processes_of(site.root)), signal.SIGCONT)


def spawn(site: DaemonSite, task: str) -> str:
    request = {"agent": "scripted", "workspace": str(site.workspace), "task": task, "keep": True}
    subagent = str(site.client.call("spawn", PARENT, request=request)["id"])
    while site.client.call("status", PARENT, subagent=subagent)["status"] != "running":
        site.client.call("wait", PARENT, subagents=[subagent], mode="any_change", seconds=1)
    return subagent


def settled(site: DaemonSite, subagent: str) -> dict:
    waited = site.client.call("wait", PARENT, subagents=[subagent], seconds=BOUND)
    assert waited["reason"] == "ended", (waited, site.log())
    return waited["views"][0]


@pytest.mark.requirement("D05.10")
def test_a_lapsed_lease_that_nobody_took_is_taken_back_and_the_task_goes_on(site: DaemonSite) -> None:
    pid, go = site.serve(), site.root / "go"
    subagent = spawn(site, f"[[wait:{go}]][[say:done]]")
    with frozen(site):
        go.touch()
    view = settled(site, subagent)
    assert (view["tasks"][0]["state"], view["tasks"][0]["result"], view["attempt"]) == ("completed", "done", 1)
    assert (site.pid, site.client.hello()["epoch"]) == (pid, 1)
    assert "taken over" not in site.log()
    other = site.run("serve", "--unsafe-local")
    assert (other.returncode, other.stderr) == (0, f"the daemon runs already (process {pid})\n")


@pytest.mark.requirement("D05.10")
def test_a_daemon_that_wakes_up_after_it_was_replaced_writes_nothing_and_steals_nothing(site: DaemonSite) -> None:
    first, go = site.serve(), site.root / "go"
    subagent = spawn(site, f"[[wait:{go}]][[say:done]]")
    with frozen(site):
        second = site.serve("--replace")
        assert second != first
        go.touch()
    assert wait_for_end(first, BOUND), f"the daemon that was replaced goes on: {site.log()}"
    settled(site, subagent)
    site.client.call("send", PARENT, subagent=subagent, text="[[say:again]]")
    assert settled(site, subagent)["tasks"][-1]["result"] == "again"
    epochs = [epoch for (epoch,) in site.look("SELECT epoch FROM event ORDER BY seq")]
    assert epochs == sorted(epochs)
    assert set(epochs) == {1, 2}
    assert (site.pid, site.client.hello()["epoch"]) == (second, 2)
    assert site.store.with_name("store.db.lock").read_text() == f"{second}\n"
    ends = [row for row in site.look("SELECT data FROM event WHERE kind = 'task_ended'") if ".t1" in row[0]]
    assert len(ends) == 1, "the fate of one task was told twice"
