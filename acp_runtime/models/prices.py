"""The dated table of prices that comes with the program."""

import tomllib
from decimal import Decimal
from functools import cache
from importlib.resources import files

from acp_runtime.core.prices import Price, Prices

__all__ = ["builtin_prices", "table_rows"]


@cache
def builtin_prices() -> Prices:
    """Return the table that comes with the program."""
    return Prices(table_rows())


def table_rows() -> list[Price]:
    """Return the rows of the table."""
    text = (files("acp_runtime.models") / "prices.toml").read_text(encoding="utf-8")
    return [
        Price.of(
            row["model"],
            prompt_over=row.get("prompt_over", 0),
            **{name: Decimal(value) for name, value in row.items() if name not in ("model", "prompt_over")},
        )
        for source in tomllib.loads(text)["source"]
        for row in source["rows"]
    ]
