"""Stored facts about a parent's turns and reading: the parent's own stream in the log; and the rules of its outbox."""

from collections.abc import Collection
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from acp_runtime.core.budget import Used
from acp_runtime.core.events import Event

# In one turn; the rest is for the next one.
MAX_NUDGES: Final = 20


def wakes_for(due: Collection[str], told: frozenset[str]) -> bool:
    """Return whether a parent that was woken for `told` is woken for what is due now.

    It is where there is more, and where a turn had no room for all.
    """
    return not told.issuperset(due) or (bool(due) and len(told.difference(due)) >= MAX_NUDGES)


class Origin(StrEnum):
    """Who began a turn of a parent: its user, a wake-up of ours, or nobody: an answer to a tool, within some turn."""

    USER = "user"
    WAKE = "wake"
    ANSWER = "answer"


class Form(StrEnum):
    """How a turn's text reads: the block of this project, or the original's exact text (`legacy_text`)."""

    BLOCK = "block"
    LEGACY = "legacy"


@dataclass(frozen=True, slots=True)
class OutboxRules:
    """How nudges are offered. Durations are in seconds.

    A door holds what it shows for `claim`. A nudge older than `aged` is shown with its age. One that was offered
    `offers` times without being acknowledged, or whose parent took no turn for `absent`, is a dead letter. After
    `wakes` turns in a row that a wake-up began, the parent is not woken until its user begins one. A one-shot subagent
    that was silent for longer than `quiet` is shown as idle where the text is the original's.
    """

    claim: float = 600.0
    aged: float = 600.0
    offers: int = 20
    absent: float = 7 * 86_400.0
    wakes: int = 3
    quiet: float = 900.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnBegun(Event):
    """A block was made for one turn. `nudges` are claimed by the door until `expires` (same clock as `at`)."""

    token: str
    parent: str
    door: str
    turn_id: str
    text: str
    nudges: tuple[str, ...]
    expires: int
    origin: Origin = Origin.USER


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnCommitted(Event):
    """The parent has seen the block of this turn; its nudges are never shown again.

    With `only`, these of its nudges were seen, and the turn stays open for the others.
    """

    token: str
    parent: str
    only: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SubagentRead(Event):
    """A parent has read a subagent's log up to `seq`."""

    parent: str
    subagent: str
    seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ParentAliased(Event):
    """What belongs to `alias` belongs to `parent` from now on."""

    parent: str
    alias: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NudgesDied(Event):
    """Nudges that are not offered any more; they stay visible and can be revived."""

    parent: str
    nudges: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NudgesRevived(Event):
    """Dead letters that are offered again."""

    parent: str
    nudges: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SubagentForgotten(Event):
    """The whole log of an ended subagent was deleted; `seq` was its newest event.

    What it `used` still counts for those that were `above` it.
    """

    parent: str
    subagent: str
    name: str
    seq: int
    by: str
    above: tuple[str, ...] = ()
    used: Used = field(default_factory=Used)


PARENT_EVENTS: tuple[type[Event], ...] = (
    TurnBegun,
    TurnCommitted,
    SubagentRead,
    ParentAliased,
    NudgesDied,
    NudgesRevived,
    SubagentForgotten,
)
