"""The options of a budget."""

import pytest

from acp_runtime.cli.budget import budget_of
from acp_runtime.cli.parser import build_parser
from acp_runtime.cli.verbs_budget import wanted
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


def changed(*words: str) -> tuple[Budget, list[str]]:
    return wanted(build_parser().parse_args(["budget", "bg-1", *words]))


def test_a_change_names_bounds_and_those_that_are_to_be_none():
    assert changed() == (Budget(), [])
    assert changed("--tokens", "5", "--soft-cost", "none") == (Budget(tokens=5), ["soft_cost"])
    assert changed("--cost", "2.5", "--soft-tokens", "3") == (Budget(cost=nanos(2.5), soft_tokens=3), [])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--tokens", "many"), "--tokens is 'many'; give a number, or none"),
        (("--tokens", "1.5"), "--tokens is '1.5'; give a number, or none"),
        (("--soft-cost", "nan"), "--soft-cost is nan; it must be more than 0 and at most 1,000,000"),
    ],
)
def test_a_bound_that_is_no_number_is_named(words: tuple[str, str], told: str):
    with pytest.raises(Rejected, match=told):
        changed(*words)
