"""What parents were told, as the checker of the storm judges it: all that they must know, once, and nothing else."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

from tests.faults.case import Case, Stream, Told, told

ENDS = {
    "stopped_by_operator": "stopped",
    "stopped_by_ancestor": "stopped",
    "parent_ended": "stopped",
    "start_failed": "failed",
    "start_timeout": "timed out",
    "idle_timeout": "timed out",
    "max_lifetime_exceeded": "timed out",
    "agent_died": "failed",
    "channel_lost": "was given up",
    "cancel_ignored": "failed",
    "manager_failed": "failed",
}


def due(stream: Stream) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield each fact that the parent of a subagent must know, and the words for it."""
    for request in still_asked(stream):
        yield (stream.ident, "request", request), "the question is open"
    for data in stream.of("task_ended"):
        if data["by"] != "parent":
            yield (stream.ident, "task", data["task_id"]), f"the task {data['outcome']}"
    for word, words in about_itself(stream):
        yield (stream.ident, "subagent", word), words


def still_asked(stream: Stream) -> set[str]:
    """Return the questions that are open at the end of the log: one goes with its task, and all with their subagent."""
    asked: dict[str, str] = {}
    for kind, data in stream.events:
        if kind == "request_opened":
            asked[data["request_id"]] = data["task_id"]
        elif kind == "request_closed":
            asked.pop(data["request_id"], None)
        elif kind == "task_ended":
            asked = {request: task for request, task in asked.items() if task != data["task_id"]}
        elif kind in ("subagent_stopped", "subagent_failed"):
            asked.clear()
    return set(asked)


def about_itself(stream: Stream) -> Iterator[tuple[str, str]]:
    """Yield what must be known of a subagent as such: its end where no task tells it, its losses and returns."""
    running: set[str] = set()
    stopping, lost = "", False
    for kind, data in stream.events:
        back = kind in ("session_opened", "channel_recovered")
        if kind == "task_queued":
            running.add(data["task_id"])
        elif kind == "task_ended":
            running.discard(data["task_id"])
            if stopping and result_of_its_own(data, stopping):
                yield "end", f"it ended beside the result of its task: {stopping}"
                stopping = ""
        elif kind == "stop_requested" and data["by"] != "parent" and data["reason"] != "finished":
            stopping = data["reason"] if running and data["by"] != "agent" else ""
            if not running:
                yield "end", f"it ended: {data['reason']}"
        elif kind in ("subagent_stopped", "subagent_failed"):
            stopping = ""
        elif back and (lost or data.get("opening") == "lost"):
            yield "recovered", "its agent is back" if lost else "its session was lost"
        lost = (lost or kind == "loss_confirmed") and not back and kind != "stop_requested"
    if lost:
        yield "lost", "it is out of reach"


def result_of_its_own(ended: dict[str, Any], reason: str) -> bool:
    """Return whether a task tells what came of itself, and not the end of its subagent, which has this reason."""
    return ended["by"] == "agent" or (ended["by"] == "parent" and reason == "channel_lost")


def known(case: Case) -> Counter[tuple[str, ...]]:
    """Count what parents know: lines of turns that they acknowledged. What is about a subagent counts by headline."""
    found: Counter[tuple[str, ...]] = Counter()
    for parent in case.parents:
        acked = case.acked(parent) | case.committed
        lines_told = {each.key: each for token, each_told in case.turns(parent) if token in acked for each in each_told}
        for key, each in lines_told.items():
            found[fact(key, each.headline)] += 1
    for subagent, about, subject, _ in case.waiting:
        found[(subagent, about, subject) if about != "subagent" else (subagent, about, "waiting")] += 1
    return found


def fact(key: tuple[str, ...], headline: str) -> tuple[str, ...]:
    if key[1] != "subagent":
        return key
    word = {"recovered": "recovered", "is out of reach": "lost"}.get(headline, "end")
    return (*key[:2], word)


def check_lost(case: Case) -> Iterator[str]:
    have = known(case)
    for stream in case.streams.values():
        wanted = Counter(key for key, _ in due(stream))
        words = dict(due(stream))
        spare = have[(stream.ident, "subagent", "waiting")]
        for key, count in wanted.items():
            missing = count - have[key]
            if missing > 0 and key[1] == "subagent":
                missing, spare = missing - min(missing, spare), spare - min(missing, spare)
            if missing > 0:
                yield f"{' '.join(key)}: {words[key]}, and its parent was not told"


def check_again(case: Case) -> Iterator[str]:
    for parent, entries in case.parents.items():
        acked: set[tuple[str, ...]] = set()
        shown: dict[str, list[Told]] = {}
        for entry in entries:
            if entry["word"] == "shown":
                now = list(told(entry))
                again = entry["token"] in shown
                shown[entry["token"]] = now
                twice = [key for key, count in Counter(each.key for each in now).items() if count > 1]
                yield from (f"{' '.join(key)} stands twice in one turn of {parent}" for key in twice)
                late = [] if again else [each.key for each in now if each.key in acked]
                yield from (f"{' '.join(key)} was told to {parent} after it was acknowledged" for key in late)
            elif entry["word"] == "acked":
                acked |= {each.key for each in shown.get(entry["token"], [])}
    yield from told_after_commit(case)
    yield from waiting_after_commit(case)
    for about, told_ids, happened in told_of_themselves(case):
        if len(told_ids) > happened > 0:
            yield f"{about} {happened} times, and is told under {len(told_ids)} ids: {' '.join(sorted(told_ids))}"


def told_after_commit(case: Case) -> Iterator[str]:
    """Yield the facts that a turn tells though an earlier one that told them was committed, as the log has it."""
    begun: dict[str, list[Told]] = {}
    committed: set[tuple[str, ...]] = set()
    for kind, data in case.of_parents:
        if kind == "turn_begun":
            begun[data["token"]] = list(told(data))
            late = [each.key for each in begun[data["token"]] if each.key in committed]
            yield from (f"{' '.join(key)} is told in {data['token']} after it was committed" for key in late)
        elif kind == "turn_committed":
            committed |= {each.key for each in begun.get(data["token"], [])}


def waiting_after_commit(case: Case) -> Iterator[str]:
    """Yield the facts that wait to be told though a turn that told them was acknowledged."""
    tokens = case.committed.union(*map(case.acked, case.parents))
    turns = [turn for parent in case.parents for turn in case.turns(parent)]
    done = [each for token, told_then in turns if token in tokens for each in told_then]
    keys, nudges = {each.key for each in done}, {each.nudge for each in done}
    for subagent, about, subject, nudge in case.waiting:
        if nudge in nudges or (subagent, about, subject) in keys:
            yield f"{subagent} {about} {subject} waits as {nudge}, and was acknowledged"


def told_of_themselves(case: Case) -> Iterator[tuple[str, set[str], int]]:
    """Yield what is told of a subagent as such: the fact, the nudges under which it is told, how often it happened.

    Yielded after each turn that tells it, with what had happened before that turn was begun.
    """
    happened: Counter[tuple[str, str]] = Counter()
    nudges: dict[tuple[str, str], set[str]] = defaultdict(set)
    lost: set[str] = set()
    for row in case.rows:
        data = json.loads(row["data"])
        if row["kind"] == "turn_begun":
            for each in told(data):
                if each.key[1] == "subagent":
                    about = (each.key[0], each.headline)
                    nudges[about].add(each.nudge)
                    yield f"{' '.join(about)}", nudges[about], happened[about]
        elif word := headline(row["kind"], data, lost=row["stream"] in lost):
            happened[(row["stream"], word)] += 1
        if row["kind"] == "loss_confirmed":
            lost.add(row["stream"])
        elif row["kind"] in ("session_opened", "channel_recovered"):
            lost.discard(row["stream"])


def headline(kind: str, data: dict[str, Any], *, lost: bool) -> str:
    """Return in which words an event is told of a subagent as such; empty for one that is not."""
    if kind == "loss_confirmed":
        return "is out of reach"
    if kind in ("session_opened", "channel_recovered"):
        return "recovered" if lost or data.get("opening") == "lost" else ""
    if kind == "stop_requested" and data["by"] != "parent":
        return ENDS.get(data["reason"], "")
    return ""


def check_made_up(case: Case) -> Iterator[str]:
    for parent, entries in case.parents.items():
        for entry in entries:
            if entry["word"] != "shown":
                continue
            lines_told = list(told(entry))
            if len(lines_told) != len(entry["nudges"]):
                yield f"{entry['token']} of {parent} claims {len(entry['nudges'])} nudges and tells {len(lines_told)}"
            for each in lines_told:
                if wrong := untrue(case, each):
                    yield f"{each.token} of {parent}: {wrong}"
    yield from shown_otherwise(case)
    yield from closed_before_shown(case)
    yield from (f"{about} is told, and it never was" for about, _, times in told_of_themselves(case) if not times)


def shown_otherwise(case: Case) -> Iterator[str]:
    """Yield the turns that showed a parent another text than the log has for them."""
    begun = {(data["token"], data["text"]) for kind, data in case.of_parents if kind == "turn_begun"}
    for parent, entries in case.parents.items():
        for entry in entries:
            if entry["word"] == "shown" and (entry["token"], entry["text"]) not in begun:
                yield f"{entry['token']} of {parent} shows what the log does not have"


def untrue(case: Case, each: Told) -> str:
    subagent, about, subject = each.key
    stream = case.streams.get(subagent)
    if stream is None:
        return f"nobody knows {subagent}"
    if about == "task":
        task = stream.tasks.get(subject)
        if task is None or not task.outcome:
            return f"{subject} has not ended"
        if not each.headline.startswith(task.outcome.replace("_", " ")):
            return f"{subject} is told as {each.headline} and {task.outcome}"
    elif about == "request" and subject not in {data["request_id"] for data in stream.of("request_opened")}:
        return f"{subject} was never asked"
    return ""


def closed_before_shown(case: Case) -> Iterator[str]:
    """Yield the questions that were closed in the log before a turn that asks them was begun."""
    closed: dict[tuple[str, str], int] = {}
    for row in case.rows:
        data = json.loads(row["data"])
        if row["kind"] == "request_closed":
            closed[(row["stream"], data["request_id"])] = row["seq"]
        elif row["kind"] == "turn_begun":
            for each in told({"text": data["text"], "nudges": data["nudges"], "token": data["token"]}):
                if each.key[1] == "request" and (each.key[0], each.key[2]) in closed:
                    yield f"{each.token} asks {each.key[2]} of {each.key[0]}, which was closed"
