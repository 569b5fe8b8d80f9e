"""What somebody has to answer: who asks, what, and with what it may be answered."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

CHOICE: Final = "choice"
"""The kind of an option that allows and refuses nothing: it is one answer to a question."""
WRITTEN: Final = "text"
"""What stands for the option of a request that was answered by a text."""


class RequestKind(StrEnum):
    """What is asked for: a permission, a decision of the manager's, what may not be reached yet, or a login.

    The agent wants to know something: with `FORM` by ACP's elicitation, with `ASK` by its tool `ask_parent`.
    """

    PERMISSION = "permission"
    QUESTION = "question"
    EGRESS = "egress"
    LOGIN = "login"
    FORM = "form"
    ASK = "ask"

    @property
    def awaited(self) -> bool:
        """Whether the agent waits for the answer over its channel."""
        return self in (RequestKind.PERMISSION, RequestKind.FORM)

    @property
    def permits(self) -> bool:
        """Whether an answer may let the agent do more than it could: not every parent may give it."""
        return self in (RequestKind.PERMISSION, RequestKind.EGRESS)


class Questions(StrEnum):
    """What becomes of an agent's questions: each waits for the parent or the operator, or it is to go on alone."""

    ASK = "ask"
    REFUSE = "refuse"


class FieldType(StrEnum):
    """What a field takes. `SEVERAL`: any number of its choices."""

    TEXT = "text"
    NUMBER = "number"
    INTEGER = "integer"
    BOOLEAN = "boolean"
    SEVERAL = "several"


@dataclass(frozen=True, slots=True)
class Choice:
    """One value that a field may have, and how it is shown."""

    value: str
    name: str


@dataclass(frozen=True, slots=True)
class Field:
    """One field. With `choices` it takes one of them. `least` and `most` bound a number, a text's length, a count."""

    name: str
    type: FieldType
    title: str = ""
    choices: tuple[Choice, ...] = ()
    required: bool = False
    least: float | None = None
    most: float | None = None

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> "Field":
        """Return a field from its `asdict`, also after this was JSON."""
        choices = tuple(Choice(**each) for each in told["choices"])
        return cls(**{**told, "type": FieldType(told["type"]), "choices": choices})


@dataclass(frozen=True, slots=True)
class Option:
    """One answer that is offered. `kind` says what it does, in ACP's words or as `CHOICE`."""

    id: str
    name: str
    kind: str


@dataclass(frozen=True, slots=True)
class Request:
    """A question. `answer`: the id of an option, `WRITTEN`, "" for the outcome `cancelled`, None while open.

    `rule`: the egress rule that is asked for. `fields`: those of a form; `writing` says how it is answered by a text,
    empty where it is not. `content`: what its answer fills the form with, as JSON.
    """

    id: str
    task_id: str
    title: str
    options: tuple[Option, ...]
    deadline: int
    answer: str | None = None
    kind: RequestKind = RequestKind.PERMISSION
    wire: str = ""
    rule: str = ""
    fields: tuple[Field, ...] = ()
    writing: str = ""
    content: str = ""

    @property
    def open(self) -> bool:
        return self.answer is None


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer that the agent was not told yet, and the question that it was asked with."""

    request_id: str
    question: str
    choices: tuple[str, ...]
    words: str

    @property
    def note(self) -> str:
        return f"Your question was: {self.question}\nYour parent answers: {self.words}"
