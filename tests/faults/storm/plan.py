"""The plan of a storm: which fault comes when, drawn from a seed and from nothing else."""

import random
from dataclasses import dataclass

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
# Facts upon which a fault comes; "any" comes after some facts of whatever kind, "now" right behind the fault before it.
FAILPOINTS = (
    "any", "any", "any", "any", "now", "now", "now", "now", "subagent_requested", "attempt_started", "step_reached",
    "session_opened", "task_queued", "task_started", "prompt_sent", "transcript_added", "request_opened",
    "request_closed", "task_ended", "turn_begun", "turn_committed", "channel_lost", "channel_recovered",
    "stop_requested",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: its victim, the fact upon which it comes, and how many facts of that kind it lets pass first."""

    victim: str
    failpoint: str
    number: int


def plan(seed: int, count: int, *, without: frozenset[str] = frozenset()) -> list[Fault]:
    """Return the faults of a storm. A seed gives the same plan wherever the same faults are possible."""
    draw = random.Random(seed)
    victims = [each for each in WEIGHTS if each not in without]
    weights = [WEIGHTS[each] for each in victims]
    faults = []
    for victim in draw.choices(victims, weights, k=count):
        failpoint = draw.choice(FAILPOINTS)
        faults.append(Fault(victim, failpoint, draw.randrange(1, 12) if failpoint == "any" else 1))
    return faults
