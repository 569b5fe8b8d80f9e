"""What the doctor knows by itself: holes of the runtime, and what is nobody's business."""

import pytest

from acp_runtime.cli.doctor import redacted
from acp_runtime.cli.escapes import open_escapes


@pytest.mark.parametrize(
    ("version", "count"),
    [
        ("1.1.5+deb12u1", 3), ("1.1.11", 3), ("1.1.12", 2), ("1.2.7", 2), ("1.2.8", 1), ("1.3.2", 2), ("1.3.3", 1),
        ("1.3.6", 0), ("1.4.0", 1), ("1.4.3", 0), ("1.5.0", 0), ("2.0.0", 0), ("v1.5.1-rc.1", 0), ("", 0),
        ("unknown", 0),
    ],
)  # fmt: skip
def test_a_version_of_the_runtime_has_the_holes_that_it_has(version: str, count: int) -> None:
    assert len(open_escapes(version)) == count


@pytest.mark.parametrize(
    "secret",
    [
        "Authorization: Bearer abcdef123456", "api_key=k-123456", "https://user:hunter2@host/x", "sk-live-1234567890",
        "TOKEN = t0ps3cret",
    ],
)  # fmt: skip
def test_a_report_holds_no_secret(secret: str) -> None:
    said = redacted(f"it was {secret} and went on")
    for word in ("abcdef123456", "k-123456", "hunter2", "1234567890", "t0ps3cret"):
        assert word not in said
    assert said.startswith("it was ")
