"""What a person is told who wants to see what one changed, and there is nothing to show."""

from dataclasses import replace

import pytest

from acp_runtime.core.status import Status
from acp_runtime.tui.app import _no_work
from tests.unit.tui.test_rows import VIEW


@pytest.mark.parametrize(
    ("status", "exported", "told"),
    [
        (Status.IDLE, True, "its work is taken out when it ends; x stops it"),
        (Status.STOPPED, True, "it ended before it had a session"),
        (Status.ERROR, False, "its work could not be taken out"),
    ],
)
def test_it_is_said_why_there_is_no_work_to_see(status: Status, *, exported: bool, told: str) -> None:
    assert _no_work(replace(VIEW, status=status, exported=exported)) == told
