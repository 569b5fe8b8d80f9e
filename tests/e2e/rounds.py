"""Rounds of parents, agents and a daemon, all of them processes, with faults at random, and the judge of each round.

A round: two parents spawn agents, queue tasks, take turns of which some fail. Meanwhile the daemon is killed, ended or
replaced, or a parent is killed and comes back. When both have come to their end, the store and the journals are judged:
nothing lost, nothing told again after it was acknowledged, every task exactly one end, `rebuild() == live`.
"""

import json
import random
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from acp_runtime.clock import SystemClock
from acp_runtime.core.events import TaskEnded, TaskQueued
from acp_runtime.core.turns import TurnBegun, TurnCommitted
from acp_runtime.store.store import Store
from tests.e2e.daemon_site import BOUND, DaemonSite, line_of
from tests.integration.store.conftest import dump
from tests.ledger import check_log

PARENTS = ("left", "right")
FAULTS = ("kill", "kill", "term", "replace", "parent", "none")


@dataclass
class Found:
    """What a round came to."""

    tasks: int = 0
    nudges: int = 0
    turns: int = 0
    uncommitted: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    again: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        return not (self.lost or self.again or self.wrong)

    def add(self, other: "Found") -> None:
        self.tasks += other.tasks
        self.nudges += other.nudges
        self.turns += other.turns
        self.uncommitted += other.uncommitted
        self.lost += other.lost
        self.again += other.again
        self.faults += other.faults


class Round:
    """One round at a site of its own."""

    def __init__(self, site: DaemonSite, seed: int, *, forgetful: bool = False) -> None:
        self.site = site
        self.random = random.Random(seed)
        self.seed = seed
        self.flags = ["--forgetful"] if forgetful else []
        self.parents: dict[str, subprocess.Popen[bytes]] = {}
        self.found = Found()

    async def play(self) -> Found:
        """Play the round to its end and judge it."""
        self.site.serve("--idle-exit", "0")
        for name in PARENTS:
            self.start(name)
        for fault in self.random.choices(FAULTS, k=2):
            self.wait_for_steps(self.random.randrange(1, 6))
            self.fault(fault)
        self.finish()
        self.site.end(self.site.pid)
        await self.judge()
        return self.found

    def start(self, name: str) -> None:
        words = [str(self.site.socket), name, str(self.journal(name)), str(self.site.workspace), str(self.seed)]
        argv = [sys.executable, "-m", "tests.e2e.parent_process", *words, *self.flags]
        self.parents[name] = self.site.popen(*argv, stdout=subprocess.PIPE)

    def journal(self, name: str) -> Path:
        return self.site.root / f"{name}.journal"

    def wait_for_steps(self, steps: int) -> None:
        """Return after a parent has said so many things, or has ended."""
        process = self.parents[self.random.choice(PARENTS)]
        for _ in range(steps):
            if not line_of(process):
                return

    def fault(self, fault: str) -> None:
        self.found.faults[fault] += 1
        if fault == "parent":
            name = self.random.choice(PARENTS)
            self.parents[name].kill()
            self.parents[name].wait(BOUND)
            self.start(name)
        elif fault == "replace":
            self.site.serve("--idle-exit", "0", "--replace")
        elif fault != "none":
            self.site.end(self.site.pid, signal.SIGKILL if fault == "kill" else signal.SIGTERM)
            self.site.serve("--idle-exit", "0")

    def finish(self) -> None:
        for name in PARENTS:
            process = self.parents[name]
            process.communicate(timeout=2 * BOUND)
            if process.returncode == 9:  # a forgetful one
                self.flags = []
                self.start(name)
                self.parents[name].communicate(timeout=2 * BOUND)
            assert self.parents[name].returncode == 0, f"seed {self.seed}: {name} failed: {self.site.log()[-4000:]}"

    async def judge(self) -> None:
        async with Store.open(self.site.store, SystemClock()) as store:
            live = await dump(store)
            await store.rebuild()
            if await dump(store) != live:
                self.found.wrong.append("rebuild() != live")
            for row in live["subagent"]:
                await self.judge_tasks(store, row["id"])
            for parent in PARENTS:
                await self.judge_turns(store, parent)
            self.found.nudges = len(live["nudge"])
            self.found.lost += [
                f"{row['id']} is {row['state']}"
                for row in live["nudge"]
                if row["state"] not in ("committed", "superseded")
            ]

    async def judge_tasks(self, store: Store, subagent: str) -> None:
        events = [row.event for row in await store.events(subagent, 0, None)]
        check_log(events)
        queued = Counter(event.task_id for event in events if isinstance(event, TaskQueued))
        ended = Counter(event.task_id for event in events if isinstance(event, TaskEnded))
        self.found.tasks += len(queued)
        if queued != ended:
            self.found.wrong.append(f"tasks of {subagent}: queued {queued}, ended {ended}")

    async def judge_turns(self, store: Store, parent: str) -> None:
        """Compare the log of turns with what the parent remembers."""
        shown, acked = self.remembered(parent)
        told: set[str] = set()
        begun: dict[str, tuple[str, ...]] = {}
        committed: set[str] = set()
        for row in await store.events(f"parent:{parent}", 0, None):
            event = row.event
            if isinstance(event, TurnBegun):
                begun[event.token] = event.nudges
                self.found.again += [f"{nudge} to {parent}" for nudge in event.nudges if nudge in told]
            elif isinstance(event, TurnCommitted):
                told.update(begun[event.token])
                committed.add(event.token)
                if event.token not in shown:
                    self.found.lost += [f"{nudge} was never seen by {parent}" for nudge in begun[event.token]]
        self.found.turns += len(begun)
        self.found.uncommitted += sum(token not in committed for token in begun)
        self.found.lost += [f"{nudge} was acknowledged and is not" for nudge in acked if nudge not in told and nudge]

    def remembered(self, parent: str) -> tuple[set[str], set[str]]:
        """Return the tokens that were shown, and the nudges that were acknowledged; note what was shown after that."""
        shown, acked = set[str](), set[str]()
        for line in self.journal(parent).read_text().splitlines():
            word, token, *nudges = line.split()
            if word == "shown":
                shown.add(token)
                self.found.again += [f"{nudge} to {parent}, as it remembers" for nudge in nudges if nudge in acked]
            else:
                acked.update(nudges)
        return shown, acked


def figures(found: Found, rounds: int) -> str:
    """Return what came out, as JSON."""
    told: dict[str, object] = {"rounds": rounds, "tasks": found.tasks, "nudges": found.nudges, "turns": found.turns}
    told |= {"turns not committed": found.uncommitted, "lost": len(found.lost), "told again": len(found.again)}
    return json.dumps(told | {"faults": dict(found.faults)})
