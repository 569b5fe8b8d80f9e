"""The table of prices, and how the price of a model is found in it."""

import tomllib
from datetime import date
from decimal import Decimal
from importlib.resources import files

import pytest

from acp_runtime.core.metering import Usage
from acp_runtime.core.prices import Price, Prices
from acp_runtime.models.prices import builtin_prices, table_rows

MILLION = 1_000_000
DOLLAR = 1_000_000_000
ROWS = (
    Price.of("m", input=Decimal(2), output=Decimal(10), cached_input=Decimal("0.075"), cache_write=Decimal("2.5")),
    Price.of("m", input=Decimal(4), output=Decimal(15), prompt_over=200_000),
    Price.of("maker/n", input=Decimal(1), output=Decimal(1)),
)


@pytest.mark.parametrize(
    ("model", "usage", "cost"),
    [
        ("m", Usage(input=1, output=1), 12_000),
        ("m", Usage(input=100, cached_input=10, cache_write=4, cache_write_hour=3, output=7), 280_750),
        ("M-2026-01-31", Usage(input=1), 2_000),
        ("m-20260131", Usage(input=1), 2_000),
        ("m@20260131", Usage(input=1), 2_000),
        ("m-latest", Usage(input=1), 2_000),
        ("someone/m", Usage(input=1), 2_000),
        ("maker/n", Usage(input=1), 1_000),
        ("m", Usage(input=200_000), 400_000_000),
        ("m", Usage(input=200_000, cached_input=1), 800_004_000),
        ("n", Usage(input=1), None),
        ("m-2", Usage(input=1), None),
        ("mm", Usage(input=1), None),
        ("", Usage(input=1), None),
        ("m", Usage(), 0),
    ],
)
def test_a_model_is_found_under_its_name_and_costs_what_its_row_says(model, usage, cost):
    assert Prices(ROWS).cost(model, usage) == cost


def test_half_a_nano_dollar_is_rounded_up_and_never_lost_in_binary():
    price = Price.of("m", input=Decimal("0.0005"), output=Decimal("0.1"))
    assert [price.cost(Usage(input=count)) for count in (1, 2, 3)] == [1, 1, 2]
    assert price.cost(Usage(output=3 * MILLION)) == 3 * DOLLAR // 10


def test_a_users_price_goes_before_the_programs_with_all_of_its_rows():
    prices = Prices(ROWS).with_own([Price.of("M", input=Decimal(7), output=Decimal(7))])
    assert prices.cost("m", Usage(input=300_000)) == 2_100_000_000
    assert prices.cost("maker/n", Usage(input=1)) == 1_000


def test_the_table_is_consistent():
    rows = table_rows()
    assert len({(row.model, row.prompt_over) for row in rows}) == len(rows), "a row is there twice"
    for row in rows:
        assert row.model == row.model.lower()
        assert 0 < row.cached_input <= row.input < row.output, row
        assert row.input <= row.cache_write <= row.cache_write_hour <= 2 * row.input, row
        assert row.prompt_over == 0 or any(each.model == row.model and not each.prompt_over for each in rows), row


def test_every_price_has_a_date_and_a_place_where_it_was_looked_up():
    text = (files("acp_runtime.models") / "prices.toml").read_text(encoding="utf-8")
    for source in tomllib.loads(text)["source"]:
        assert isinstance(source["as_of"], date), source["name"]
        assert source["where"].startswith("https://"), source["name"]


def test_real_names_of_models_are_found():
    for name in ("claude-opus-4-5-20251101", "anthropic/claude-sonnet-4-5", "gpt-5.4-2026-03-05", "gemini-2.5-pro"):
        assert builtin_prices().cost(name, Usage(input=MILLION)), name
    for name in ("gpt-5.4-turbo", "claude-opus-9", "llama-3", "scripted-1"):
        assert builtin_prices().cost(name, Usage(input=MILLION)) is None, name
