"""A storm: a daemon, parents and agents, all of them processes, and faults as planned; then what is left of it, judged.

What a storm leaves is a case (`tests/faults/checker.py` says what is in it), and the checker is run on it as the
program of its own that it is.
"""

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from acp_runtime.callers import OPERATOR
from acp_runtime.core.errors import Rejected
from acp_runtime.detached import wait_for_end
from tests.docker.closure import closure_image
from tests.e2e.daemon_site import BOUND, processes_of
from tests.faults.storm.bystanders import Bystanders, bystanders
from tests.faults.storm.journal_disk import JournalDisk
from tests.faults.storm.own_engine import OwnEngine
from tests.faults.storm.parent import LEADING
from tests.faults.storm.plan import Fault, plan
from tests.faults.storm.points import Met, Points
from tests.faults.storm.site import BOUNDS, KEY, StormSite
from tests.faults.storm.victims import (
    FAULTS,
    NEEDS_ENGINE,
    NEEDS_EXEC,
    NEEDS_MANAGER,
    NEEDS_ROOT,
    NEEDS_ROOT_OVER_EXECS,
    NEEDS_USUAL_ENGINE,
)

ROOT = Path(__file__).parents[3]
PARENTS = ("left", "right")
FLAT = ("numbering", "loading")
POINTED = [sys.executable, "-m", "tests.faults.storm.pointed_daemon"]
REBUILD = "import sys; from tests.faults.storm.rebuild import main; main(sys.argv[1])"
TRIES = 3  # of each fault: some find nobody that they could hit
LOOK_SECONDS = 0.02
POINT_SECONDS = 5.0
VICTIM_SECONDS = 3.0
READY_SECONDS = 90.0
FINISH_SECONDS = 240.0


@dataclass
class Storm:
    """One storm at a site. `agents`: of each parent; `kinds`: of which they are."""

    site: StormSite
    seed: int
    count: int
    agents: int = 2
    kinds: Sequence[str] = (*FLAT, LEADING)
    engine: OwnEngine | None = None
    without: frozenset[str] = frozenset()
    parents: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    done: list[dict[str, Any]] = field(default_factory=list)
    missed: Counter[str] = field(default_factory=Counter)
    disk: JournalDisk | None = None
    strays: list[int] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    beside: Bystanders | None = None
    manager: int = 0
    began: float = 0.0

    def __post_init__(self) -> None:
        self.draw = random.Random(f"storm {self.seed}")
        self.points = Points(self.site.points)
        if os.geteuid() != 0:
            self.without |= NEEDS_ROOT
            self.without |= NEEDS_ROOT_OVER_EXECS if self.site.sockets == "exec" else frozenset()
        self.without |= NEEDS_ENGINE if self.engine is None else NEEDS_USUAL_ENGINE
        if self.site.sockets != "exec":
            self.without |= NEEDS_EXEC

    def play(self, case: Path, *, held: bool) -> dict[str, Any]:
        """Play the storm to its end and return the verdict."""
        self.began = time.perf_counter()
        self.site.command = POINTED
        image = self.site.image or closure_image()
        with self.journals_on_a_small_disk(), bystanders(image, self.site.secret[-8:]) as self.beside:
            self.start_manager()
            for name in PARENTS:
                self.start_parent(name)
            self.wait_for_sessions()
            for fault in self.faults():
                self.meet(fault)
                if len(self.done) == self.count:
                    break
            self.finish()
            self.collect(case)
        return self.judge(case, held=held)

    @contextmanager
    def journals_on_a_small_disk(self) -> Iterator[None]:
        if "journal-disk" in self.without:
            yield
            return
        self.site.disk = self.site.root / "journals"
        self.disk = JournalDisk(self.site.disk)
        try:
            self.disk.mount()
            yield
        finally:
            self.disk.close()

    def faults(self) -> list[Fault]:
        return plan(self.seed, TRIES * self.count, without=self.without)

    def meet(self, fault: Fault) -> None:
        """Wait until the manager comes to the point of a fault, and have the fault come."""
        self.check_parents()
        self.pass_by(fault.facts)
        met = self.stand_still(*fault.points) if fault.points else None
        try:
            if met is not None and fault.victim in NEEDS_MANAGER:
                met.go_on()
            self.strike(fault, met)
        finally:
            if met is not None:
                met.go_on()

    def strike(self, fault: Fault, met: Met | None) -> None:
        """Have a fault come upon the subagent that its point is about, or another; it is missed where none will do."""
        until = time.perf_counter() + VICTIM_SECONDS
        while time.perf_counter() < until:
            for each in ([met.subagent] if met is not None and met.subagent else []) + self.subagents():
                if self.happened(fault, each, met):
                    return
            time.sleep(LOOK_SECONDS)
        self.missed[fault.victim] += 1

    def happened(self, fault: Fault, subagent: str, met: Met | None = None) -> bool:
        """Have a fault come upon a subagent; whether it found somebody there."""
        began = time.perf_counter()
        ended = FAULTS[fault.victim](self, subagent)
        if ended is None:
            return False
        told = {"victim": fault.victim, "subagent": ended or subagent, "lethal": bool(ended)}
        told |= {"points": fault.points, "met": met.point if met is not None else ""}
        told |= {"seconds": round(time.perf_counter() - began, 2), "at": round(began - self.began, 1)}
        self.done.append(told)
        return True

    def stand_still(self, *points: str) -> Met | None:
        """Return the manager where it has come to one of these points in time and stands still there."""
        self.points.arm(*points)
        return self.points.met(POINT_SECONDS) or self.points.disarm()

    def pass_by(self, facts: int) -> None:
        """Let so many facts come to the log, for a while."""
        until, wanted = time.perf_counter() + POINT_SECONDS, self.newest() + facts
        while self.newest() < wanted and time.perf_counter() < until:
            time.sleep(LOOK_SECONDS)

    def wait_for_sessions(self) -> None:
        """Return once there are as many sessions as a parent has agents."""
        until = time.perf_counter() + READY_SECONDS
        asked = "SELECT count(*) FROM event WHERE kind = 'session_opened'"
        while self.site.look(asked)[0][0] < self.agents and time.perf_counter() < until:
            time.sleep(LOOK_SECONDS)

    def newest(self) -> int:
        return int(self.site.look("SELECT coalesce(max(seq), 0) FROM event")[0][0])

    def subagents(self) -> list[str]:
        """Return the open subagents in an order by chance."""
        rows = self.site.look("SELECT id FROM subagent WHERE lifecycle NOT IN ('stopped', 'failed') ORDER BY id")
        found = [str(row[0]) for row in rows]
        self.draw.shuffle(found)
        return found

    def start_manager(self, *argv: str) -> None:
        self.manager = self.site.serve(*argv)

    def start_parent(self, name: str) -> None:
        terms = {"socket": str(self.site.socket), "folder": str(self.site.root), "workspace": str(self.site.workspace)}
        terms |= {"seed": self.seed, "agents": self.agents, **self.terms()}
        argv = [sys.executable, "-m", "tests.faults.storm.parent", json.dumps(terms), name]
        with (self.site.root / f"{name}.err").open("a") as said:
            self.parents[name] = self.site.popen(*argv, stderr=said)

    def terms(self) -> dict[str, Any]:
        """Return what parents are told of the agents that they spawn."""
        model = {"model_url": "http://127.0.0.1:9/v1", "model_key": f"env:{KEY}"}  # asked by nobody
        return {"kinds": self.kinds, "request": model, "limits": {}, "scripted": False}

    def end_parent(self, name: str) -> None:
        self.parents[name].kill()
        self.parents[name].wait(BOUND)

    def check_parents(self) -> None:
        for name, process in self.parents.items():
            assert process.poll() is None, f"{name} has ended: {(self.site.root / f'{name}.err').read_text()}"

    def finish(self) -> None:
        """Have the parents come to their end."""
        (self.site.root / "finish").touch()
        until = time.perf_counter() + FINISH_SECONDS
        for name, process in self.parents.items():
            code = process.wait(max(1.0, until - time.perf_counter()))
            assert code == 0, f"{name} failed: {(self.site.root / f'{name}.err').read_text()}"

    def collect(self, case: Path) -> None:
        """Write the case, and remove what the subagents of this storm kept."""
        (case / "parents").mkdir(parents=True)
        (case / "agents").mkdir()
        copy_store(self.site.store, case / "log.db")
        self.rebuild(case)
        for ledger in self.site.root.glob("*.jsonl"):
            shutil.copy(ledger, case / "parents")
        self.write_journals(case / "agents")
        (case / "bounds.json").write_text(json.dumps(BOUNDS))
        (case / "faults.json").write_text(json.dumps(self.done, indent=1))
        (case / "daemon.log").write_text(self.site.log())
        (case / "left.json").write_text(json.dumps(self.clean_up()))
        (case / "touched.json").write_text(json.dumps(self.beside.touched() if self.beside is not None else []))
        (case / "secret").write_text(self.site.secret)

    def rebuild(self, case: Path) -> None:
        """Have the program that was run make of the log alone what it can, for the checker to compare."""
        copy = case / "rebuilding.db"
        copy_store(case / "log.db", copy)
        done = self.site.run(str(copy), code=REBUILD, PYTHONPATH=f"{self.site.tree}:{ROOT}")
        (case / "rebuilt.txt").write_text(done.stderr)
        if done.returncode == 0:
            copy.rename(case / "rebuilt.db")

    def write_journals(self, folder: Path) -> None:
        for subagent, data in self.site.journals().items():
            (folder / f"{subagent}.jsonl").write_bytes(data)

    def clean_up(self) -> list[str]:
        """Remove the subagents as their operator, end the daemon, and return what is there all the same."""
        old = [pid for pid in self.strays if not wait_for_end(pid, 0)]
        left = [*self.wrong, *self.site.unowned(), *(f"manager {pid}, though another took its place" for pid in old)]
        for pid in self.strays:
            self.site.end(pid, signal.SIGKILL)
        for (subagent,) in self.site.look("SELECT id FROM subagent ORDER BY id"):
            try:
                self.site.client.call("remove", OPERATOR, subagent=subagent)
            except Rejected as error:
                left.append(f"{subagent} cannot be removed: {error}")
        self.site.end(self.manager)
        left += self.site.left()
        return left + [f"process {pid}" for pid in processes_of(self.site.root)]

    def judge(self, case: Path, *, held: bool) -> dict[str, Any]:
        argv = [sys.executable, "-m", "tests.faults.checker", str(case), "--json", *(["--held"] if held else [])]
        told = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
        assert told.stdout, told.stderr
        return dict(json.loads(told.stdout)) | {
            "missed": dict(self.missed),
            "points": self.met_points(),
            "seconds": round(time.perf_counter() - self.began),
        }

    def met_points(self) -> dict[str, Any]:
        """Return how many faults were to come at points, and how many came at which."""
        met = Counter(each["met"] for each in self.done if each["met"])
        return {"planned": sum(bool(each["points"]) for each in self.done), "met": met.total(), "at": dict(met)}


def copy_store(source: Path, target: Path) -> None:
    """Copy a store that may be in use."""
    with (
        closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True)) as here,
        closing(sqlite3.connect(target)) as there,
    ):
        here.backup(there)
