"""The plan of a storm: which fault comes when, drawn from a seed and from nothing else."""

import random
from dataclasses import dataclass

from tests.faults.storm.points import LOSING, STARTING, TELLING, TREES, WORKING

# How often each fault comes. `lease`: the manager is frozen until its lease is over, another takes its place, it wakes.
WEIGHTS = {
    "manager-kill": 6,
    "manager-term": 2,
    "manager-freeze": 3,
    "manager-replace": 2,
    "manager-lease": 0.5,
    "manager-and-agent": 2,
    "manager-and-container": 2,
    "runtime-and-manager": 1.5,
    "runtime-wipe": 1,
    "runtime-move": 1.5,
    "transport": 1.5,
    "model-key": 1.5,
    "gateway-kill": 3,
    "gateway-freeze": 1.5,
    "gateway-hang": 0.5,
    "journal-disk": 3,
    "agent-kill": 8,
    "agent-stdout": 3,
    "agent-freeze": 4,
    "holder-kill": 3,
    "relay-kill": 2,
    "container-kill": 5,
    "container-remove": 3,
    "container-freeze": 3,
    "parent-kill": 6,
    "host": 1,
    "attach-kill": 6,
    "attach-freeze": 3,
    "engine-term": 5,
    "engine-kill": 5,
    "engine-freeze": 4,
}
# How often a fault comes after some facts of whatever kind; right behind the fault before it; where the manager comes
# first to one of six points, two each of those at which it starts an agent, has it work, and has lost it; and at one of
# those that it comes to all the time.
ANY, NOW = "any", "now"
MOMENTS = {ANY: 4, NOW: 4, "points": 14, "telling": 2}


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: its victim, and at which points it comes, or, without, how many facts it lets pass first."""

    victim: str
    points: tuple[str, ...] = ()
    facts: int = 0


def plan(seed: int, count: int, *, without: frozenset[str] = frozenset()) -> list[Fault]:
    """Return the faults of a storm. A seed gives the same plan wherever the same faults are possible."""
    draw = random.Random(seed)
    victims = [each for each in WEIGHTS if each not in without]
    chosen = draw.choices(victims, [WEIGHTS[each] for each in victims], k=count)
    moments = draw.choices(list(MOMENTS), list(MOMENTS.values()), k=count)
    return [fault(draw, victim, moment) for victim, moment in zip(chosen, moments, strict=True)]


def fault(draw: random.Random, victim: str, moment: str) -> Fault:
    if moment == "points":
        return Fault(victim, tuple(point for each in (STARTING, WORKING, LOSING) for point in draw.sample(each, 2)))
    if moment == "telling":
        return Fault(victim, (draw.choice(TELLING + TREES),))
    return Fault(victim, facts=draw.randrange(1, 12) if moment == ANY else 0)
