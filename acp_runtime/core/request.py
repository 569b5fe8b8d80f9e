"""What somebody has to answer: who asks, what, and with what it may be answered."""

from dataclasses import dataclass
from enum import StrEnum


class RequestKind(StrEnum):
    """What is asked for: a permission, a decision of the manager's, what may not be reached yet, or a login."""

    PERMISSION = "permission"
    QUESTION = "question"
    EGRESS = "egress"
    LOGIN = "login"


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
