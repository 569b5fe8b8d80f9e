"""The options of a budget."""

import pytest

from acp_runtime.cli.budget import budget_of
from acp_runtime.cli.parser import build_parser
from acp_runtime.core.budget import Budget, nanos
from acp_runtime.core.errors import Rejected


def given(*words: str) -> Budget:
    return budget_of(build_parser().parse_args(list(words)))


def test_bounds_are_read_in_tokens_and_dollars():
    assert given("run", "x") == given("spawn", "x") == Budget()
    assert given("run", "--budget-tokens", "5", "--budget-cost", "0.1", "x") == Budget(5, nanos(0.1))
    soft = ("--soft-budget-tokens", "4", "--soft-budget-cost", "2")
    assert given("spawn", *soft, "x") == Budget(soft_tokens=4, soft_cost=nanos(2))


@pytest.mark.parametrize("amount", ["0", "-1", "1e9", "nan", "inf"])
def test_an_amount_that_is_none_is_named(amount: str):
    with pytest.raises(Rejected, match=r"--budget-cost is .*; it must be more than 0 and at most 1,000,000"):
        given("run", "--budget-cost", amount, "x")
