"""A parent in a storm: a process that keeps its agents busy, takes turns of which some fail, and keeps a ledger.

    python -m tests.faults.storm.parent TERMS NAME

TERMS is JSON: `socket`, `folder` (of the ledger), `workspace`, `seed`, `agents` (how many), their `kinds`,
`request` (more for each spawn), `limits` (others than the usual ones) and `scripted` (the agents are real ones, and a
scripted model speaks for them). One at a time is of the kind `LEADING`, and leads others: their permissions are asked
of this parent, and what they ask who leads them it answers only where it is about to end.

The ledger is all that it remembers when it is killed: JSON lines, each synced before what it announces is done, and
after what it confirms was confirmed. Once the file `finish` exists in its folder it lets its tasks end, stops its
agents, takes turns until nothing is left to be told, and ends.
"""

import json
import os
import random
import secrets
import sys
import time
from pathlib import Path
from typing import Any

from acp_runtime.api.errors import DaemonError
from acp_runtime.api.unix_client import UnixClient
from acp_runtime.core.errors import Rejected

DOOR = "storm"
PATIENCE = 120.0
CALL_SECONDS = 20.0
AGAIN_SECONDS = 0.05
GONE = ("daemon_unreachable", "closing")
FATAL = ("invalid", "unknown_method", "unknown_agent", "internal_error", "socket_unsafe", "version_mismatch")
LIMITS = {"restarts": 100, "backoff": 0.02, "loss_told": 30.0, "request": 120.0}
STEP_SECONDS = 0.2
LEADING = "leading"
OPTIONS = {"question": ("continue",), "ask": ("1", "2"), "permission": ("yes", "no")}
FAIL, ANSWER, CANCEL, STOP = 0.3, 0.6, 0.004, 0.003


class Parent:
    def __init__(self, terms: str, name: str) -> None:
        self.terms = json.loads(terms)
        self.name = name
        self.client = UnixClient(Path(self.terms["socket"]), bound=CALL_SECONDS)
        self.ledger = Path(self.terms["folder"]) / f"{name}.jsonl"
        self.finish = Path(self.terms["folder"]) / "finish"
        self.count = self.remembered()
        self.random = random.Random(f"{self.terms['seed']} {name} {self.count}")

    def remembered(self) -> int:
        """Return how many tasks were announced before; what was cut off by a death is no line and is taken away."""
        if not self.ledger.exists():
            return 0
        data = self.ledger.read_bytes()
        os.truncate(self.ledger, data.rfind(b"\n") + 1)  # at one stroke: it may be killed again
        return data.count(b'"word": "sending"')

    def note(self, word: str, **more: Any) -> None:
        with self.ledger.open("a") as ledger:
            ledger.write(json.dumps({"word": word, **more}) + "\n")
            ledger.flush()
            os.fsync(ledger.fileno())

    def call(self, method: str, caller: str | None, **arguments: Any) -> Any:
        """Call once a daemon is there; None when the outcome is unknown, or it was refused."""
        until = time.monotonic() + PATIENCE  # noqa: TID251 - a bound of a process of the test
        while time.monotonic() < until:  # noqa: TID251
            try:
                return self.client.call(method, caller, **arguments) or {}
            except (DaemonError, Rejected) as error:
                if error.kind in FATAL:
                    raise
                time.sleep(AGAIN_SECONDS)
                if error.kind not in GONE:
                    return None
        raise SystemExit(f"{self.name}: nobody has answered {method} for {PATIENCE} s")

    def read(self, method: str, **arguments: Any) -> Any:
        """Ask until there is an answer; a daemon that stalls is asked again."""
        until = time.monotonic() + PATIENCE  # noqa: TID251
        while time.monotonic() < until:  # noqa: TID251
            if (answer := self.call(method, self.name, **arguments)) is not None:
                return answer
        raise SystemExit(f"{self.name}: {method} has had no answer for {PATIENCE} s")

    def run(self) -> None:
        while not self.finish.exists():
            self.step(busy=True)
        while not self.settled():
            self.step(busy=False)
        while views := self.read("list_subagents", ended=False):
            for view in views:
                self.call("stop", self.name, subagent=view["id"], finished=True)
        while self.read("nudges", state="pending") or self.read("nudges", state="claimed"):
            self.turn(fail=0.0)

    def settled(self) -> bool:
        views = self.read("tree")
        working = any(task["ended_at"] is None for view in views for task in view["tasks"])
        return not working and not any(view["awaits"] for view in views)

    def step(self, *, busy: bool) -> None:
        views = self.read("list_subagents", ended=False)
        for view in self.read("tree"):
            self.answer(view, busy=busy)
        for view in views:
            self.look_after(view, views, busy=busy)
        if busy and len(views) < self.terms["agents"]:
            self.spawn(self.kind(views))
        self.turn(FAIL)
        time.sleep(STEP_SECONDS)

    def answer(self, view: dict[str, Any], *, busy: bool) -> None:
        for asked in view["requests"]:
            options = OPTIONS[asked["kind"]]
            if not busy or (self.random.random() < ANSWER and asked["kind"] != "ask"):
                option = self.random.choice(options)
                self.call("answer", self.name, subagent=view["id"], request=asked["id"], option=option)

    def look_after(self, view: dict[str, Any], views: list[dict[str, Any]], *, busy: bool) -> None:
        if busy and self.random.random() < STOP:
            self.call("stop", self.name, subagent=view["id"], finished=True)
        elif view["current_task"] is not None and self.random.random() < CANCEL:
            self.call("cancel", self.name, subagent=view["id"])
        elif busy and view["queued"] < 1:
            label, text = self.task()
            foreign = [each["id"] for each in views if each["id"] != view["id"]]
            text += self.more(view["agent"], *foreign)
            if self.call("send", self.name, subagent=view["id"], text=text) is not None:
                self.note("taken", label=label)

    def more(self, kind: str, *foreign: str) -> str:
        """Return what a task says to one that leads others."""
        if kind != LEADING:
            return ""
        return f"[[lead:{self.random.choice((1, 2))}]]" + "".join(f"[[foreign:{each}]]" for each in foreign)

    def kind(self, views: list[dict[str, Any]]) -> str:
        """Return of which kind the next is: one that leads others where there are none, else any other."""
        kinds = self.terms["kinds"]
        others = [each for each in kinds if each != LEADING]
        led = LEADING in kinds and all(view["agent"] != LEADING for view in views)
        return LEADING if led or not others else str(self.random.choice(others))

    def spawn(self, kind: str) -> None:
        label, text = self.task()
        request = {"agent": kind, "workspace": self.terms["workspace"], "task": text + self.more(kind)}
        request |= {"role": "orchestrator"} if kind == LEADING else {}
        request |= {"keep": True, "permissions": "ask"} | self.terms["request"]
        if self.call("spawn", self.name, request=request | {"limits": LIMITS | self.terms["limits"]}) is not None:
            self.note("taken", label=label)

    def task(self) -> tuple[str, str]:
        """Return the label and the text of a new task, after it was announced in the ledger."""
        self.count += 1
        label = f"{self.name}-{self.count}"
        n, ms = self.random.randrange(30, 150), self.random.choice((20, 40, 60))
        err = self.random.choice((0, 0, 1, 7))
        ask = self.random.randrange(1, n) if self.random.random() < 0.4 else 0
        die = self.random.randrange(1, n) if self.random.random() < 0.04 else 0
        if self.terms["scripted"]:
            said = "".join(f"[[sleep:{ms / 1000}]][[text:{label} {number}/{n}\n]]" for number in range(1, n + 1))
            err, ask, die = 0, 0, 0
        else:
            said = ""
        self.note("sending", label=label)
        return label, f"say it [[task:{label} n={n} ms={ms} err={err} ask={ask} die={die}]]{said}"

    def turn(self, fail: float) -> None:
        turn = self.call("begin_turn", self.name, door=DOOR, turn_id=secrets.token_hex(8))
        if not turn:
            return
        self.note("shown", token=turn["token"], text=turn["text"], nudges=turn["nudges"])
        if self.random.random() < fail:
            return
        while self.call("commit_turn", None, token=turn["token"]) is None:
            pass  # its outcome is unknown: it may be said again
        self.note("acked", token=turn["token"])


if __name__ == "__main__":
    Parent(*sys.argv[1:]).run()
