"""How sums of calls are shown: what nobody knows is a question mark, never a zero."""

from dataclasses import asdict

import pytest

from acp_runtime.cli.usage import told
from acp_runtime.views import Spending


@pytest.mark.requirement("D09.7")
@pytest.mark.parametrize(
    ("spent", "words"),
    [
        (Spending(), "0 calls, 0 tokens, $0.0000"),
        (Spending(calls=1, tokens=1234, cost_usd=0.01234), "1 call, 1234 tokens, $0.0123"),
        (Spending(calls=2, tokens=7, unpriced_calls=2, cost_usd=None), "2 calls, 7 tokens, ?"),
        (Spending(calls=2, tokens=7, unpriced_calls=1, cost_usd=0.5), "2 calls, 7 tokens, $0.5000 + ?"),
        (Spending(calls=1, unknown_calls=1, unpriced_calls=1, cost_usd=None), "1 call, ? tokens, ?"),
        (
            Spending(calls=2, tokens=7, unknown_calls=1, unpriced_calls=1, cost_usd=0.5),
            "2 calls, 7 + ? tokens, $0.5000 + ?",
        ),
        (Spending(calls=1, failed_calls=1), "1 call, 0 tokens, $0.0000"),
    ],
)
def test_a_sum_says_what_it_does_not_hold(spent, words):
    assert told(asdict(spent)) == words
