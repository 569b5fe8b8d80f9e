"""The options of a budget."""

import argparse
from typing import Final

from acp_runtime.core.budget import Budget, nanos
from acp_runtime.core.errors import Rejected

MOST_DOLLARS: Final = 1_000_000.0


def budget_of(options: argparse.Namespace) -> Budget:
    """Return the bounds that were given. Raises `Rejected` (invalid) for an amount that is none."""
    soft_tokens: int | None = getattr(options, "soft_budget_tokens", None)
    cost, soft_cost = (_nanos(name, getattr(options, name, None)) for name in ("budget_cost", "soft_budget_cost"))
    return Budget(options.budget_tokens, cost, soft_tokens, soft_cost)


def _nanos(name: str, dollars: float | None) -> int | None:
    if dollars is None:
        return None
    if not 0 < dollars <= MOST_DOLLARS:
        option = name.replace("_", "-")
        raise Rejected("invalid", f"--{option} is {dollars:g}; it must be more than 0 and at most {MOST_DOLLARS:,.0f}")
    return nanos(dollars)
