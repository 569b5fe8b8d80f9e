"""Logins of subscriptions in real files, renewed at a scripted provider; no vendor's own was ever asked."""

import asyncio
import json
import stat
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h11
import pytest

from acp_runtime.core.errors import Rejected
from acp_runtime.keys import LiveKey, Secret, key_in_use, key_source, renewal
from tests.integration.http_ends import End, client, echo, forwarding, upstream
from tests.integration.token_provider import TokenProvider, now, token

REFRESH = "canary-refresh-0"
BOUND = 60.0
FILES = {"claude": ".claude/.credentials.json", "codex": ".codex/auth.json", "gemini": ".gemini/oauth_creds.json"}
GEMINI_OF_ITS_VENDOR = """// canary
var OAUTH_CLIENT_ID = "gemini-id";
var OAUTH_CLIENT_SECRET = "canary-of-the-program";
"""
ONE_OF_MANY = """
import asyncio, sys
from acp_runtime.keys import key_source
source = key_source(sys.argv[1], {"HOME": sys.argv[2]})
async def main():
    return [each.reveal().decode() for each in await asyncio.gather(*(source.read() for _ in range(4)))]
print(*asyncio.run(main()), sep="\\n")
"""


@pytest.fixture
def provider() -> Iterator[TokenProvider]:
    with TokenProvider() as made:
        yield made


def document(vendor: str, expires_in: float) -> dict[str, Any]:
    access = token("old", expires_in=expires_in)
    if vendor == "claude":
        until = int((now() + expires_in) * 1000)
        own = {"accessToken": access, "refreshToken": REFRESH, "expiresAt": until, "subscriptionType": "max"}
        return {"claudeAiOauth": own, "other": 1}
    if vendor == "gemini":
        until = int((now() + expires_in) * 1000)
        return {"access_token": access, "refresh_token": REFRESH, "expiry_date": until, "scope": "old", "other": 1}
    tokens = {"access_token": access, "refresh_token": REFRESH, "id_token": "old-id", "account_id": "acc-1"}
    return {"OPENAI_API_KEY": None, "tokens": tokens, "last_refresh": "2026-01-01T00:00:00.000000Z"}


def log_in(home: Path, vendor: str, *, expires_in: float, mode: int = 0o600) -> Path:
    path = home / FILES[vendor]
    path.parent.mkdir(exist_ok=True)
    path.touch(mode)
    path.write_text(json.dumps(document(vendor, expires_in)))
    path.chmod(mode)
    return path


def login(home: Path, vendor: str, provider: TokenProvider) -> Any:
    return key_source(f"login:{vendor}@{provider.url}", {"HOME": str(home), "PATH": f"{home}/bin"})


def install_gemini(home: Path) -> None:
    """Install what looks like Gemini CLI, as npm does: a link to one file of many."""
    bundle = home / "lib" / "gemini-cli" / "bundle"
    bundle.mkdir(parents=True)
    for name, text in (("a.js", ""), ("b.js", "OAUTH_CLIENT_ID"), ("gemini.js", "#!x"), ("s.js", GEMINI_OF_ITS_VENDOR)):
        (bundle / name).write_text(text)
        (bundle / name).chmod(0o755)
    (home / "bin").mkdir()
    (home / "bin" / "gemini").symlink_to("../lib/gemini-cli/bundle/gemini.js")


async def refused(source: Any, used: Secret | None = None) -> Rejected:
    with pytest.raises(Rejected) as caught:
        await source.read(used)
    assert "canary" not in "".join(traceback.format_exception(caught.value)), "no token is told"
    return caught.value


@pytest.mark.requirement("D09.31")
@pytest.mark.parametrize("vendor", FILES)
async def test_a_login_is_renewed_before_it_expires_and_written_back_as_its_vendor_does(
    tmp_path: Path, provider: TokenProvider, vendor: str
) -> None:
    path = log_in(tmp_path, vendor, expires_in=60, mode=0o400)
    install_gemini(tmp_path)
    source = login(tmp_path, vendor, provider)
    secret = await source.read()
    assert secret.reveal().decode().endswith("canary-access-1")
    assert secret.until is not None
    assert 3200 < secret.until - now() < 3301
    written, mode = json.loads(path.read_text()), stat.S_IMODE(path.stat().st_mode)
    assert mode == 0o400
    assert [body["refresh_token"] for body in provider.asked] == [REFRESH]
    if vendor == "claude":
        own = written["claudeAiOauth"]
        assert (own["accessToken"], own["refreshToken"]) == (secret.reveal().decode(), "canary-refresh-1")
        assert (own["subscriptionType"], written["other"], own["expiresAt"] > now() * 1000) == ("max", 1, True)
        assert secret.beside == ((b"anthropic-beta", b"oauth-2025-04-20"),)
    elif vendor == "gemini":
        assert (written["access_token"], written["refresh_token"]) == (secret.reveal().decode(), "canary-refresh-1")
        assert (written["other"], written["scope"], written["expiry_date"] > now() * 1000) == (1, "old", True)
        client = (provider.asked[0]["client_id"], provider.asked[0]["client_secret"])
        assert (client, secret.beside) == (("gemini-id", "canary-of-the-program"), ())
    else:
        assert written["tokens"] == {
            "access_token": secret.reveal().decode(),
            "refresh_token": "canary-refresh-1",
            "id_token": "id",
            "account_id": "acc-1",
        }
        assert written["last_refresh"] > "2026-01-02"
        assert secret.beside == ((b"chatgpt-account-id", b"acc-1"),)
    assert (await source.read()).reveal() == secret.reveal()
    assert len(provider.asked) == 1, "what is valid is not renewed"
    left = {each.name for each in path.parent.iterdir()}
    assert left == {path.name, f"{path.name}.subagents-lock"}


@pytest.mark.requirement("D09.31")
async def test_a_login_is_renewed_once_however_many_processes_need_it(tmp_path: Path, provider: TokenProvider) -> None:
    """The provider takes each refresh token once, and ends the login of who comes with an old one."""
    log_in(tmp_path, "claude", expires_in=-60)
    argv = (sys.executable, "-c", ONE_OF_MANY, f"login:claude@{provider.url}", str(tmp_path))
    started = [await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE) for _ in range(3)]
    async with asyncio.timeout(60):
        told = [(await each.communicate())[0].decode().split() for each in started]
    assert [len(each) for each in told] == [4, 4, 4]
    assert len({each for many in told for each in many}) == 1
    assert len(provider.asked) == 1


@pytest.mark.requirement("D09.31")
async def test_a_token_that_the_model_refused_is_renewed_though_it_is_not_due(
    tmp_path: Path, provider: TokenProvider
) -> None:
    log_in(tmp_path, "codex", expires_in=3600)
    source = login(tmp_path, "codex", provider)
    secret = await source.read()
    assert provider.asked == []
    new = await source.read(secret)
    assert new.reveal() != secret.reveal()
    assert (await source.read(secret)).reveal() == new.reveal()
    assert len(provider.asked) == 1, "another process had the same one refused: it finds the new one"


@pytest.mark.requirement("D09.31")
@pytest.mark.parametrize("status", [400, 401, 403])
async def test_a_login_that_its_vendor_renews_no_more_is_expired(
    tmp_path: Path, provider: TokenProvider, status: int
) -> None:
    path = log_in(tmp_path, "claude", expires_in=30)
    before, provider.status = path.read_bytes(), status
    error = await refused(login(tmp_path, "claude", provider))
    assert error.kind == "login_expired"
    assert f"login:claude was not renewed: the vendor answered {status}; run `claude`" in str(error)
    assert path.read_bytes() == before


@pytest.mark.requirement("D09.33")
async def test_what_a_vendor_renews_no_more_is_given_to_nobody_though_it_is_not_due(
    tmp_path: Path, provider: TokenProvider
) -> None:
    """The model refused it; another process, or a later one, must not take it for good because of its date."""
    path = log_in(tmp_path, "codex", expires_in=3600)
    provider.status = 400
    used = await login(tmp_path, "codex", provider).read()
    assert (await refused(login(tmp_path, "codex", provider), used)).kind == "login_expired"
    assert (await refused(login(tmp_path, "codex", provider))).kind == "login_expired"
    provider.status = 500
    assert (await refused(login(tmp_path, "codex", provider))).kind == "key_unreadable"
    (lock,) = (each for each in path.parent.iterdir() if each != path)
    assert (len(lock.read_text()), stat.S_IMODE(lock.stat().st_mode)) == (64, 0o600)
    log_in(tmp_path, "codex", expires_in=7200)
    assert (await login(tmp_path, "codex", provider).read()).reveal() != used.reveal()


@pytest.mark.requirement("D09.31", "D09.33")
async def test_a_login_whose_program_is_not_there_is_used_until_it_expires(
    tmp_path: Path, provider: TokenProvider
) -> None:
    source = login(tmp_path, "gemini", provider)
    path = log_in(tmp_path, "gemini", expires_in=60)
    secret = await source.read()
    assert (secret.reveal().endswith(b"canary-old"), source.state().partition(":")[0]) == (
        True,
        "there, until its token expires",
    )
    log_in(tmp_path, "gemini", expires_in=-1)
    error = await refused(source)
    words = "its vendor's program, by which it would be, is not on the PATH of this process; run `gemini`, and log in"
    assert (error.kind, words in str(error)) == ("login_expired", True), str(error)
    assert source.state().startswith("expired: run `gemini`")
    assert json.loads(path.read_text())["refresh_token"] == REFRESH
    install_gemini(tmp_path)
    assert (await source.read()).reveal().endswith(b"canary-access-1"), "nobody has to log in for that"
    assert (len(provider.asked), source.state()) == (1, "there")


async def test_the_doctor_is_told_how_a_login_stands_and_nobody_is_asked(
    tmp_path: Path, provider: TokenProvider
) -> None:
    source = login(tmp_path, "codex", provider)
    assert source.state() == "not logged in"
    log_in(tmp_path, "codex", expires_in=-60)
    assert (source.state(), provider.asked) == ("there", [])
    provider.status = 401
    await refused(source)
    assert (source.state(), len(provider.asked)) == ("expired: run `codex login`", 1)
    log_in(tmp_path, "codex", expires_in=3600, mode=0o644)
    assert source.state() == "its file cannot be used"


@pytest.mark.requirement("D09.33")
async def test_a_login_made_again_is_used_by_the_next_request(tmp_path: Path, provider: TokenProvider) -> None:
    log_in(tmp_path, "claude", expires_in=-1)
    provider.status = 400
    key = await key_in_use(f"login:claude@{provider.url}", {"HOME": str(tmp_path)})
    for _ in range(2):
        with pytest.raises(Rejected, match="answered 400"):
            await key.current()
    assert len(provider.asked) == 1, "what failed a moment ago is not asked for again"
    log_in(tmp_path, "claude", expires_in=3600)
    assert (await key.current()).reveal().endswith(b"canary-old")


@pytest.mark.parametrize("status", [302, 429, 500])
async def test_a_vendor_that_cannot_be_asked_ends_nothing_before_the_token_does(
    tmp_path: Path, provider: TokenProvider, status: int
) -> None:
    provider.status = status
    for expires_in in (60, -1):
        log_in(tmp_path, "claude", expires_in=expires_in)
        source = login(tmp_path, "claude", provider)
        if expires_in > 0:
            secret = await source.read()
            assert secret.reveal().decode().endswith("canary-old")
            assert secret.until is not None
            assert now() < secret.until < now() + 21, "the vendor is asked again soon, and not by each request"
        else:
            error = await refused(source)
            assert (error.kind, f"the vendor answered {status}; try again" in str(error)) == ("key_unreadable", True)
    assert len(provider.asked) == 2, "a redirection is followed by nobody"


async def test_a_vendor_that_answers_byte_by_byte_holds_nobody_for_ever(
    tmp_path: Path, provider: TokenProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renewal, "IN_ALL", 0.5)
    provider.drips = True
    log_in(tmp_path, "claude", expires_in=-1)
    source = login(tmp_path, "claude", provider)
    async with asyncio.timeout(BOUND):
        error = await refused(source)
    assert (error.kind, "the vendor could not be asked" in str(error)) == ("key_unreadable", True)
    provider.drips = False
    provider.refresh = REFRESH  # as if it had not heard of that
    assert (await source.read()).reveal().decode().endswith("canary-access-2"), "the lock is free"


@pytest.mark.parametrize(
    ("content", "kind", "words"),
    [
        (None, "key_missing", "is not there"),
        ("{}", "key_missing", "there is no login of a subscription; run `claude`"),
        ("[]", "key_missing", "no login"),
        ('{"claudeAiOauth": {"accessToken": ""}, "x": "canary"}', "key_missing", "no login"),
        ('{"claudeAiOauth": null', "key_missing", "no login"),
        ('{"claudeAiOauth": {"accessToken": "a b"}}', "key_malformed", "cannot be sent"),
    ],
)
async def test_a_file_without_a_login_is_told(
    tmp_path: Path, provider: TokenProvider, content: str | None, kind: str, words: str
) -> None:
    path = log_in(tmp_path, "claude", expires_in=60)
    path.unlink() if content is None else path.write_text(content)
    error = await refused(login(tmp_path, "claude", provider))
    assert (error.kind, words in str(error)) == (kind, True), str(error)


async def test_a_login_that_others_may_read_is_refused(tmp_path: Path, provider: TokenProvider) -> None:
    log_in(tmp_path, "claude", expires_in=3600, mode=0o644)
    assert "(mode 0644); chmod 0600" in str(await refused(login(tmp_path, "claude", provider)))


async def test_a_live_key_is_read_again_when_it_is_due_or_was_refused_and_not_at_each_request(
    tmp_path: Path, provider: TokenProvider
) -> None:
    log_in(tmp_path, "claude", expires_in=60)
    key = LiveKey(f"login:claude@{provider.url}", {"HOME": str(tmp_path)})
    first = await key.current()
    assert await key.current() is first
    key.refuse(first)
    second = await key.current()
    assert second.reveal() != first.reveal()
    key.refuse(first)
    key.refuse(second)
    assert await key.current() is second, "one renewal in twenty seconds"
    assert len(provider.asked) == 2


async def strict(end: End, request: h11.Request) -> None:
    """Refuse what is old."""
    await end.hear_body()
    await end.answer(401 if b"old" in dict(request.headers)[b"authorization"] else 200, b"{}")


@pytest.mark.requirement("D09.31")
async def test_a_request_goes_with_the_token_of_a_login_and_with_another_once_that_was_refused(
    tmp_path: Path, provider: TokenProvider
) -> None:
    log_in(tmp_path, "claude", expires_in=3600)
    key = LiveKey(f"login:claude@{provider.url}", {"HOME": str(tmp_path)})

    async with (
        upstream(strict) as model,
        forwarding(tmp_path, model.url, key=key, key_form="x-api-key") as forwarder,
    ):
        sent = [("x-api-key", "stand-in"), ("anthropic-beta", "mine")]
        for status in (503, 200, 200):
            async with client(forwarder.path) as agent:
                answer, body = await agent.exchange("POST", "/v1/messages", b"{}", sent)
            assert (answer.status_code, b"ask once more" in body) == (status, status == 503)
    told = [[value for name, value in each.headers if name == b"authorization"] for each in model.requests]
    assert [len(each) for each in told] == [1, 1, 1]
    assert told[0] != told[1] == told[2]
    for each in model.requests:
        assert [v for n, v in each.headers if n == b"anthropic-beta"] == [b"mine", b"oauth-2025-04-20"]
        assert b"x-api-key" not in dict(each.headers)
    assert len(provider.asked) == 1


@pytest.mark.requirement("D09.31")
@pytest.mark.parametrize(("status", "expected"), [(500, 503), (400, 400)])
async def test_a_request_without_a_login_that_works_is_answered_in_the_form_of_its_api(
    tmp_path: Path, provider: TokenProvider, status: int, expected: int
) -> None:
    provider.status = status
    log_in(tmp_path, "claude", expires_in=-1)
    key = LiveKey(f"login:claude@{provider.url}", {"HOME": str(tmp_path)})
    async with (
        upstream(echo) as model,
        forwarding(tmp_path, model.url, key=key, key_form="x-api-key") as forwarder,
    ):
        for _ in range(3):
            async with client(forwarder.path) as agent:
                answer, body = await agent.exchange("POST", "/v1/messages", b"{}", [("x-api-key", "stand-in")])
            error = json.loads(body)["error"]
            assert (answer.status_code, "There is no key for this model now" in error["message"]) == (expected, True)
            assert "login:claude was not renewed" in str(forwarder.tally.last_error)
    assert (model.requests, len(provider.asked)) == ([], 1), "the vendor is not asked at each request"


async def test_a_large_request_without_a_login_hears_why_too(tmp_path: Path, provider: TokenProvider) -> None:
    """What is sent on while nobody reads it would be reset, and the answer with it: agents ask again for that."""
    provider.status = 400
    log_in(tmp_path, "claude", expires_in=-1)
    key = LiveKey(f"login:claude@{provider.url}", {"HOME": str(tmp_path)})
    async with upstream(echo) as model, forwarding(tmp_path, model.url, key=key) as forwarder:
        for _ in range(3):
            async with client(forwarder.path) as agent:
                answer, _ = await agent.exchange("POST", "/v1/messages", b"x" * 4_000_000)
            assert answer.status_code == 400
    assert model.requests == []


@pytest.mark.requirement("D09.5")
async def test_a_key_that_was_rotated_is_found_once_the_old_one_was_refused(tmp_path: Path) -> None:
    (tmp_path / "key").touch(0o600)
    (tmp_path / "key").write_text("old-key")
    key = LiveKey(f"file:{tmp_path}/key", {})
    async with (
        upstream(strict) as model,
        forwarding(tmp_path, model.url, key=key) as forwarder,
    ):
        for key_now, status in (("old-key", 503), ("new-key", 200), ("new-key", 200), ("old-key", 200)):
            (tmp_path / "key").write_text(key_now)
            async with client(forwarder.path) as agent:
                assert (await agent.exchange("POST", "/v1/x", b"{}"))[0].status_code == status
    told = [dict(each.headers)[b"authorization"] for each in model.requests]
    assert told == [b"Bearer old-key", b"Bearer new-key", b"Bearer new-key", b"Bearer new-key"]


async def test_a_key_that_is_wrong_is_told_as_the_model_told_it_once_it_was_read_again(tmp_path: Path) -> None:
    (tmp_path / "key").touch(0o600)
    (tmp_path / "key").write_text("old-key")
    key = LiveKey(f"file:{tmp_path}/key", {})
    async with upstream(strict) as model, forwarding(tmp_path, model.url, key=key) as forwarder:
        for status in (503, 401, 401):
            async with client(forwarder.path) as agent:
                assert (await agent.exchange("POST", "/v1/x", b"{}"))[0].status_code == status
