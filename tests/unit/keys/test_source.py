"""What may stand where a key's source is asked for, and how it is named."""

import pytest

from acp_runtime.core.errors import Rejected
from acp_runtime.keys import key_source

KEY = "sk-canary-4711"

REFUSED = [
    *(
        "",
        "env",
        "env:",
        "env: ",
        ":X",
        "MODEL_KEY",
        KEY,
        f"env:{KEY}",
        "env:A B",
        "env:1A",
        "env:A=B",
        "ENV:A",
        "env:\0",
    ),
    *(f"env:{key}" for key in ("gsk_canary0123456789ab", "hf_canaryABCDEF0123456789", "sk_canary_0123456789")),
    *("file:", "file:canary.txt", "file:./canary", "file:../canary", "file:~canary/key", "file:/a\0canary"),
    *("keychain:", "keychain:canary/", "keychain:/canary", "keychain:--canary"),
    *("command:", "command: ", "command:'canary", "command:./canary", "command:bin/canary", "command:''"),
    *("login:", "login:canary", "login:claude@canary", "login:claude@http://canary/x", "login:codex@ftp://canary"),
    *("http://canary/", "vault:canary"),
]


@pytest.mark.requirement("D09.6")
@pytest.mark.parametrize("text", REFUSED)
def test_what_is_no_source_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(Rejected) as caught:
        key_source(text, {"HOME": "/home/me"})
    assert caught.value.kind == "bad_key_source"
    assert "canary" not in str(caught.value)


@pytest.mark.requirement("D09.6")
@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("env:MODEL_KEY", "env:MODEL_KEY"),
        ("env:openai_key", "env:openai_key"),
        ("file:/run/keys/a b", "file:/run/keys/a b"),
        ("file:~/key", "file:/home/me/key"),
        ("keychain:models", "keychain:models"),
        ("keychain:models/me@host/x", "keychain:models/me@host/x"),
        ("command:pass show canary", "command:pass"),
        ("login:claude", "login:claude"),
        ("login:codex@https://example/token", "login:codex"),
        ("command:/usr/bin/op read 'op://a b/canary'", "command:/usr/bin/op"),
    ],
)
def test_a_source_is_named_without_what_may_be_a_secret(text: str, name: str) -> None:
    source = key_source(text, {"HOME": "/home/me", "MODEL_KEY": KEY, "openai_key": KEY})
    assert source.name == name
    assert source.runs == text.startswith(("command:", "keychain:"))
    assert "canary" not in f"{source!r} {source}"


@pytest.mark.requirement("D09.31")
def test_a_login_that_cannot_be_used_is_refused_with_the_reason() -> None:
    with pytest.raises(Rejected, match=r"login:copilot cannot be used: .*; give a token .*GitHub Copilot") as caught:
        key_source("login:copilot", {})
    assert caught.value.kind == "bad_key_source"


@pytest.mark.requirement("D09.5")
@pytest.mark.parametrize("environ", [{}, {"MY_KEY": ""}, {"MY_KEY": " \n"}, {"OTHER": KEY}])
async def test_a_missing_or_empty_variable_is_named_with_the_remedy(environ: dict[str, str]) -> None:
    with pytest.raises(Rejected, match=r"env:MY_KEY is .*; set the environment variable MY_KEY") as caught:
        await key_source("env:MY_KEY", environ).read()
    assert caught.value.kind == "key_missing"


@pytest.mark.parametrize("value", ["a b", "a\r\nx: y", "a\x00", "schlüssel", "x" * 9000])
async def test_a_key_that_fits_into_no_header_is_refused_without_being_shown(value: str) -> None:
    with pytest.raises(Rejected, match="env:MY_KEY") as caught:
        await key_source("env:MY_KEY", {"MY_KEY": value}).read()
    assert caught.value.kind == "key_malformed"
    assert value not in str(caught.value)


async def test_a_variable_is_read_anew_each_time() -> None:
    environ = {"MY_KEY": f" {KEY}\n"}
    source = key_source("env:MY_KEY", environ)
    assert (await source.read()).reveal() == KEY.encode()
    environ["MY_KEY"] = "sk-another"
    assert (await source.read()).reveal() == b"sk-another"
