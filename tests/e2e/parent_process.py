"""A parent as a process of its own: spawns, takes turns of which some fail, and keeps a journal of what it was shown.

    python -m tests.e2e.parent_process SOCKET NAME JOURNAL WORKSPACE SEED [--forgetful]

The journal is what the parent remembers when it is killed: lines `shown TOKEN NUDGE...` before a turn counts as seen,
and `acked TOKEN NUDGE...` once the daemon has confirmed the commit. It says a line on stdout whenever something was
done. It ends when every task has ended and nothing is left to tell it. `--forgetful`: it commits before it has seen,
which the judge must find.
"""

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

TASKS = (
    "[[say:done]]",
    "[[say:done]]",
    "[[write:a.txt|a]][[say:wrote]]",
    "[[error:-32603|boom]]",
    "[[stop:refusal]]",
    "[[say:half]][[kill]]",
    "[[run:true]][[say:ran]]",
    "[[hang-politely]]",
)
DOOR = "process"
PATIENCE = 60.0
GONE = ("daemon_unreachable", "daemon_lost", "closing")


class Parent:
    def __init__(self, socket: str, name: str, journal: str, workspace: str, seed: str, *, forgetful: bool) -> None:
        self.client = UnixClient(Path(socket))
        self.name = name
        self.journal = Path(journal)
        self.workspace = workspace
        self.random = random.Random(f"{seed} {name}")
        self.forgetful = forgetful
        self.end = time.monotonic() + PATIENCE  # noqa: TID251 - a bound of a process of the test

    def read(self, method: str, **arguments: Any) -> Any:
        """Ask until there is an answer."""
        while (answer := self.call(method, **arguments)) is None:
            pass
        return answer

    def call(self, method: str, **arguments: Any) -> Any:
        """Call once a daemon is there; None when the outcome of the call is unknown or it was refused."""
        while time.monotonic() < self.end:  # noqa: TID251
            try:
                return self.client.call(method, self.name, **arguments)
            except DaemonError as error:
                if error.kind not in GONE:
                    raise
                if error.kind == "daemon_lost":
                    return None
                time.sleep(0.02)
            except Rejected as error:
                if error.kind in ("invalid", "unknown_method", "unknown_subagent"):
                    raise
                return None
        raise SystemExit(f"{self.name}: the daemon has been away for {PATIENCE} s")

    def note(self, word: str, token: str, nudges: list[str]) -> None:
        with self.journal.open("a") as journal:
            journal.write(" ".join((word, token, *nudges)) + "\n")
            journal.flush()
            os.fsync(journal.fileno())

    def run(self) -> None:
        if not self.journal.exists():
            self.journal.touch()
            for _ in range(2):
                self.spawn()
        while not self.settled():
            self.turn()
        while views := self.read("list_subagents", ended=False):
            for view in views:
                self.call("stop", subagent=view["id"], finished=True)
        while self.read("nudges", state="pending") or self.read("nudges", state="claimed"):
            self.turn(fail=0.0)

    def spawn(self) -> None:
        limits = {"restarts": 5, "backoff": 0.02}
        request = {
            "agent": "scripted", "workspace": self.workspace, "task": self.random.choice(TASKS), "limits": limits,
            "keep": self.random.random() < 0.7,
        }  # fmt: skip
        view = self.call("spawn", request=request)
        say("spawned")
        for _ in range(self.random.randrange(3)):
            if view is not None:
                self.call("send", subagent=view["id"], text=self.random.choice(TASKS))

    def settled(self) -> bool:
        views = self.read("list_subagents", ended=True)
        for view in views:
            for asked in view["requests"]:
                self.call("answer", subagent=view["id"], request=asked["id"], option=asked["options"][0]["id"])
            current = next((task for task in view["tasks"] if task["id"] == view["current_task"]), None)
            if current is not None and "hang-politely" in current["text"]:
                self.call("cancel", subagent=view["id"])
        opened = [view for view in views if view["status"] not in ("completed", "stopped", "timed_out", "error")]
        busy = [view["id"] for view in opened if any(task["ended_at"] is None for task in view["tasks"])]
        if busy:
            self.call("wait", subagents=busy, mode="any_change", seconds=0.2)
        return not busy

    def turn(self, fail: float = 0.35) -> None:
        turn = self.call("begin_turn", door=DOOR, turn_id=secrets.token_hex(8))
        if turn is None:
            return
        token, nudges = turn["token"], turn["nudges"]
        if self.forgetful and nudges:
            self.committed(token)
            os._exit(9)  # as when it is killed: what it committed it never saw
        self.note("shown", token, nudges)
        say(f"turn {len(nudges)}")
        if self.random.random() < fail:
            return
        if self.committed(token):
            self.note("acked", token, nudges)

    def committed(self, token: str) -> bool:
        """Commit, and again when the outcome is unknown: it is idempotent."""
        while time.monotonic() < self.end:  # noqa: TID251
            try:
                self.client.call("commit_turn", None, token=token)
            except DaemonError as error:
                if error.kind not in GONE:
                    raise
                time.sleep(0.02)
            else:
                return True
        return False


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    words = [word for word in sys.argv[1:] if word != "--forgetful"]
    Parent(*words, forgetful="--forgetful" in sys.argv).run()
