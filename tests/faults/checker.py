"""The checker of the storm: judges what a run left behind, and knows nothing of the program that was run.

    python -m tests.faults.checker CASE [--held] [--json]

Standard library only; it imports nothing of the program, and reads the log with SQL of its own. A case is a folder:

    log.db             a copy of the store
    rebuilt.db         one more, in which the program has made of the log alone whatever it makes of it
    parents/NAME.jsonl what a parent did and was told, synced line by line: `sending` and `taken` with the label of a
                       task, `stopping` with a subagent, `shown` with token, text and nudges, `acked` with the token
    agents/ID.jsonl    what an agent saw, each line with the `run` of its process: `start`, `prompt` with id and label,
                       `sent` with label and n, `asked` and `heard` with id (heard: the option), `done` with label;
                       `begun` with label and n: how often it asked its model for that answer, which says it anew;
                       of one that has tools also `called` with tool, done and kind (of a refusal), `shown` with the
                       text of a block, and what a parent has of the tasks that it gives: `sending`, `taken`
    bounds.json        what trees may come to: `depth`, `children` of one at once, `members` in all; without, anything
    faults.json        what was done to whom: a list of {"victim", "subagent", "lethal"}
    left.json          what was still there at the end, as a list of words
    touched.json       what became of things of others that stood beside, as a list of words
    secret             a key that the program was given, and that must stand in no other file of this folder

A task's text says what its agent will say: `[[task:LABEL n=N ...]]` gives the updates `LABEL 1/N` to `LABEL N/N`.
With `--held` an agent is expected to outlive its manager; without, only that nothing untrue is told.
The exit code is 0 when every invariant holds, and 1 otherwise.
"""

import base64
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.faults.case import Case, Stream, Task
from tests.faults.edges import Machine
from tests.faults.projections import differences
from tests.faults.telling import check_again, check_lost, check_made_up, known
from tests.faults.trees import check_rights, check_trees, figures, never_shown

INVARIANTS = {
    "log": "the log has no holes, and no owner writes after a newer one",
    "edges": "events follow each other as the machines allow",
    "projections": "what is made of the log as it grows is what the log alone gives",
    "ends": "every task ends exactly once",
    "acknowledged": "what a parent was told to be taken is in the log, once; what it was not, at most once",
    "lost": "every fact that a parent must know was told in a turn that it acknowledged, or waits",
    "again": "no fact is told again after it was acknowledged",
    "made up": "nothing is told that did not happen, or is over",
    "updates": "what an agent sent is stored in order, without gap or repetition",
    "prompts": "no prompt reaches an agent twice, and none that the log does not know",
    "questions": "each question has one answer, and the agent heard that one",
    "lived": "a task whose agent lived to its end is completed with its full result",
    "unharmed": "an agent that nobody ended was never started again",
    "trees": "nobody outlives who leads it, no tree grows beyond its bounds, and each fact is told to whom it is for",
    "shown": "what an agent that leads others is taken to know, it was shown",
    "rights": "nobody does what only another may, and what one may do stays with it whoever the manager is",
    "left": "no container, volume, process, folder or socket is left",
    "touched": "what is somebody else's stays as it was",
    "secret": "no key is written down, in whatever form",
}


def check_log(case: Case) -> Iterator[str]:
    if case.broken:
        yield f"integrity_check: {case.broken}"
    versions: Counter[str] = Counter()
    seq = epoch = 0
    for row in case.rows:
        versions[row["stream"]] += 1
        if row["version"] != versions[row["stream"]]:
            yield f"{row['stream']} has version {row['version']} where {versions[row['stream']]} is due"
            versions[row["stream"]] = row["version"]
        if row["seq"] != seq + 1:
            yield f"event {row['seq']} follows {seq}"
        if row["epoch"] < epoch:
            yield f"event {row['seq']} was written in epoch {row['epoch']}, after one of epoch {epoch}"
        seq, epoch = row["seq"], max(epoch, row["epoch"])


def check_projections(case: Case) -> Iterator[str]:
    yield from differences(case.folder / "log.db", case.folder / "rebuilt.db")


def check_edges(case: Case) -> Iterator[str]:
    for stream in case.streams.values():
        machine = Machine()
        for index, (kind, data) in enumerate(stream.events):
            if wrong := machine.take(kind, data):
                yield f"{stream.ident}: event {index + 1} ({kind}): {wrong}"


def check_ends(case: Case) -> Iterator[str]:
    for stream in case.streams.values():
        ends = Counter(data["task_id"] for data in stream.of("task_ended"))
        for task in stream.tasks.values():
            if ends[task.ident] != 1:
                yield f"{task.ident} ({task.label}) has {ends[task.ident]} ends"
            if task.started - task.retried > 1:
                yield f"{task.ident} ({task.label}) was started {task.started} times and retried {task.retried} times"
        for ident in set(ends) - set(stream.tasks):
            yield f"{ident} ended and was never queued"


def check_acknowledged(case: Case) -> Iterator[str]:
    tasks = [task for stream in case.streams.values() for task in stream.tasks.values()]
    queued = Counter(task.label for task in tasks if not task.woken)
    sent = {entry["label"] for stream in case.streams.values() for entry in case.announced(stream.ident)}
    for parent, entries in case.parents.items():
        sent |= {entry["label"] for entry in entries if entry["word"] == "sending"}
        for label in sorted({entry["label"] for entry in entries if entry["word"] == "taken"}):
            if not queued[label]:
                yield f"{label} of {parent} was taken and is not in the log"
        for token in sorted(case.acked(parent) - case.committed):
            yield f"the turn {token} of {parent} was acknowledged, and the log does not know"
    for label, count in queued.items():
        if count > 1:
            yield f"{label} is in the log {count} times"
        if label not in sent:
            yield f"{label} is in the log, and nobody sent it"


def sent_by(stream: Stream) -> dict[str, int]:
    """Return how many updates of each task the agent knows to have sent."""
    found: dict[str, int] = defaultdict(int)
    for entry in stream.journal:
        if entry["word"] == "sent":
            found[entry["label"]] = max(found[entry["label"]], entry["n"])
    return found


def tellings(stream: Stream, task: Task) -> list[str]:
    """Return what a task was told; more than once only where its agent is known to have begun its answer anew."""
    first = f"{task.label} 1/{task.n}\n"
    begun = [entry["n"] for entry in stream.journal if entry["word"] == "begun" and entry["label"] == task.label]
    head, *rest = task.text.split(first, max([1, *begun]))
    return [*([head] if head or not rest else []), *(first + each for each in rest)]


def check_updates(case: Case) -> Iterator[str]:
    for stream in case.streams.values():
        sent = sent_by(stream)
        for task in stream.tasks.values():
            wanted = "".join(f"{task.label} {number}/{task.n}\n" for number in range(1, task.n + 1))
            told = tellings(stream, task)
            stored = next((each for each in told if not wanted.startswith(each)), told[-1])
            if not wanted.startswith(stored):
                yield f"{task.ident}: {first_difference(stored, wanted)}"
            elif task.outcome == "completed" and stored != wanted:
                yield f"{task.ident} is completed with {stored.count(chr(10))} of {task.n} updates"
            elif stored.count("\n") > sent[task.label] + 1:
                yield f"{task.ident}: {stored.count(chr(10))} updates are stored, its agent sent {sent[task.label]}"


def first_difference(stored: str, wanted: str) -> str:
    pairs = zip([*stored.split("\n"), ""], [*wanted.split("\n"), ""], strict=False)
    for number, (here, there) in enumerate(pairs, 1):
        if here != there:
            return f"line {number} is {here!r}, not {there!r}"
    return f"{stored[len(wanted) :][:80]!r} follows the last line"


def check_prompts(case: Case) -> Iterator[str]:
    for stream in case.streams.values():
        started = {task.label for task in stream.tasks.values() if task.started}
        failures = Counter({task.label: task.failures for task in stream.tasks.values()})
        prompts = [entry for entry in stream.journal if entry["word"] == "prompt"]
        for label, count in Counter(entry["label"] for entry in prompts).items():
            if count > 1 + failures[label]:  # one taken back unwritten comes once all the same
                yield f"{stream.ident} got the prompt {label} {count} times"
            if label not in started:
                yield f"{stream.ident} got the prompt {label}, which the log does not know as started"
        for ident, count in Counter((entry["run"], str(entry["id"])) for entry in prompts).items():
            if count > 1:
                yield f"{stream.ident} got the id {ident[1]} {count} times"


def check_questions(case: Case) -> Iterator[str]:
    for stream in case.streams.values():
        opened = Counter(data["request_id"] for data in stream.of("request_opened"))
        closed = Counter(data["request_id"] for data in stream.of("request_closed"))
        yield from (f"{stream.ident}: {each} was opened {n} times" for each, n in opened.items() if n > 1)
        yield from (f"{stream.ident}: {each} was answered {n} times" for each, n in closed.items() if n > 1)
        yield from (f"{stream.ident}: {each} was answered and never asked" for each in set(closed) - set(opened))
        answers = Counter(data["answer"] for data in stream.of("request_closed") if data["answer"])
        heard: dict[str, set[str]] = defaultdict(set)
        for entry in stream.journal:
            if entry["word"] == "heard":
                heard[entry["id"]].add(entry["option"])
        yield from (f"{stream.ident}: {each} heard {sorted(what)}" for each, what in heard.items() if len(what) > 1)
        options = Counter(option for what in heard.values() for option in what if option)
        for option, count in (options - answers).items():
            yield f"{stream.ident}: its agent heard {option} {count} times more than the log has it"


def check_lived(case: Case) -> Iterator[str]:
    for stream in case.streams.values():
        done = {entry["label"] for entry in stream.journal if entry["word"] == "done"}
        sent, faults, places = sent_by(stream), case.slayers(stream), slain(case, stream)
        used: set[int] = set()
        for task in stream.tasks.values():
            stored = tellings(stream, task)[-1].count("\n")
            # What a holder had not read yet died with it: each such end may cost one answer that was on its way.
            lossy = [each for each in places.get(task.ident, range(len(faults))) if faults[each] not in AGENT_ONLY]
            if task.by == "parent" or called_off_with_its_leader(stream, task):
                continue
            if task.label in done and task.outcome != "completed":
                excuse = next((each for each in lossy if each not in used), None)
                if excuse is None:
                    yield f"{task.ident} was done by its agent, and is {task.outcome or 'open'}"
                else:
                    used.add(excuse)
            elif stored < sent[task.label] and not lossy:
                yield f"{task.ident}: {stored} updates are stored, and its agent sent {sent[task.label]} in its life"


def called_off_with_its_leader(stream: Stream, task: Task) -> bool:
    """Return whether a task was called off by a stop further up: as by its parent, an answer may cross that."""
    return task.outcome == "cancelled" and any(data["reason"] == "parent_ended" for data in stream.of("stop_requested"))


def slain(case: Case, stream: Stream) -> dict[str, range]:
    """Return for each task under way at a death the places, among the faults, of those that may have been that death.

    Each death has a fault of its own, behind those of the deaths before it and before those of the deaths after it. A
    task that ends its agent itself takes none, and has no place here.
    """
    running, dead = "", []
    for kind, data in stream.events:
        if kind == "task_started":
            running = data["task_id"]
        elif kind in ("task_ended", "task_retried"):
            running = "" if running == data["task_id"] else running
        elif kind == "agent_died" and not (running and stream.tasks[running].dies):
            dead.append(running)
    spare = len(case.slayers(stream)) - len(dead)
    return {task: range(place, place + spare + 1) for place, task in enumerate(dead) if task and spare >= 0}


def check_unharmed(case: Case) -> Iterator[str]:
    for stream in case.streams.values():
        harmed = len(case.lethal(stream))
        restarts = sum(restarts_of_living(stream))
        interrupted = sum(task.outcome == "interrupted" for task in stream.tasks.values())
        if restarts > harmed:
            yield f"{stream.ident} was ended {harmed} times, and its agent was started again {restarts} times"
        if interrupted > harmed:
            yield f"{stream.ident} was ended {harmed} times, and {interrupted} of its tasks are interrupted"
        yield from (f"{task} is interrupted, and its agent died without its prompt" for task in never_begun(stream))


def never_begun(stream: Stream) -> Iterator[str]:
    """Yield the tasks that were interrupted by a death though their prompt was not even to be written by then."""
    waiting, died = "", False
    for kind, data in stream.events:
        if kind == "task_started":
            waiting = data["task_id"]
        elif kind == "prompt_sent":
            waiting = ""
        elif kind == "task_ended" and data["outcome"] == "interrupted" and data["task_id"] == waiting and died:
            yield waiting
        died = kind == "agent_died" or (died and kind != "attempt_started")


def restarts_of_living(stream: Stream) -> Iterator[bool]:
    """Yield for each attempt whether it began, unasked, behind one that had come as far as a session."""
    opened = False
    for kind, data in stream.events:
        opened |= kind == "session_opened"
        if kind == "attempt_started":
            yield opened and not data["by"]
            opened = False


def check_left(case: Case) -> Iterator[str]:
    yield from case.left


def check_touched(case: Case) -> Iterator[str]:
    yield from case.touched


def check_secret(case: Case) -> Iterator[str]:
    for path in sorted(each for each in case.folder.rglob("*") if each.is_file() and each.name != "secret"):
        data = path.read_bytes()
        for words, form in forms(case.secret):
            if form in data:
                yield f"{path.relative_to(case.folder)} holds the key {words}"


def forms(secret: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield in which forms a key may stand somewhere; of base64 what is the same whatever stands around it."""
    yield "as it is", secret
    yield "backwards", secret[::-1]
    yield "in hexadecimal", secret.hex().encode()
    for shift in range(3):
        yield "in base64", base64.b64encode(bytes(shift) + secret)[4 if shift else 0 : -4]


HELD = frozenset({"lived", "unharmed"})
# What a dead agent sent can still be read.
AGENT_ONLY = frozenset(
    {"agent-kill", "agent-stdout", "journal-disk", "manager-and-agent", "model-key", "transport", "itself"}
)
CHECKS = {
    "log": check_log, "edges": check_edges, "projections": check_projections, "ends": check_ends,
    "acknowledged": check_acknowledged, "lost": check_lost, "again": check_again, "made up": check_made_up,
    "updates": check_updates, "prompts": check_prompts, "questions": check_questions, "lived": check_lived,
    "unharmed": check_unharmed, "trees": check_trees, "shown": never_shown, "rights": check_rights,
    "left": check_left, "touched": check_touched, "secret": check_secret,
}  # fmt: skip


def judge(folder: Path, *, held: bool) -> dict[str, Any]:
    """Return the verdict on a case: whether all is well, what was found for each invariant, and figures."""
    case = Case(folder)
    found = {name: list(check(case)) for name, check in CHECKS.items() if held or name not in HELD}
    tasks = [task for stream in case.streams.values() for task in stream.tasks.values()]
    counted = {
        "events": len(case.rows),
        "subagents": len(case.streams),
        "tasks": len(tasks),
        "outcomes": dict(Counter(task.outcome for task in tasks)),
        "updates": sum(task.text.count("\n") for task in tasks),
        "told": sum(known(case).values()),
        "turns": sum(1 for parent in case.parents for _ in case.turns(parent)),
        "acked": sum(len(case.acked(parent)) for parent in case.parents),
        "epochs": len({row["epoch"] for row in case.rows}),
        "trees": figures(case),
        "faults": dict(Counter(each["victim"] for each in case.faults)),
    }
    return {"good": not any(found.values()), "found": found, "figures": counted}


def main(argv: list[str]) -> int:
    verdict = judge(Path(next(word for word in argv if not word.startswith("--"))), held="--held" in argv)
    if "--json" in argv:
        print(json.dumps(verdict))
    else:
        for name, wrong in verdict["found"].items():
            print(f"{len(wrong):6}  {name:13} {INVARIANTS[name]}", *wrong[:20], sep="\n        ! ")
        print(json.dumps(verdict["figures"], indent=1))
    return 0 if verdict["good"] else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
