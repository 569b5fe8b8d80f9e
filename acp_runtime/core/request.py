"""What somebody has to answer: who asks, what, and with what it may be answered."""

from dataclasses import dataclass
from enum import StrEnum


class RequestKind(StrEnum):
    """Who asks: the agent for a permission, the manager for a decision, or for what the agent may not reach yet."""

    PERMISSION = "permission"
    QUESTION = "question"
    EGRESS = "egress"


@dataclass(frozen=True, slots=True)
class Option:
    """One answer that the agent offers to its permission request."""

    id: str
    name: str
    kind: str


@dataclass(frozen=True, slots=True)
class Request:
    """A question. `answer`: the id of an option, "" for the outcome `cancelled`, None while open. `rule`: as asked."""

    id: str
    task_id: str
    title: str
    options: tuple[Option, ...]
    deadline: int
    answer: str | None = None
    kind: RequestKind = RequestKind.PERMISSION
    wire: str = ""
    rule: str = ""

    @property
    def open(self) -> bool:
        return self.answer is None
