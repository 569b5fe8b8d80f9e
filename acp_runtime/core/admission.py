"""Who is let in: how many subagents may be open at one time, and what a tree or a parent may have had in all."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from acp_runtime.core.budget import Allowance, Budget, Scope, Used
from acp_runtime.core.errors import Rejected


@dataclass(frozen=True, slots=True)
class Extent:
    """How far a tree, or all below a parent, may go; None where nothing bounds it.

    `agents`: how many subagents it may ever have had, a tree with the one at its top; those that have ended and those
    whose logs were deleted count, one that is resumed does not count again. `wall`: seconds that the machine was awake
    since the subagent at the top of a tree was requested.
    """

    agents: int | None = None
    wall: float | None = None


@dataclass(frozen=True, slots=True)
class Share:
    """What is bounded together in one scope."""

    scope: Scope
    budget: Budget
    extent: Extent = Extent()

    @property
    def bounds(self) -> bool:
        """Whether it bounds anything."""
        return bool(str(self.budget)) or self.extent != Extent()


@dataclass(frozen=True, slots=True)
class Taken:
    """How far one scope has come. `key` says whose it is; `seconds` is 0 where time is not bounded."""

    key: str
    agents: int = 0
    seconds: float = 0.0
    used: Used = field(default_factory=Used)


@dataclass(frozen=True, slots=True)
class Admission:
    """The limits of one admission; numbers below one count as one.

    One-shot subagents are counted apart, but below a subagent that leads others: there `per_parent` is for both.
    `shares` bound the tree and the parent of who is let in; one-shot subagents are counted with the others there.
    """

    per_parent: int = 8
    total: int = 16
    one_shot: bool = False
    shares: tuple[Share, ...] = ()


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


def admit_within(share: Share, taken: Taken) -> None:
    """Let one more subagent in where its tree or parent has come so far. Raises `Rejected` (budget_reached)."""
    check_wall(share, taken)
    most = share.extent.agents
    if most is not None and taken.agents >= most:
        raise _reached(share, "agents", f"of {most:,} agents is used up ({taken.agents:,} had)", most, taken.agents)
    allowance = Allowance(share.scope, taken.key, share.budget, taken.used)
    bound = next((each for each in share.budget.reached(taken.used) if each.hard), None)
    if bound is not None:
        why = f"{allowance.refusal}; raise {share.scope}_budget.{bound} in config.toml"
        raise _refused(share, bound, why, getattr(share.budget, bound), getattr(taken.used, bound))


def check_wall(share: Share, taken: Taken) -> None:
    """Let a tree start something new while its time is not over. Raises `Rejected` (budget_reached)."""
    most = share.extent.wall
    if most is not None and taken.seconds >= most:
        raise _reached(share, "wall", wall_words(most, taken.seconds), most, round(taken.seconds))


def wall_words(most: float, seconds: float) -> str:
    """Say that the time of a tree is over, as the end of a sentence."""
    return f"of {most:g} s is used up ({seconds:.0f} s since its first subagent was requested)"


def _reached(share: Share, bound: str, words: str, most: float, taken: float) -> Rejected:
    key = f"{share.scope}_budget.{bound}"
    return _refused(share, bound, f"the {share.scope}'s budget {words}; raise {key} in config.toml", most, taken)


def _refused(share: Share, bound: str, why: str, most: float, taken: float) -> Rejected:
    data: dict[str, Any] = {"scope": str(share.scope), "bound": str(bound), "most": most, "taken": taken}
    return Rejected("budget_reached", f"Nothing was started: {why}", data)
