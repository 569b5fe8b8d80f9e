"""Who is let in: how many subagents a parent, and all parents together, may have at one time."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from acp_runtime.core.errors import Rejected


@dataclass(frozen=True, slots=True)
class Admission:
    """The limits of one admission; numbers below one count as one. One-shot subagents are counted apart."""

    per_parent: int = 8
    total: int = 16
    one_shot: bool = False


@dataclass(frozen=True, slots=True)
class Alive:
    """A subagent that holds a place."""

    id: str
    name: str
    status: str
    purpose: str
    agent_kind: str
    started_at: str


def admit(limits: Admission, *, own: Sequence[Alive], total: int) -> None:
    """Let one more in. `own` are the parent's that hold a place, `total` is the number of all parents'.

    Raises `Rejected` (limit_reached) with the parent's own subagents in `stoppable_subagents`, never those of others.
    """
    if len(own) >= max(1, limits.per_parent):
        sentence = "Background subagent limit reached for this session."
    elif total >= max(1, limits.total):
        sentence = "Global background subagent limit reached."
    else:
        return
    raise Rejected("limit_reached", sentence, {"stoppable_subagents": [asdict(each) for each in own]})
