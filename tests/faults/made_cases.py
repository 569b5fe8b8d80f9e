"""Cases for the checker that no run made: one in which all is well, to be spoilt."""

import json
import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SCHEMA = """
CREATE TABLE event (seq INTEGER PRIMARY KEY AUTOINCREMENT, stream TEXT, version INTEGER, kind TEXT, data TEXT,
    epoch INTEGER);
CREATE TABLE nudge (id TEXT, about TEXT, subagent TEXT, subject TEXT, state TEXT);
CREATE TABLE task (id TEXT, result TEXT);
CREATE VIRTUAL TABLE search USING fts5(text);
INSERT INTO task VALUES ('bg-0000000001.t1', 'a 2/2');
INSERT INTO search VALUES ('please do it');
"""
ONE = "bg-0000000001"
SECRET = "sk-0123456789abcdef0123456789abcdef"
BLOCK = "<background-subagents>\nSince your last turn:\n{}\nYour background subagents:\n- x\n</background-subagents>"


@dataclass
class MadeCase:
    """A case in the making. Streams get their versions when it is written."""

    events: list[dict[str, Any]] = field(default_factory=list)
    parents: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: {"left": []})
    agents: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: {ONE: []})
    faults: list[dict[str, Any]] = field(default_factory=list)
    bounds: dict[str, int] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)
    touched: list[str] = field(default_factory=list)
    waiting: list[tuple[str, str, str, str]] = field(default_factory=list)
    otherwise: str = ""  # SQL that makes the projections of the log alone others

    def log(self, kind: str, *, stream: str = ONE, epoch: int = 1, **data: Any) -> dict[str, Any]:
        self.events.append({"stream": stream, "kind": kind, "epoch": epoch, "data": {"by": "", "at": 0, **data}})
        return self.events[-1]

    def find(self, kind: str, number: int = 0) -> dict[str, Any]:
        """Return the n-th event of a kind."""
        return [each for each in self.events if each["kind"] == kind][number]

    def ledger(self, word: str, **more: Any) -> None:
        self.parents["left"].append({"word": word, **more})

    def saw(self, word: str, **more: Any) -> None:
        self.agents[ONE].append({"word": word, "run": "7", **more})

    def turn(self, token: str, text: str, *nudges: str, acked: bool = True) -> None:
        """A turn that the log, the ledger and, unless it failed, the parent know."""
        self.log("turn_begun", stream="parent:left", token=token, text=BLOCK.format(text), nudges=nudges)
        self.ledger("shown", token=token, text=BLOCK.format(text), nudges=nudges)
        if acked:
            self.log("turn_committed", stream="parent:left", token=token)
            self.ledger("acked", token=token)

    def write(self, folder: Path) -> Path:
        (folder / "parents").mkdir(parents=True)
        (folder / "agents").mkdir()
        with closing(sqlite3.connect(folder / "log.db")) as connection, connection:
            connection.executescript(SCHEMA)
            versions: dict[str, int] = {}
            for number, each in enumerate(self.events, 1):
                version = versions[each["stream"]] = versions.get(each["stream"], 0) + 1
                values = (each.get("seq", number), each["stream"], each.get("version", version), each["kind"])
                data = json.dumps(each["data"])
                connection.execute("INSERT INTO event VALUES (?, ?, ?, ?, ?, ?)", (*values, data, each["epoch"]))
            rows = [(ident, about, subagent, subject, "pending") for subagent, about, subject, ident in self.waiting]
            connection.executemany("INSERT INTO nudge VALUES (?, ?, ?, ?, ?)", rows)
        shutil.copy(folder / "log.db", folder / "rebuilt.db")
        with closing(sqlite3.connect(folder / "rebuilt.db")) as connection, connection:
            connection.executescript(self.otherwise)
        for name, entries in self.parents.items():
            write_lines(folder / "parents" / f"{name}.jsonl", entries)
        for name, entries in self.agents.items():
            write_lines(folder / "agents" / f"{name}.jsonl", entries)
        (folder / "faults.json").write_text(json.dumps(self.faults))
        (folder / "bounds.json").write_text(json.dumps(self.bounds))
        (folder / "left.json").write_text(json.dumps(self.left))
        (folder / "touched.json").write_text(json.dumps(self.touched))
        (folder / "secret").write_text(SECRET)
        return folder


def write_lines(path: Path, entries: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(each) + "\n" for each in entries))


def good_case() -> MadeCase:
    """Two tasks; the second asks a question. Both are told, the second in a turn that failed and in the next one."""
    made = MadeCase()
    made.ledger("sending", label="a")
    made.log("subagent_requested")
    queue(made, "t1", "a")
    made.ledger("taken", label="a")
    made.log("attempt_started", attempt=1)
    made.log("session_opened", attempt=1, opening="new")
    made.saw("start")
    carry_out(made, "t1", "a")
    made.ledger("sending", label="b")
    queue(made, "t2", "b")
    made.ledger("taken", label="b")
    made.log("task_started", task_id=f"{ONE}.t2", attempt=1)
    made.log("prompt_sent", task_id=f"{ONE}.t2", request=2, offset=0)
    made.saw("prompt", id=2, label="b")
    say(made, "t2", "b", 1)
    made.saw("asked", id="q")
    made.log("request_opened", request_id="1-q", task_id=f"{ONE}.t2")
    made.turn("T1", f'- x ({ONE}) task {ONE}.t1 completed. It said: "a 2/2"', "n-1")
    made.turn("T2", f'- x ({ONE}) request 1-q needs permission: "may I"', "n-2", acked=False)
    made.log("request_closed", request_id="1-q", answer="ok", by="parent")
    made.saw("heard", id="q", option="ok")
    say(made, "t2", "b", 2)
    made.saw("done", label="b")
    made.log("task_ended", task_id=f"{ONE}.t2", outcome="completed", by="agent")
    made.turn("T3", f"- x ({ONE}) task {ONE}.t2 completed", "n-3", acked=False)
    made.turn("T4", f"- x ({ONE}) task {ONE}.t2 completed", "n-3")
    made.log("stop_requested", by="parent", reason="finished")
    made.log("subagent_stopped")
    return made


def queue(made: MadeCase, task: str, label: str) -> None:
    made.log("task_queued", task_id=f"{ONE}.{task}", number=1, text=f"please [[task:{label} n=2 ms=1]]")


def carry_out(made: MadeCase, task: str, label: str) -> None:
    made.log("task_started", task_id=f"{ONE}.{task}", attempt=1)
    made.log("prompt_sent", task_id=f"{ONE}.{task}", request=1, offset=0)
    made.saw("prompt", id=1, label=label)
    say(made, task, label, 1)
    say(made, task, label, 2)
    made.saw("done", label=label)
    made.log("model_called", stream=f"calls:{ONE}", task_id=f"{ONE}.{task}")
    made.log("task_ended", task_id=f"{ONE}.{task}", outcome="completed", by="agent")


def say(made: MadeCase, task: str, label: str, number: int) -> None:
    made.saw("sent", label=label, n=number)
    entry = {"role": "agent", "text": f"{label} {number}/2\n"}
    made.log("transcript_added", task_id=f"{ONE}.{task}", entry=entry)
