"""What passes between a session and its owner: what it tells, and what it is given to go on with."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from acp_runtime.core.model import Opening
from acp_runtime.core.transcript import Entry
from acp_runtime.session.questions import Awaited, Question

Laid = Callable[[int, int], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Opened:
    """A session that is ready for prompts. `steering`: the agent takes messages while it works."""

    session_id: str
    agent_name: str
    agent_version: str
    opening: Opening
    steering: bool


class Place(NamedTuple):
    """How far what the agent wrote has been taken in: `upto` and `answer_at` as `TranscriptAdded` has them."""

    upto: int = 0
    answer_at: int | None = None

    @property
    def start(self) -> int:
        """From where on something is not stored yet."""
        return self.upto if self.answer_at is None else self.answer_at


@dataclass(frozen=True, slots=True)
class Inheritance:
    """What a session goes on with that another manager opened: its id, and its place in the agent's output.

    `steering` as in `Opened`; `prompt` is the id of the request whose answer is still awaited; `asked` holds its
    open requests by our numbers, of which `count` is the highest.
    """

    session_id: str
    place: Place
    steering: bool = False
    prompt: int | None = None
    asked: Mapping[int, Awaited] = field(default_factory=dict)
    count: int = 0


@dataclass(frozen=True, slots=True)
class Observer:
    """Whom a session tells. `heard` is awaited (it stores the entries); the others must return at once.

    `heard` returns the offset before which all that the agent wrote is stored.
    `asked` is also given what was heard before the question and not told yet.
    """

    heard: Callable[[tuple[Entry, ...], Place], Awaitable[int]]
    asked: Callable[[tuple[Entry, ...], Place, Question], None]
    lost: Callable[[str], None]
    closed: Callable[[str], None]
