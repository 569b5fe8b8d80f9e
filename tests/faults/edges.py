"""What may follow what in the log of one subagent, in the few words that matter to the checker of the storm."""

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Machine:
    """What may follow what, in the few words that matter here."""

    attempt: int = 0
    opened: bool = False
    over: bool = False
    stopping: bool = False
    born: bool = False
    running: str = ""
    ended: set[str] = field(default_factory=set)

    def take(self, kind: str, data: dict[str, Any]) -> str:
        """Go on by one event and return what is wrong with it."""
        if not self.born and kind != "subagent_requested":
            return "it was not requested yet"
        if self.over and not (kind == "attempt_started" and data["by"]) and not data.get("late"):
            return "it had ended"
        verb = getattr(self, kind, None)
        return verb(data) or "" if verb is not None else ""

    def subagent_requested(self, _: dict[str, Any]) -> str:
        again, self.born = self.born, True
        return "it was requested before" if again else ""

    def attempt_started(self, data: dict[str, Any]) -> str:
        due, self.attempt = self.attempt + 1, data["attempt"]
        running, self.opened, self.over, self.stopping = self.running, False, False, False
        if running:
            return f"{running} was still running"
        return "" if data["attempt"] == due else f"attempt {due} is due"

    def session_opened(self, data: dict[str, Any]) -> str:
        self.opened = True
        return "" if data["attempt"] == self.attempt else f"this is attempt {self.attempt}"

    def task_started(self, data: dict[str, Any]) -> str:
        before, self.running = self.running, data["task_id"]
        if before:
            return f"{before} was still running"
        if data["task_id"] in self.ended:
            return "the task had ended"
        return "" if self.opened and not self.stopping else "no session was open"

    def task_retried(self, data: dict[str, Any]) -> str:
        before, self.running = self.running, ""
        return "" if before == data["task_id"] else "it was not running"

    def task_ended(self, data: dict[str, Any]) -> str:
        known = data["task_id"] == self.running
        self.running = "" if known else self.running
        self.ended.add(data["task_id"])
        if data["outcome"] in ("completed", "interrupted", "refused") and not known:
            return f"{data['outcome']}, and it was not running"
        return ""

    def stop_requested(self, _: dict[str, Any]) -> str:
        again, self.stopping = self.stopping, True
        return "it was being stopped" if again else ""

    def subagent_stopped(self, _: dict[str, Any]) -> str:
        self.over = True
        return "" if self.stopping else "nobody asked for a stop"

    subagent_failed = subagent_stopped
