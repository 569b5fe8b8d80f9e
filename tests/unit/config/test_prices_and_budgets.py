"""Prices and budgets in the configuration."""

from pathlib import Path

import pytest

from acp_runtime.config import Config, ConfigError, load
from acp_runtime.core.budget import Budget, nanos
from acp_runtime.core.metering import Usage
from acp_runtime.models.prices import builtin_prices


def loaded(folder: Path, text: str, **environ: str) -> Config:
    file = folder / "config.toml"
    file.write_text(text)
    return load(file, {"HOME": str(folder), **environ})


def refused(folder: Path, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        loaded(folder, text)
    return str(caught.value)


def test_a_price_of_the_users_is_exact_and_goes_before_the_programs(tmp_path: Path) -> None:
    text = (
        '[prices."My/Model:free"]\ninput = 0.1\noutput = 0.3\n'
        '[prices."gpt-5.4"]\ninput = 1\noutput = 1\ncached_input = 0\n'
    )
    prices = builtin_prices().with_own(loaded(tmp_path, text).prices)
    assert prices.cost("my/model:free", Usage(input=3, output=1)) == 600
    assert prices.cost("gpt-5.4-2026-03-05", Usage(input=1, cached_input=9)) == 1_000


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[prices.m]\ninput = 1\n", ":1: prices.m.output: field required"),
        ("[prices.m]\ninput = -1\noutput = 1\n", ":2: prices.m.input: input should be greater than or equal to 0"),
        ('[prices."a b"]\ninput = 1\noutput = 1\n', ":1: prices.a b"),
        ('[prices.m]\ninput = 1\noutput = 1\nper = "call"\n', ":4: prices.m.per: unknown key; allowed: cache_write, "),
        ("[budget]\ntokens = 0\n", ":2: budget.tokens: input should be greater than or equal to 1"),
        ("[budget]\ntokens = 5\nsoft_tokens = 5\n", "the soft budget is not below the hard one"),
        ("[budget]\ncost = 0\n", "the budget's cost is 0; it must be more than 0"),
        ("[presets.p]\nbudget_cost = 1\nbudget_soft_cost = 2\n", "the soft budget is not below the hard one"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_with_its_name(tmp_path: Path, text: str, words: str) -> None:
    assert words in refused(tmp_path, text)


def test_a_budget_is_read_from_the_file_a_variable_and_a_preset_that_extends_another(tmp_path: Path) -> None:
    text = (
        '[budget]\ntokens = 1_000\ncost = 0.1\nsoft_cost = "none"\n'
        '[presets.small]\nextends = "mine"\nbudget_cost = 0.05\n'
        '[presets.mine]\nbudget_tokens = 500\nbudget_cost = 1\n'
    )  # fmt: skip
    config = loaded(tmp_path, text, SUBAGENTS_BUDGET_TOKENS="2000")
    assert config.budget == Budget(tokens=2_000, cost=nanos(0.1))
    assert config.presets["small"].budget == Budget(tokens=500, cost=50_000_000)
    assert config.presets["friendly"].budget == Budget()
