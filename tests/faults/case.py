"""A case as the checker reads it: the log, what the parents did and were told, and what the agents saw.

Standard library only, and nothing of this project: see `tests/faults/checker.py` for what a case consists of.
"""

import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TASK = re.compile(r"\[\[task:(?P<label>\S+) n=(?P<n>\d+)[^\]]*\]\]")
CALLS = "calls:"  # before the id of a subagent, in the name of the stream of what its model was asked
LEADER = "subagent:"  # before the id of one that leads others, where it is their parent
LEDGER = ("sending", "taken")
DIES = re.compile(r" die=[1-9]")
LINE = re.compile(r"- [^\"()]* \((?P<subagent>[^\"()]*)\)(?: (?P<about>task|request) (?P<subject>\S+))? (?P<rest>.*)")


@dataclass
class Task:
    """One task of the log. `retried` counts how often it was queued again, `failures` those of its model alone.

    `woken`: it is its manager's; its agent knows it by the id of its prompt, so that is its label.
    """

    ident: str
    label: str
    n: int
    dies: bool = False
    woken: bool = False
    started: int = 0
    retried: int = 0
    failures: int = 0
    outcome: str = ""
    by: str = ""
    said: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(self.said)


@dataclass
class Stream:
    """The log of one subagent."""

    ident: str
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    tasks: dict[str, Task] = field(default_factory=dict)
    journal: list[dict[str, Any]] = field(default_factory=list)

    @property
    def requested(self) -> dict[str, Any]:
        return next(self.of("subagent_requested"), {})

    @property
    def parent(self) -> str:
        return str(self.requested.get("parent", ""))

    @property
    def permissions(self) -> str:
        return str(self.requested.get("permissions", ""))

    @property
    def order(self) -> dict[str, Any]:
        return dict(self.requested.get("order", {}))

    @property
    def role(self) -> str:
        return str(self.order.get("lineage", {}).get("role", ""))

    @property
    def depth(self) -> int:
        return max(1, len(self.order.get("lineage", {}).get("above", ())))

    def of(self, *kinds: str) -> Iterator[dict[str, Any]]:
        return (data for kind, data in self.events if kind in kinds)


@dataclass
class Told:
    """One line of a turn: `key` names the fact by what the line says, `nudge` is the id it was shown under."""

    key: tuple[str, ...]
    nudge: str
    token: str
    headline: str


class Case:
    """A case as it was read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows: list[sqlite3.Row] = []
        self.streams: dict[str, Stream] = {}
        self.waiting: list[tuple[str, str, str, str]] = []
        self.of_parents: list[tuple[str, dict[str, Any]]] = []
        self.leaders: dict[str, list[dict[str, Any]]] = {}
        self.broken = ""
        self._read_log(folder / "log.db")
        self.parents = {each.stem: lines(each) for each in sorted((folder / "parents").glob("*.jsonl"))}
        for stream in self.streams.values():
            stream.journal = lines(folder / "agents" / f"{stream.ident}.jsonl")
        for parent in {*self.leaders, *(f"{LEADER}{each}" for each in self.streams if self.announced(each))}:
            self.parents[parent] = [*self.leaders.get(parent, ()), *self.announced(parent)]
        bounds = folder / "bounds.json"
        self.bounds: dict[str, int] = json.loads(bounds.read_text()) if bounds.exists() else {}
        self.faults: list[dict[str, Any]] = json.loads((folder / "faults.json").read_text())
        self.left: list[str] = json.loads((folder / "left.json").read_text())
        self.touched: list[str] = json.loads((folder / "touched.json").read_text())
        self.secret = (folder / "secret").read_bytes()

    def _read_log(self, path: Path) -> None:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            connection.row_factory = sqlite3.Row
            found = connection.execute("PRAGMA integrity_check").fetchone()[0]
            self.broken = "" if found == "ok" else str(found)
            self.rows = connection.execute("SELECT * FROM event ORDER BY seq").fetchall()
            asked = "SELECT subagent, about, subject, id FROM nudge WHERE state IN ('pending', 'claimed')"
            self.waiting = [tuple(row) for row in connection.execute(asked)]
        for row in self.rows:
            if row["stream"].startswith(CALLS):
                continue
            if not row["stream"].startswith("parent:"):
                stream = self.streams.setdefault(row["stream"], Stream(row["stream"]))
                stream.events.append((row["kind"], json.loads(row["data"])))
            else:
                self.of_parents.append((row["kind"], json.loads(row["data"])))
                self._read_turn(row["stream"].removeprefix("parent:"), *self.of_parents[-1])
        for stream in self.streams.values():
            read_tasks(stream)

    def _read_turn(self, parent: str, kind: str, data: dict[str, Any]) -> None:
        """Take a turn of one that leads others: it keeps no ledger, so what the log has stands for what it was told."""
        word = {"turn_begun": "shown", "turn_committed": "acked"}.get(kind)
        if word is not None and parent.startswith(LEADER):
            self.leaders.setdefault(parent, []).append({**data, "word": word})

    def announced(self, parent: str) -> list[dict[str, Any]]:
        """Return what an agent noted of the tasks that it gave; `parent`: its id, or the name it leads by."""
        stream = self.streams.get(parent.removeprefix(LEADER))
        return [] if stream is None else [entry for entry in stream.journal if entry["word"] in LEDGER]

    @property
    def committed(self) -> set[str]:
        """Return the tokens of the turns that the log knows as acknowledged."""
        return {data["token"] for kind, data in self.of_parents if kind == "turn_committed"}

    def slayers(self, stream: Stream) -> list[str]:
        """Return the faults that ended this subagent's agent, in their order."""
        return [each["victim"] for each in self.faults if each["lethal"] and each["subagent"] in (stream.ident, "*")]

    def lethal(self, stream: Stream) -> list[str]:
        """Return whose end ended this subagent's agent, once for each time."""
        return self.slayers(stream) + ["itself" for task in stream.tasks.values() if task.dies and task.started]

    def turns(self, parent: str) -> Iterator[tuple[str, list[Told]]]:
        """Yield what each turn told, in the order in which they were shown."""
        for entry in self.parents[parent]:
            if entry["word"] == "shown":
                yield entry["token"], list(told(entry))

    def acked(self, parent: str) -> set[str]:
        return {entry["token"] for entry in self.parents[parent] if entry["word"] == "acked"}


def lines(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a journal; a last one that was cut by a death is no line."""
    if not path.exists():
        return []
    whole = path.read_text(encoding="utf-8").rpartition("\n")[0]
    return [json.loads(line) for line in whole.split("\n") if line]


def told(entry: dict[str, Any]) -> Iterator[Told]:
    """Yield the facts that the text of a turn tells, which stand before the roster, one line each."""
    text: str = entry["text"]
    if "Since your last turn:" not in text:
        return
    news = text.split("Since your last turn:\n", 1)[1].split("\nYour background subagents:", 1)[0]
    found = [match for line in news.split("\n") if (match := LINE.fullmatch(line)) is not None]
    nudges = entry["nudges"] if len(entry["nudges"]) == len(found) else [""] * len(found)
    for match, nudge in zip(found, nudges, strict=True):
        about, headline = match["about"] or "subagent", re.split(r"[:.] \"| \(", match["rest"])[0]
        subject = match["subject"] or nudge
        yield Told((match["subagent"], about, subject), nudge, entry["token"], headline)


def read_tasks(stream: Stream) -> None:
    for kind, data in stream.events:
        ident = data.get("task_id")
        task = stream.tasks.get(ident or "")
        if kind == "task_queued":
            found = TASK.search(data["text"])
            label, n = (found["label"], int(found["n"])) if found else ("", 0)
            dies, woken = bool(DIES.search(data["text"])), bool(data.get("woken"))
            stream.tasks[data["task_id"]] = Task(data["task_id"], label, n, dies, woken)
        elif task is None:
            continue
        elif kind == "task_started":
            task.started += 1
        elif kind == "prompt_sent" and task.woken:
            task.label = f"wake-{data['request']}"
        elif kind == "task_retried":
            task.retried += 1
            task.failures = max(task.failures, data["number"])
        elif kind == "task_ended" and not task.outcome:
            task.outcome, task.by = data["outcome"], data["by"]
        elif kind == "transcript_added" and data["entry"].get("role") == "agent":
            task.said.append(data["entry"]["text"])
