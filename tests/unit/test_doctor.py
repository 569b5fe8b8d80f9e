"""What the doctor knows by itself: holes of the runtime, and what is nobody's business."""

import pytest

from acp_runtime.cli.escapes import open_escapes
from acp_runtime.cli.redaction import redacted


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


SECRETS = {
    "Authorization: Bearer abcdef123456": "abcdef123456",
    "Authorization: Basic dXNlcjpwYXNz": "dXNlcjpwYXNz",
    "api_key=k-123456": "k-123456",
    "TOKEN = t0ps3cret": "t0ps3cret",
    '{"apiKey": "zzz999"}': "zzz999",
    "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG": "wJalrXUtnFEMI",
    "AKIAIOSFODNN7EXAMPLE": "AKIAIOSFODNN7",
    "password is hunter2": "hunter2",
    "https://user:hunter2@host/x": "hunter2",
    "https://user:p@ss@host/x": "p@ss",
    "https://user:p/w@host/x": "p/w",
    "https://0123456789abcdef@host/x": "0123456789abcdef",
    "sk-live-1234567890": "1234567890",
    "github_pat_11ABCDEFG0abcdefgh": "11ABCDEFG0",
    "ghs_16C7e42F292c6912E7": "16C7e42F292c",
    "glpat-abcdefghij1234567890": "abcdefghij",
    "AIzaSyA1234567890abcdefghijklmnopqrstuv": "SyA1234567890",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.SflKxwRJSMeKKF2QT4": "eyJzdWIiOiIxMjM0In0",
    "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nIBAAKC\n-----END RSA PRIVATE KEY-----": "IBAAKC",
    "the value of a variable, plain-words": "plain-words",
}


@pytest.mark.requirement("D10.11")
@pytest.mark.parametrize(("told", "secret"), SECRETS.items())
def test_a_report_holds_no_secret(told: str, secret: str) -> None:
    said = redacted(f"it was {told} and went on", {"MY_API_KEY": "plain-words", "SHORT_KEY": "on", "HOME": "/home/me"})
    assert secret not in said
    assert said.startswith("it was ")
    assert said.endswith(" and went on")


def test_a_report_says_what_is_no_secret() -> None:
    said = "2026-01-01 INFO 12 daemon: listens on /run/x.sock for store 59f4ae2b, epoch 1; the key; a token budget"
    assert redacted(said, {"HOME": "/home/me"}) == said
    assert redacted("in /home/me/x", {"HOME": "/home/me"}) == "in ~/x"
