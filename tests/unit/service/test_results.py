"""Which results of agents are kept: what every parent can read."""

from typing import Any

import pytest

from acp_runtime.core.errors import Rejected
from acp_runtime.service.results import MOST_LEVELS, checked

pytestmark = pytest.mark.requirement("D10.53")


def nested(levels: int) -> Any:
    return [] if levels == 1 else {"in": nested(levels - 1)}


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (nested(MOST_LEVELS + 1), "nested deeper than 64 levels"),
        ({"counts": [1, -(2**1023)]}, "more than 1023 bits; give it as a text"),
        ({"ratio": float("nan")}, "is no JSON"),
        ("x" * 65_535, "65537 characters long"),
    ],
)
async def test_a_result_that_not_every_parent_could_read_is_refused_with_the_reason(value: object, why: str) -> None:
    with pytest.raises(Rejected, match=why) as refused:
        await checked("", value)
    assert refused.value.kind == "result_invalid"


async def test_what_is_just_within_the_bounds_is_kept() -> None:
    for value in (nested(MOST_LEVELS), {"counts": [2**1023 - 1, 1e300, True]}, "x" * 65_534, None):
        assert await checked("", value)
