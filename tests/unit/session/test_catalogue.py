"""The agent kinds that come with the program, and what becomes of a kind's variables."""

import pytest

from acp_runtime.session.catalogue import AgentKind, builtin_kinds


@pytest.mark.parametrize("end", ["", "/", "/v1", "/v1/", "/v1beta", "/v1beta//"])
def test_the_root_of_an_api_has_no_version_at_its_end(end):
    address = f"http://127.0.0.1:8790{end}"
    kind = AgentKind(name="x", argv=("x",), env={"ROOT": "$API_ROOT", "BASE": "$BASE_URL", "M": "$MODEL"})
    filled = kind.environment(model="m", base_url=address)
    assert filled == {"ROOT": "http://127.0.0.1:8790", "BASE": address, "M": "m"}


def test_the_root_of_an_api_keeps_the_path_of_a_gateway():
    kind = AgentKind(name="x", argv=("x",), env={"ROOT": "$API_ROOT"})
    assert kind.environment(model=None, base_url="http://h/anthropic/v1")["ROOT"] == "http://h/anthropic"


def test_a_login_of_a_subscription_puts_its_variables_over_those_of_a_key():
    kind = AgentKind(name="x", argv=("x",), env={"A": "key", "B": "$MODEL"}, login_env={"A": "login", "C": "$API_ROOT"})
    assert kind.environment(model="m", base_url="http://h/v1") == {"A": "key", "B": "m"}
    assert kind.environment(model="m", base_url="http://h/v1", login=True) == {"A": "login", "B": "m", "C": "http://h"}


def test_each_kind_says_how_its_api_wants_the_key():
    kinds = builtin_kinds()
    assert (kinds["opencode"].key_form, kinds["claude"].key_form) == ("bearer", "x-api-key")
    assert kinds["gemini"].key_form == "x-goog-api-key"


def test_every_kind_takes_the_model_that_is_named():
    for kind in builtin_kinds().values():
        filled = kind.environment(model="the-model", base_url="http://the-address/v1")
        assert kind.takes_model, kind.name
        assert "http://the-address" in str(filled), kind.name
        assert "$" not in str(filled).replace("$schema", ""), kind.name
