"""A manager dies at each point of the storm once, and nothing is lost: what the faults of a storm meet by chance."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from acp_runtime.api.errors import DaemonError
from acp_runtime.api.unix_client import UnixClient
from tests.faults.storm.driver import FLAT, ROOT, Storm
from tests.faults.storm.parent import LEADING
from tests.faults.storm.plan import Fault
from tests.faults.storm.points import POINTS, TREES, Met, Points
from tests.faults.storm.site import StormSite

pytestmark = [pytest.mark.docker, pytest.mark.requirement("D08.11")]

# One start of an agent after another, each cut short one step further on, and a prompt of which only its holder knows.
DAILY = ("container-made", "container-started", "holder-started", "attached", "prompt-written")
THREE = """
from tests.faults.storm.pointed_daemon import reached
for name in ("one", "two", "three"):
    reached(name)
    print(name, flush=True)
"""
# To these only a manager comes that takes up a living agent.
TAKING_UP = ("attaching-again", "attached-again", "before:channel_recovered", "channel_recovered")
COMES_SECONDS = 60.0
BY_ITSELF_SECONDS = 3.0
"""A point to which no manager comes for so long is provoked."""


@dataclass
class Pointed(Storm):
    """A storm in which each fault waits for its point, which comes: an agent is ended where it does not by itself."""

    victim: str = "manager-kill"
    at: tuple[str, ...] = ()
    unmet: list[str] = field(default_factory=list)

    def faults(self) -> list[Fault]:
        return [Fault(self.victim, (point,)) for point in self.at]

    def stand_still(self, *points: str) -> Met | None:
        self.points.arm(*points)
        met = self.points.met(BY_ITSELF_SECONDS)
        if met is None:
            self.provoke(*points)
            met = self.points.met(COMES_SECONDS) or self.points.disarm()
        self.unmet += () if met is not None else points
        return met

    def provoke(self, point: str) -> None:
        """Have a manager start an agent, or a subagent, or have another manager take the living up."""
        if point in ("volume-made", "subagent_requested", "stop_requested", *TREES[1:]):
            client = UnixClient(self.site.socket, bound=BY_ITSELF_SECONDS)
            ready = "SELECT id, parent FROM subagent WHERE lifecycle = 'ready' AND parent NOT LIKE 'subagent:%'"
            for each, parent in self.site.look(ready)[:1]:
                with suppress(DaemonError):  # it stands still in the middle of it
                    client.call("stop", parent, subagent=each, finished=True)
            return
        ends = "manager-kill" if point in TAKING_UP else "agent-kill"
        until = time.perf_counter() + BY_ITSELF_SECONDS
        while time.perf_counter() < until:
            if any(self.happened(Fault(ends), each) for each in self.subagents()):
                return


def points(site: StormSite, victim: str, *at: str, kinds: Sequence[str] = FLAT) -> None:
    storm = Pointed(site, 1, len(at) * 2, agents=1, kinds=kinds, victim=victim, at=at)
    verdict = storm.play(site.root / "case", held=True)
    print(f"{victim}:", json.dumps(verdict["points"]), f"missed {verdict['missed']}, {verdict['seconds']} s")
    assert {name: wrong for name, wrong in verdict["found"].items() if wrong} == {}
    assert storm.unmet == []


def test_a_manager_stands_still_at_its_point_and_nowhere_else(tmp_path: Path) -> None:
    points = Points(tmp_path / "points")
    points.arm("two", "four")
    env = {**os.environ, "POINTS": str(points.folder), "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, "-c", THREE], env=env, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        met = points.met(COMES_SECONDS)
        assert met == Met("two", process.pid, "")
        assert os.read(process.stdout.fileno(), 100) == b"one\n"
        met.go_on()
        assert process.communicate(timeout=COMES_SECONDS)[0] == b"two\nthree\n"


def test_a_point_to_which_nobody_came_is_not_taken_for_met(tmp_path: Path) -> None:
    points = Points(tmp_path / "points")
    points.arm("never")
    assert points.met(0) is None
    assert points.disarm() is None
    assert list(points.folder.iterdir()) == []


@pytest.mark.timeout(300)
def test_a_manager_that_dies_at_a_step_that_the_log_does_not_know_loses_nothing(site: StormSite) -> None:
    points(site, "manager-kill", *DAILY)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("victim", ["manager-kill", "manager-and-agent", "container-kill"])
def test_nothing_is_lost_at_any_point(site: StormSite, victim: str) -> None:
    points(site, victim, *(each for each in POINTS if each not in TREES))


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("victim", ["manager-kill", "container-kill", "relay-kill"])
def test_nothing_is_lost_where_one_that_leads_others_is_told_of_them_or_ends(site: StormSite, victim: str) -> None:
    points(site, victim, *TREES * 2, kinds=(LEADING,))
