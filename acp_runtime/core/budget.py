"""What a subagent may use of its models, over its whole life, and what it may use together with others. Pure.

A soft bound is told, a hard one refuses the next call. Calls that are under way when a bound is reached go on.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, replace
from decimal import Decimal
from enum import StrEnum

NANOS = 1_000_000_000


class Scope(StrEnum):
    """Whose calls a budget counts together: one subagent's, those of one and all below it, all below one parent."""

    AGENT = "agent"
    TREE = "tree"
    PARENT = "parent"


class Bound(StrEnum):
    """The names of bounds, as in `Budget`."""

    SOFT_TOKENS = "soft_tokens"
    SOFT_COST = "soft_cost"
    TOKENS = "tokens"
    COST = "cost"

    @property
    def hard(self) -> bool:
        return self in (Bound.TOKENS, Bound.COST)


@dataclass(frozen=True, slots=True)
class Used:
    """What counts against a budget: tokens and nano-dollars, estimates included.

    `unpriced` is the name of a model that was used although its price is not known, "?" for one without a name.
    """

    tokens: int = 0
    cost: int = 0
    unpriced: str = ""

    def plus(self, other: "Used") -> "Used":
        """Return what both come to."""
        return Used(self.tokens + other.tokens, self.cost + other.cost, self.unpriced or other.unpriced)

    def at_least(self, other: "Used") -> "Used":
        """Return the larger of both, part by part: what two tell of one purse, neither of whom knows too much."""
        return Used(max(self.tokens, other.tokens), max(self.cost, other.cost), self.unpriced or other.unpriced)


@dataclass(frozen=True, slots=True)
class Budget:
    """Bounds in tokens and in nano-dollars; None where there is none."""

    tokens: int | None = None
    cost: int | None = None
    soft_tokens: int | None = None
    soft_cost: int | None = None

    def filled(self, other: "Budget") -> "Budget":
        """Return this one with the other's bounds where it has none, but for a soft one not below its hard one."""
        names = [each.name for each in fields(self) if getattr(self, each.name) is None]
        both = replace(self, **{name: getattr(other, name) for name in names})
        return replace(
            both,
            soft_tokens=None if _idle(both.soft_tokens, both.tokens) else both.soft_tokens,
            soft_cost=None if _idle(both.soft_cost, both.cost) else both.soft_cost,
        )

    def reached(self, used: Used) -> tuple[Bound, ...]:
        """Return the bounds that are reached, soft ones first. A cost that nobody knows is beyond any hard bound."""
        return tuple(bound for bound in Bound if self._is_reached(bound, used))

    def _is_reached(self, bound: Bound, used: Used) -> bool:
        most: int | None = getattr(self, bound)
        if most is None:
            return False
        if bound in (Bound.TOKENS, Bound.SOFT_TOKENS):
            return used.tokens >= most
        return used.cost >= most or (bound is Bound.COST and used.unpriced != "")

    def changed(self, bounds: "Budget", without: Iterable[Bound] = ()) -> "Budget":
        """Return it with other bounds: those that are given, and none where `without` names one; the rest stays.

        A soft one that stays is gone where it would not be below its hard one any more.
        """
        kept = replace(self, **{str(bound): None for bound in without})
        return bounds.filled(kept)

    def words(self, bound: Bound, used: Used, scope: Scope = Scope.AGENT) -> str:
        """Say in a sentence that a bound is reached, without a full stop."""
        kind = ("" if scope is Scope.AGENT else f"{scope}'s ") + ("budget" if bound.hard else "soft budget")
        if bound in (Bound.TOKENS, Bound.SOFT_TOKENS):
            return f"the {kind} of {getattr(self, bound):,} tokens is used up ({used.tokens:,} used)"
        most = dollars(getattr(self, bound))
        if used.cost < getattr(self, bound):
            remedy = f'add [prices."{used.unpriced}"] to the configuration'
            return f"the {kind} is {most}, and the price of the model {used.unpriced} is not known; {remedy}"
        return f"the {kind} of {most} is used up ({dollars(used.cost)} used)"

    def mistakes(self) -> Iterator[str]:
        """Say what makes no sense in it."""
        for bound in Bound:
            value: int | None = getattr(self, bound)
            if value is not None and value <= 0:
                yield f"the budget's {bound} is {value}; it must be more than 0"
        for soft, hard in ((self.soft_tokens, self.tokens), (self.soft_cost, self.cost)):
            if _idle(soft, hard):
                yield "the soft budget is not below the hard one, so it would tell nothing"

    def wider_than(self, most: "Budget") -> Iterator[str]:
        """Say where it allows more than another."""
        for bound in (Bound.TOKENS, Bound.COST):
            own, allowed = getattr(self, bound), getattr(most, bound)
            if allowed is not None and (own is None or own > allowed):
                yield f"a budget of {_told(bound, own)} where {_told(bound, allowed)} is allowed"

    def __str__(self) -> str:
        """Return the bounds in one line, empty where there is none."""
        order = (Bound.TOKENS, Bound.COST, Bound.SOFT_TOKENS, Bound.SOFT_COST)
        given = [bound for bound in order if getattr(self, bound) is not None]
        return ", ".join(f"{'' if bound.hard else 'soft '}{_told(bound, getattr(self, bound))}" for bound in given)


@dataclass(frozen=True, slots=True)
class Allowance:
    """A budget, what was used of it by now, and who draws on it: all that have one of the same scope and key."""

    scope: Scope
    key: str
    budget: Budget
    used: Used

    @property
    def refusal(self) -> str | None:
        """Why no further call is made, without a full stop; None while calls may be made."""
        hard = (bound for bound in self.budget.reached(self.used) if bound.hard)
        return next((self.budget.words(bound, self.used, self.scope) for bound in hard), None)


def _idle(soft: int | None, hard: int | None) -> bool:
    """Whether a soft bound tells nothing that the hard one does not tell."""
    return soft is not None and hard is not None and soft >= hard


def nanos(amount: float) -> int:
    """Return an amount of dollars as it was written, in nano-dollars."""
    return int(Decimal(str(amount)) * NANOS)


def _told(bound: Bound, value: int | None) -> str:
    if value is None:
        return "any number of tokens" if bound is Bound.TOKENS else "any cost"
    return f"{value:,} tokens" if bound in (Bound.TOKENS, Bound.SOFT_TOKENS) else dollars(value)


def dollars(nanos: int) -> str:
    """Return an amount as people read it, with as many digits as it has, but two at least."""
    amount = Decimal(nanos) / NANOS
    return f"${amount:,.2f}" if nanos % (NANOS // 100) == 0 else f"${amount.normalize():,f}"
