"""Stored facts about a parent's turns and reading: the parent's own stream in the log."""

from dataclasses import dataclass

from acp_runtime.core.events import Event


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


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnCommitted(Event):
    """The parent has seen the block of this turn; its nudges are never shown again."""

    token: str
    parent: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SubagentRead(Event):
    """A parent has read a subagent's log up to `seq`."""

    parent: str
    subagent: str
    seq: int


PARENT_EVENTS: tuple[type[Event], ...] = (TurnBegun, TurnCommitted, SubagentRead)
