"""A soak: a daemon with many agents in containers, generation after generation, and what it holds on to between them.

    python -m tests.faults.storm.soak SECONDS AGENTS

A generation: parents spawn their agents, keep them busy, stop them, and the operator removes them. Behind each one,
with no subagent left, the daemon is measured. The first generation warms it up and is the baseline.
"""

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from acp_runtime.callers import OPERATOR
from tests.docker.closure import closure_image
from tests.faults.storm.driver import FLAT, PARENTS, Storm
from tests.faults.storm.site import StormSite

LOOK_SECONDS = 0.1
BOUND = 30.0
REST_SECONDS = 1.0
WATCHED = [sys.executable, "-m", "tests.faults.storm.watched_daemon"]
MEMORY_KIB = 64 * 1024


@dataclass(frozen=True)
class Measure:
    """What the daemon holds: memory in KiB, and numbers of things. `threads` are those of no pool."""

    memory: int
    descriptors: int
    threads: int
    pools: int
    tasks: int
    containers: int
    volumes: int
    objects: int

    def beyond(self, base: "Measure") -> dict[str, tuple[int, int]]:
        """Return what is more than at the baseline, and must not be."""
        fixed = ("descriptors", "threads", "pools", "tasks", "containers", "volumes")
        found = {name: (getattr(base, name), getattr(self, name)) for name in fixed}
        found = {name: pair for name, pair in found.items() if pair[1] > pair[0]}
        if self.memory > base.memory + MEMORY_KIB:
            found["memory"] = (base.memory, self.memory)
        return found


@dataclass
class Soak(Storm):
    """A storm without faults that starts over again and again with the same daemon."""

    measures: list[Measure] = field(default_factory=list)
    tasks: int = 0

    def run(self, seconds: float, generation: float) -> list[Measure]:
        """Let generations of so many seconds follow each other, and return the measures, the baseline first."""
        self.site.command = WATCHED
        self.start_manager()
        until = time.perf_counter() + seconds
        while not self.measures or time.perf_counter() < until:
            self.live(generation)
            self.measures.append(self.measure())
            print(json.dumps(asdict(self.measures[-1])), f"{self.tasks} tasks", flush=True)
        self.site.end(self.manager)
        return self.measures

    def live(self, seconds: float) -> None:
        """One generation."""
        for name in PARENTS:
            self.start_parent(name)
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            self.check_parents()
            time.sleep(LOOK_SECONDS)
        self.finish()
        (self.site.root / "finish").unlink()
        self.tasks += self.site.look("SELECT count(*) FROM task WHERE state = 'completed'")[0][0]
        for (subagent,) in self.site.look("SELECT id FROM subagent ORDER BY id"):
            self.site.client.call("remove", OPERATOR, subagent=subagent)

    def measure(self) -> Measure:
        """Measure the daemon once it has come to rest."""
        found = [self.look()]
        until = time.perf_counter() + BOUND
        while time.perf_counter() < until:
            time.sleep(REST_SECONDS)
            found.append(self.look())
            if not (found[-1].beyond(found[-2]) or found[-2].beyond(found[-1])):
                break
        return found[-1]

    def look(self) -> Measure:
        told = self.asked()
        status = Path(f"/proc/{self.manager}/status").read_text()
        fields = dict(line.split(":", 1) for line in status.splitlines())
        left = self.site.left()
        return Measure(
            memory=int(fields["VmRSS"].split()[0]),
            threads=int(fields["Threads"]) - told["pooled"],
            pools=told["pools"],
            descriptors=sum(1 for _ in Path(f"/proc/{self.manager}/fd").iterdir()),
            tasks=told["tasks"],
            objects=told["objects"],
            containers=sum(each.startswith("container ") for each in left),
            volumes=sum(each.startswith("volume ") for each in left),
        )

    def asked(self) -> dict[str, Any]:
        """Have the daemon write what only it can count."""
        self.site.watched.unlink(missing_ok=True)
        os.kill(self.manager, signal.SIGUSR1)
        until = time.perf_counter() + BOUND
        while time.perf_counter() < until:
            with suppress(FileNotFoundError):
                return dict(json.loads(self.site.watched.read_text()))
            time.sleep(LOOK_SECONDS)
        raise AssertionError(f"the daemon does not say what it holds: {self.site.log()[-2000:]}")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults.storm.soak", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("seconds", type=float, help="how long, the first generation included")
    parser.add_argument("agents", type=int, help="how many agents live at once")
    terms = parser.parse_args()
    seconds, agents = terms.seconds, terms.agents
    root = Path(tempfile.mkdtemp(prefix="soak-"))
    site = StormSite(root, image=closure_image())
    try:
        measures = Soak(site, 1, 0, agents=agents // len(PARENTS), kinds=FLAT).run(seconds, min(240.0, seconds / 3))
    finally:
        site.close()
        site.remove_all()
        shutil.rmtree(root)
    beyond = measures[-1].beyond(measures[0])
    print("back at the baseline" if not beyond else f"beyond the baseline: {beyond}")
    return 1 if beyond else 0


if __name__ == "__main__":
    sys.exit(main())
