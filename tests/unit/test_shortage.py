"""What ran out in a sandbox, in words."""

import pytest

from acp_runtime.core.confinement import Confinement
from acp_runtime.manager.shortage import Shortages

MEMORY = (
    "because the sandbox had no memory left: its limit is 64 MiB, which `memory` of its preset or `--memory` raises"
)
PIDS = "because the sandbox had too many: its limit is 16 at one time, which `pids` of its preset or `--pids` raises"


@pytest.mark.parametrize(
    ("before", "now", "told"),
    [
        ((0, 0), (0, 0), ""),
        ((0, 0), (1, 0), f"a process was killed {MEMORY}"),
        ((1, 0), (3, 0), f"2 processes were killed {MEMORY}"),
        ((0, 2), (0, 3), f"a new process was refused {PIDS}"),
        ((0, 0), (1, 900), f"a process was killed {MEMORY}; 900 new processes were refused {PIDS}"),
        ((3, 5), (3, 5), ""),
        ((3, 5), (0, 0), ""),  # of another container
    ],
)
def test_what_is_new_is_told_with_its_limit_and_what_raises_it(
    before: tuple[int, int], now: tuple[int, int], told: str
) -> None:
    assert Shortages(*now).since(Shortages(*before)).describe(Confinement(memory=64, pids=16)) == told
