"""The options of a budget."""

import argparse
from typing import Final

from acp_runtime.core.budget import Bound, Budget, nanos
from acp_runtime.core.errors import Rejected
from acp_runtime.core.plaintext import one_line

MOST_DOLLARS: Final = 1_000_000.0


def budget_of(options: argparse.Namespace) -> Budget:
    """Return the bounds that were given. Raises `Rejected` (invalid) for an amount that is none."""
    soft_tokens: int | None = getattr(options, "soft_budget_tokens", None)
    cost, soft_cost = (_nanos(name, getattr(options, name, None)) for name in ("budget_cost", "soft_budget_cost"))
    return Budget(options.budget_tokens, cost, soft_tokens, soft_cost)


def amount_of(bound: Bound, text: str) -> int:
    """Return a bound as it was written. Raises `Rejected` (invalid) for what is none."""
    option = f"--{bound.replace('_', '-')}"
    try:
        if bound in (Bound.TOKENS, Bound.SOFT_TOKENS):
            return int(text)
        dollars = float(text)
    except ValueError as error:
        raise Rejected("invalid", f"{option} is {one_line(text, 40)!r}; give a number, or none") from error
    return nanos(_in_range(option, dollars))


def _nanos(name: str, dollars: float | None) -> int | None:
    if dollars is None:
        return None
    return nanos(_in_range(f"--{name.replace('_', '-')}", dollars))


def _in_range(option: str, dollars: float) -> float:
    if not 0 < dollars <= MOST_DOLLARS:
        raise Rejected("invalid", f"{option} is {dollars:g}; it must be more than 0 and at most {MOST_DOLLARS:,.0f}")
    return dollars
