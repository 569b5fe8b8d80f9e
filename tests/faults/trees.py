"""Agents that lead others, as the checker of the storm judges them: their trees, what they know, what they may do."""

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

from tests.faults.case import LEADER, Case, Stream

# What a subagent has of who leads it, and no other.
GIVEN = ("preset", "confinement", "workspace", "model_url", "model_key", "egress")
OF_WHO_LEADS, OF_OTHERS = "spawn_background_subagent", "get_background_subagent_status"
PERMITTING = ("permission", "egress", "login")
ENDS = ("subagent_stopped", "subagent_failed")


def leader(case: Case, stream: Stream) -> Stream | None:
    """Return who leads a subagent, None for one of an outer parent."""
    return case.streams.get(stream.parent.removeprefix(LEADER)) if stream.parent.startswith(LEADER) else None


def top(case: Case, stream: Stream) -> Stream:
    """Return the first subagent of the tree that a subagent is in."""
    while (above := leader(case, stream)) is not None:
        stream = above
    return stream


def check_trees(case: Case) -> Iterator[str]:
    yield from outlived(case)
    yield from beyond_bounds(case)
    yield from misdirected(case)


def outlived(case: Case) -> Iterator[str]:
    """Yield who goes on though who leads it has ended."""
    living: set[str] = set()
    for row in case.rows:
        who, kind = row["stream"], row["kind"]
        if kind in ("subagent_requested", "attempt_started"):
            living.add(who)
        elif kind in ENDS:
            living.discard(who)
            led = [each for each in sorted(living) if case.streams[each].parent == f"{LEADER}{who}"]
            yield from (f"{each} goes on, and {who}, which leads it, has ended" for each in led)
    for stream in case.streams.values():
        if stream.ident in living and stream.parent.startswith(LEADER) and leader(case, stream) is None:
            yield f"{stream.ident} is led by {stream.parent}, of which the log knows nothing"


def beyond_bounds(case: Case) -> Iterator[str]:
    if not case.bounds:
        return
    members = Counter(top(case, stream).ident for stream in case.streams.values())
    for tree, count in members.items():
        if count > case.bounds["members"]:
            yield f"the tree of {tree} has had {count} members, and {case.bounds['members']} are allowed"
    yield from (
        f"{stream.ident} is at depth {stream.depth}, and {case.bounds['depth']} are allowed"
        for stream in case.streams.values()
        if stream.depth > case.bounds["depth"]
    )
    led: dict[str, set[str]] = {}
    for row in case.rows:
        stream = case.streams.get(row["stream"])
        if stream is None or not stream.parent.startswith(LEADER):
            continue
        at_once = led.setdefault(stream.parent, set())
        if row["kind"] in ENDS:
            at_once.discard(stream.ident)
        elif row["kind"] == "subagent_requested":
            at_once.add(stream.ident)
            if len(at_once) > case.bounds["children"]:
                yield f"{stream.parent} leads {len(at_once)} at once, and {case.bounds['children']} are allowed"


def misdirected(case: Case) -> Iterator[str]:
    """Yield what somebody was told that is for another: the root is asked for permissions, the parent told the rest."""
    for parent in case.parents:
        for token, told in case.turns(parent):
            for each in told:
                stream = case.streams.get(each.key[0])
                wanted = stream and (asked(case, stream, each.key[2]) if each.key[1] == "request" else stream.parent)
                if wanted and wanted != parent:
                    yield f"{token} tells {parent} of {' '.join(each.key)}, which is for {wanted}"


def asked(case: Case, stream: Stream, request: str) -> str:
    kinds = {data["request_id"]: data.get("kind", "") for data in stream.of("request_opened")}
    return top(case, stream).parent if kinds.get(request) in PERMITTING else stream.parent


def check_rights(case: Case) -> Iterator[str]:
    for stream in case.streams.values():
        yield from (f"{stream.ident}: {each}" for each in taken(stream))
        above = leader(case, stream)
        if above is None:
            continue
        if above.role != "orchestrator":
            yield f"{stream.ident} was spawned by {above.ident}, which is {above.role or 'nobody who leads'}"
        for name in GIVEN:
            if stream.order.get(name) != above.order.get(name):
                yield f"{stream.ident} has another {name} than {above.ident}, which leads it"
        if stream.permissions != above.permissions:
            yield f"{stream.ident} has the permissions {stream.permissions}, who leads it {above.permissions}"


def taken(stream: Stream) -> Iterator[str]:
    """Yield what an agent got by its tools that it has no right to, and where it was turned away and has one."""
    refused: set[str] = set()
    for entry in stream.journal:
        if entry["word"] == "prompt" and entry["run"] in refused:
            yield "it was turned away from its tools, and is the one that works"
        if entry["word"] != "called":
            continue
        if entry["kind"] == "token_refused":
            refused.add(entry["run"])
        if entry["done"] and entry["tool"] == OF_WHO_LEADS and stream.role != "orchestrator":
            yield "it leads nobody, and could spawn"
        if entry["done"] and entry["tool"] == OF_OTHERS:
            yield "it was told of somebody else's"


def never_shown(case: Case) -> Iterator[str]:
    """Yield what one that leads others is taken to know, and its agent was never shown."""
    for parent, entries in case.parents.items():
        if not parent.startswith(LEADER):
            continue
        stream = case.streams[parent.removeprefix(LEADER)]
        texts = {entry["text"] for entry in stream.journal if entry["word"] == "shown"}
        turns = [entry for entry in entries if entry["word"] == "shown"]
        seen = {nudge for turn in turns if turn["text"] in texts for nudge in turn["nudges"]}
        told = {nudge: turn["token"] for turn in turns if turn["token"] in case.committed for nudge in turn["nudges"]}
        for nudge in sorted(set(told) - seen):
            yield f"{parent} acknowledged {nudge} in {told[nudge]}, and its agent was never shown it"


def figures(case: Case) -> dict[str, Any]:
    """Return how much there was of trees. `behind`: subagents of an agent that was taken up by a later manager."""
    began: dict[str, int] = {}
    behind = 0
    for row in case.rows:
        if row["kind"] == "attempt_started":
            began[row["stream"]] = row["epoch"]
        elif row["kind"] == "subagent_requested":
            above = str(json.loads(row["data"]).get("parent", "")).removeprefix(LEADER)
            behind += began.get(above, row["epoch"]) < row["epoch"]
    called = [entry for stream in case.streams.values() for entry in stream.journal if entry["word"] == "called"]
    return {
        "led": sum(stream.parent.startswith(LEADER) for stream in case.streams.values()),
        "behind": behind,
        "woken": sum(task.woken for stream in case.streams.values() for task in stream.tasks.values()),
        "calls": dict(Counter(entry["kind"] or "done" for entry in called)),
    }
