"""What was acknowledged survives a power cut at any write: on a disk that keeps of what was not synced what it likes.

Sectors of different writes survive in any order, and so do names in folders. The control commits without a sync at
each commit, and is seen to lose what it acknowledged.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random

import pytest

from acp_runtime.clock import ManualClock
from acp_runtime.manager.holder_key import HolderKey
from acp_runtime.manager.launcher import Work
from acp_runtime.manager.work import keep_patch, note_removal, read_work, removal_noted, write_work
from acp_runtime.store.store import Store
from tests.integration.store.committer import SUBAGENT
from tests.integration.store.conftest import dump, look
from tests.ledger import check_log

TREE = Path(__file__).parents[2]
STORE = "state/store.db"
KEPT = (0.0, 0.0, 0.5, 0.9, 1.0)


class Program:
    """A program that takes a line and answers with lines."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process

    def say(self, words: str) -> None:
        print(words, file=self.process.stdin, flush=True)

    def line(self) -> list[str]:
        assert self.process.stdout is not None
        words = self.process.stdout.readline().split()
        assert words, "it has ended"
        return words

    def tell(self, words: str) -> None:
        self.say(words)
        assert self.line() == ["done"]


@contextmanager
def program(module: str, argument: str, *, quiet: bool) -> Iterator[Program]:
    errors = subprocess.DEVNULL if quiet else None
    with subprocess.Popen(
        [sys.executable, "-m", module, argument],
        cwd=TREE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True,
    ) as process:  # fmt: skip
        yield Program(process)


class Machine:
    """One disk and the committers on it; its power is cut again and again."""

    # A store is made by about forty changes; its log is taken into the main file, a checkpoint, every few thousand.
    reach = 11.0

    def __init__(self, disk: Program, committers: Program, folder: Path, seed: int) -> None:
        self.disk = disk
        self.committers = committers
        self.folder = folder
        self.random = Random(seed)
        self.cuts = 0
        self.failures = 0

    @classmethod
    @contextmanager
    def on(cls, folder: Path, seed: int, how: str) -> Iterator["Machine"]:
        if os.geteuid() != 0 or not os.access("/dev/fuse", os.W_OK):
            pytest.skip("needs root: a file system of our own is mounted, over /dev/fuse")
        with ExitStack() as stack:
            disk = stack.enter_context(program("tests.faults.forgetful_disk", str(seed), quiet=False))
            # They end by an error of their disk, and say so at length.
            committers = stack.enter_context(program("tests.integration.store.committer", how, quiet=True))
            (folder / "mount").mkdir(parents=True)
            yield cls(disk, committers, folder, seed)

    def keep(self, write: Callable[[Path], object]) -> Path:
        """Have something written into a folder, cut the power right behind it, and return what is left."""
        self.cuts += 1
        mount, left = self.folder / "mount", self.folder / f"after-{self.cuts}"
        self.disk.tell(f"mount {mount}")
        write(mount)
        self.disk.tell("off")
        left.mkdir()
        self.disk.tell(f"export {left}")
        return left

    def cut(self) -> tuple[int, Path | None]:
        """Let one committer work until the cut; return what it acknowledged, and the store if there still is one."""
        self.cuts += 1
        mount, left = self.folder / "mount", self.folder / f"after-{self.cuts}"
        # Each length as often as its half.
        changes = int(2 ** self.random.uniform(0, self.reach))
        self.disk.tell(f"mount {mount}")
        self.disk.tell(f"cut {changes} {self.random.choice(KEPT)}")
        self.committers.say(str(mount / STORE))
        acknowledged = 0
        while (words := self.committers.line()) != ["ended"]:
            if words[0] != "pid":
                acknowledged = int(words[1])
        assert self.disk.line() == ["off"]
        left.mkdir()
        self.disk.tell(f"export {left}")
        return acknowledged, left / STORE if (left / STORE).exists() else None

    def fail(self, count: int, error: str, what: str = "fail") -> tuple[int, Path | None]:
        """Let one change fail under a committer, see it told and the work go on, and cut the power some time later."""
        self.cuts += 1
        mount, left = self.folder / "mount", self.folder / f"after-{self.cuts}"
        self.disk.tell(f"mount {mount}")
        self.disk.tell(f"{what} {count} {error}")
        self.committers.say(str(mount / STORE))
        pid = acknowledged = failed = more = 0
        while more < 3 or not pid:  # of the child its parent tells, perhaps only after it
            word, number = self.committers.line()
            if word == "pid":
                pid = int(number)
            elif word == "failed":
                failed += 1
            else:
                acknowledged, more = int(number), more + (failed > 0 or acknowledged > count)
        self.disk.tell("off")
        # What was acknowledged meanwhile stands in the pipe; the committer does not give up by itself.
        os.kill(pid, signal.SIGKILL)
        while (words := self.committers.line()) != ["ended"]:
            if words[0] not in ("failed", "pid"):
                acknowledged = int(words[1])
        left.mkdir()
        self.disk.tell(f"export {left}")
        self.failures += failed
        return acknowledged, left / STORE if (left / STORE).exists() else None


async def kept(path: Path) -> int:
    """Open what is left, judge all of it, and return how much of the stream is there."""
    async with Store.open(path, ManualClock()) as store:
        live = await dump(store)
        await store.rebuild()
        assert await dump(store) == live
        events = [row.event for row in await store.events(SUBAGENT, 0, None)]
        if events:
            check_log(events)
    assert look(path, "PRAGMA integrity_check") == [("ok",)]
    return len(events)


async def cut_again_and_again(machine: Machine, cuts: int) -> None:
    reached = 0
    for number in range(cuts):
        acknowledged, path = machine.cut()
        reached = max(reached, acknowledged)
        there = await kept(path) if path is not None else 0
        assert there >= reached, f"cut {number}: {there} kept of {reached} acknowledged"
    assert reached > 0


@pytest.mark.requirement("D05.9")
@pytest.mark.parametrize("seed", range(3))
async def test_no_acknowledged_commit_is_lost_by_a_power_cut_at_any_write(tmp_path: Path, seed: int) -> None:
    with Machine.on(tmp_path, seed, "after") as machine:
        await cut_again_and_again(machine, 8)


async def fail_again_and_again(machine: Machine, counts: Iterable[int], what: str = "fail") -> None:
    reached = 0
    for count in counts:
        for error in ("EIO", "ENOSPC"):
            acknowledged, path = machine.fail(count, error, what)
            reached = max(reached, acknowledged)
            there = await kept(path) if path is not None else 0
            assert there >= reached, f"{error} at change {count}: {there} kept of {reached} acknowledged"
    assert machine.failures > 0


@pytest.mark.requirement("D05.5")
async def test_a_write_or_a_sync_that_fails_is_told_and_costs_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    with Machine.on(tmp_path, 5, "stubborn") as machine:
        await fail_again_and_again(machine, range(0, 40, 4))


@pytest.mark.requirement("D05.9")
async def test_a_sync_of_the_folder_that_fails_costs_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    with Machine.on(tmp_path, 6, "stubborn") as machine:
        await fail_again_and_again(machine, range(4), "fail-names")


@pytest.mark.long
@pytest.mark.parametrize("first", range(0, 150, 15))
async def test_each_of_the_first_writes_and_syncs_may_fail(tmp_path: Path, first: int) -> None:
    with Machine.on(tmp_path, first, "stubborn") as machine:
        await fail_again_and_again(machine, range(first, first + 15))


@pytest.mark.long
@pytest.mark.parametrize("seed", range(100, 140))
async def test_no_acknowledged_commit_is_lost_by_hundreds_of_power_cuts(tmp_path: Path, seed: int) -> None:
    with Machine.on(tmp_path, seed, "after") as machine:
        machine.reach = 12.5
        await cut_again_and_again(machine, 10)


def test_work_that_was_taken_out_survives_a_power_cut_since_its_volumes_go_next(tmp_path: Path) -> None:
    work = Work(b"a patch", 1, 1, 0, "one file", ("a notice",))

    def written(disk: Path) -> None:
        write_work(disk / "state" / "work", SUBAGENT, work)
        note_removal(disk / "state" / "work", SUBAGENT, 2)
        keep_patch(disk / "state", "amber-fox", SUBAGENT, work.patch)

    with Machine.on(tmp_path, 7, "after") as machine:
        state = machine.keep(written) / "state"
    assert read_work(state / "work", SUBAGENT) == work
    assert removal_noted(state / "work", SUBAGENT, 2)
    assert (state / "patches" / f"amber-fox-{SUBAGENT}.patch").read_bytes() == work.patch


def test_the_key_by_which_living_agents_are_reached_survives_a_power_cut(tmp_path: Path) -> None:
    """On a remote engine they outlive the machine of their manager."""
    keys: list[HolderKey] = []
    with Machine.on(tmp_path, 8, "after") as machine:
        left = machine.keep(lambda disk: keys.append(HolderKey.beside(disk / "store.db")))
    assert HolderKey.beside(left / "store.db").token("a", 1) == keys[0].token("a", 1)


@pytest.mark.requirement("D05.9")
async def test_commits_that_are_not_synced_are_seen_to_be_lost(tmp_path: Path) -> None:
    """The control: with synchronous=NORMAL the same harness finds acknowledged commits missing."""
    with Machine.on(tmp_path, 1, "normal") as machine, pytest.raises(AssertionError, match="acknowledged"):
        await cut_again_and_again(machine, 20)
