"""What may follow what in the log of one subagent, in the few words that matter to the checker of the storm."""

from dataclasses import dataclass, field
from typing import Any

# From where each of these events may come, and where it leads to. An end leads to "over" wherever it comes from.
LIVENESS = {
    "attempt_started": ("requested starting ready lost dead over", "starting"),
    "step_reached": ("starting", "starting"),
    "session_opened": ("starting", "ready"),
    "channel_lost": ("ready", "lost"),
    "channel_recovered": ("lost", "ready"),
    "loss_confirmed": ("starting lost", ""),
    "agent_died": ("lost", "dead"),
    "stop_requested": ("starting ready lost dead", "stopping"),
    "subtree_ended": ("stopping", "stopping"),
}


@dataclass
class Machine:
    """What may follow what, in the few words that matter here."""

    attempt: int = 0
    liveness: str = "requested"
    born: bool = False
    running: str = ""
    ended: set[str] = field(default_factory=set)

    def take(self, kind: str, data: dict[str, Any]) -> str:
        """Go on by one event and return what is wrong with it."""
        if not self.born and kind != "subagent_requested":
            return "it was not requested yet"
        if self.liveness == "over" and not (kind == "attempt_started" and data["by"]) and not data.get("late"):
            return "it had ended"
        verb = getattr(self, kind, None)
        wrong = verb(data) if verb is not None else ""
        return self.live(kind) or wrong

    def live(self, kind: str) -> str:
        """Go on with the liveness of the agent alone."""
        before = self.liveness
        places, after = LIVENESS.get(kind, (before, ""))
        self.liveness = after or before
        return "" if before in places.split() else f"it was {before}"

    def subagent_requested(self, _: dict[str, Any]) -> str:
        again, self.born = self.born, True
        return "it was requested before" if again else ""

    def attempt_started(self, data: dict[str, Any]) -> str:
        due, self.attempt = self.attempt + 1, data["attempt"]
        if self.running:
            return f"{self.running} was still running"
        return "" if data["attempt"] == due else f"attempt {due} is due"

    def session_opened(self, data: dict[str, Any]) -> str:
        return "" if data["attempt"] == self.attempt else f"this is attempt {self.attempt}"

    def task_started(self, data: dict[str, Any]) -> str:
        before, self.running = self.running, data["task_id"]
        if before:
            return f"{before} was still running"
        if data["task_id"] in self.ended:
            return "the task had ended"
        return "" if self.liveness == "ready" else f"it was {self.liveness}"

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

    def subagent_stopped(self, _: dict[str, Any]) -> str:
        before, self.liveness = self.liveness, "over"
        return "" if before == "stopping" else "nobody asked for a stop"

    subagent_failed = subagent_stopped
