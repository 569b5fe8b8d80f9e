"""A vendor that is asked to renew a login, and says what is no answer."""

from pathlib import Path

import pytest

from tests.integration.test_logins import REFRESH, log_in, login, refused
from tests.integration.token_provider import TokenProvider


@pytest.mark.parametrize(
    "said",
    [
        b"SSH-2.0-canary\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\ncan",
        b"HTTP/1.1 200 OK\r\n" + b"x: canary\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n" + b"[" * 100_000,
        b'HTTP/1.1 200 OK\r\n\r\n{"access_token": "canary", "expires_in": Infinity}',
        b'HTTP/1.1 200 OK\r\n\r\n{"access_token": "canary\\r\\nx-other: 1", "expires_in": 1}',
        b'HTTP/1.1 200 OK\r\n\r\n{"access_token": "\\ud800", "expires_in": 1}',
    ],
)
async def test_what_is_no_answer_of_a_vendor_is_told_and_costs_no_login(tmp_path: Path, said: bytes) -> None:
    path = log_in(tmp_path, "claude", expires_in=-60)
    before = path.read_text()
    with TokenProvider() as provider:
        provider.raw = said
        assert (await refused(login(tmp_path, "claude", provider))).kind == "key_unreadable"
        assert path.read_text() == before
        provider.raw, provider.refresh = b"", REFRESH
        assert (await login(tmp_path, "claude", provider).read()).reveal()
