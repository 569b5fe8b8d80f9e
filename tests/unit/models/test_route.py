import pytest

from acp_runtime.carrying.refusal import Refusal
from acp_runtime.core.errors import Rejected
from acp_runtime.keys import LiveKey, Secret
from acp_runtime.models import Route


@pytest.mark.parametrize(
    ("url", "authority", "path", "inside"),
    [
        ("http://127.0.0.1:9999/v1", "127.0.0.1:9999", "/v1", "http://127.0.0.1:8790/v1"),
        ("https://host/v1/", "host", "/v1", "http://127.0.0.1:8790/v1"),
        ("https://host:443", "host", "", "http://127.0.0.1:8790"),
        ("http://[::1]:80/a/b", "[::1]", "/a/b", "http://127.0.0.1:8790/a/b"),
        ("HTTPS://Host:8443/", "host:8443", "", "http://127.0.0.1:8790"),
    ],
)
def test_a_base_url_gives_host_and_path_and_the_address_inside(url, authority, path, inside):
    route = Route.parse(url)
    assert (route.authority, route.path, route.inside(8790)) == (authority, path, inside)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "host/v1",
        "ftp://host/",
        "http://",
        "http:///v1",
        "http://host:0/",
        "http://host:99999/",
        "http://host:x/",
        "http://[::1/",
        "http://user:hunter2@host/v1",
        "http://host/v1?key=hunter2",
        "http://host/v1#x",
        "http://host/../v1",
        "http://host/%2e%2e/v1",
        "http://host/v1\r\nx: y",
        "http://host/v1 ",
        "http://hößt/",
    ],
)
def test_a_malformed_base_url_is_refused_without_being_repeated(url):
    with pytest.raises(Rejected) as caught:
        Route.parse(url)
    assert caught.value.kind == "bad_model_url"
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "target",
    [
        b"/v1",
        b"/v1/chat/completions",
        b"/v1/models/org%2Fname",
        b"/v1/a?after=/../x&order=%2e%2e",
        b"/v1/..a/.b/c..",
        b"/v1/a%20b%25",
    ],
)
def test_a_target_under_the_base_path_is_asked_for_as_it_is(target):
    assert Route.parse("http://up:99/v1").admit(b"POST", target) == target


@pytest.mark.requirement("T8")
@pytest.mark.parametrize(
    ("target", "asked"),
    [
        (b"/v1/a?key=AIza", b"/v1/a"),
        (b"/v1/a?alt=sse&key=AIza", b"/v1/a?alt=sse"),
        (b"/v1/a?KEY=AIza&alt=sse", b"/v1/a?alt=sse"),
        (b"/v1/a?%6bey=AIza&beta=true", b"/v1/a?beta=true"),
        (b"/v1/a?beta=1;key=AIza", b"/v1/a?beta=1"),
        (b"/v1/a?key&key=&&", b"/v1/a"),
        (b"/v1/a?order=key&api_key=1&token=2&x-api-key=3&access_token=4&sig=5", b"/v1/a?order=key"),
        (b"/v1/a?%24httpHeaders=authorization%3Ax&oauth_token=6&$httpheaders=y", b"/v1/a"),
        (b"/v1/a?$key=AIza&$userProject=p&%24httpMethod=DELETE&$alt=sse", b"/v1/a?$alt=sse"),
        (b"/v1/a?url=http://other&api_base=x&organization=o&project=p&pageToken=t", b"/v1/a?pageToken=t"),
        (b"/v1/a?api-version=1&include%5B%5D=a&x", b"/v1/a?api-version=1&include%5B%5D=a"),
        (b"http://up:99/v1/a?key=AIza", b"/v1/a"),
    ],
)  # fmt: skip
def test_nothing_in_a_query_leaves_that_is_not_known(target, asked):
    """Gemini takes a key there: with one of its own an agent could put what it found where somebody else reads it."""
    assert Route.parse("http://up:99/v1").admit(b"POST", target) == asked


@pytest.mark.requirement("T8")
@pytest.mark.parametrize(
    "name",
    [
        b"authorization", b"x-api-key", b"api-key", b"x-goog-api-key", b"cookie", b"private-token", b"x-bf-vk",
        b"chatgpt-account-id", b"openai-organization", b"openai_project", b"x-goog-user-project", b"x-org-id",
        b"anthropic-workspace-id", b"x-organization-uuid", b"x-openai-actor-authorization", b"x-hf-bill-to",
        b"x-openai-account-routing-override", b"x-claude-code-ide-authorization", b"x-provider-api-keys",
        b"helicone-auth", b"x-portkey-virtual-key", b"x-portkey-custom-host", b"cf-aig-custom", b"x-litellm-tags",
        b"forwarded", b"x-forwarded-host", b"x-original-url", b"x-http-method-override", b"x-envoy-original-path",
        b"x-goog-request-params", b"x-target-url", b"mcp-session-id",
    ],
)  # fmt: skip
def test_no_header_names_another_account_or_host_to_a_model(name):
    """What is asked with another account's key is that account's to read: a way out to whoever owns it."""
    assert not Route.parse("http://up").carries(name)


def test_what_clients_say_of_their_api_their_program_and_their_session_is_carried():
    said = (
        *(b"content-type", b"accept", b"user-agent", b"content-encoding", b"traceparent", b"idempotency-key"),
        *(b"anthropic-version", b"anthropic-beta", b"x-app", b"x-stainless-retry-count", b"x-claude-code-session-id"),
        *(b"openai-beta", b"originator", b"session_id", b"version", b"x-codex-turn-state", b"x-codex-window-id"),
        *(b"x-goog-api-client", b"x-server-timeout", b"copilot-integration-id", b"x-initiator", b"http-referer"),
    )
    assert all(map(Route.parse("http://up").carries, said))


def test_an_agent_kind_has_more_headers_carried():
    route = Route.parse("http://up", headers=["x-tenant"])
    assert (route.carries(b"x-tenant"), route.carries(b"x-other"), route.carries(b"accept")) == (True, False, True)


@pytest.mark.parametrize(
    "target",
    [
        b"/",
        b"/v2/x",
        b"/v1x",
        b"/V1/x",
        b"/v1/../admin",
        b"/v1/..",
        b"/v1/./x",
        b"/v1/%2e%2e/admin",
        b"/v1/%2E./admin",
        b"/v1/.%2e",
        b"/v1/%252e%252e/admin",
        b"/v1/%25252525252e/x",
        b"/v1%2f..%2fadmin",
        b"/v1/..%5cadmin",
        b"/v1/..\\admin",
        b"/v1/..;x=y/admin",
        b"/v1/%00",
        b"/v1/a%0d%0ab",
        b"/v1/x#/y",
        b"//up/v1",
        b"/%2e%2e/v1",
        b"*",
        b"up:99",
        b"v1/x",
        b"http://other/v1/x",
        b"https://up:99/v1/x",
        b"http://up/v1/x",
        b"http://up:99@other/v1/x",
        b"http://user@up:99/v1/x",
        b"http://up:99/../x",
        b"http://up:99/v2",
        b"http:/v1/x",
        b"//other/v1/x",
    ],
)
def test_a_target_elsewhere_is_refused(target):
    with pytest.raises(Refusal) as caught:
        Route.parse("http://up:99/v1").admit(b"GET", target)
    assert caught.value.status == 403


def test_without_a_base_path_every_path_is_admitted_but_none_that_leads_out():
    route = Route.parse("http://up")
    assert route.admit(b"GET", b"/anything") == b"/anything"
    assert route.admit(b"GET", b"http://UP?beta") == b"/?beta"
    for target in (b"//other/x", b"/../x"):
        with pytest.raises(Refusal):
            route.admit(b"GET", target)


def test_an_absolute_target_of_the_upstream_itself_becomes_a_path():
    assert Route.parse("http://up:99/v1").admit(b"GET", b"HTTP://UP:99/v1/x?beta") == b"/v1/x?beta"


@pytest.mark.requirement("T8")
@pytest.mark.parametrize("base", ["https://api.anthropic.com", "https://api.anthropic.com/v1", "http://up:99/proxied"])
def test_with_the_login_of_a_subscription_only_models_are_asked_and_nothing_of_the_account(base):
    """There its owner's sessions and files are, and keys are made that would be in the answer."""
    route = Route.parse(base, key=LiveKey("login:claude", {"HOME": "/nowhere"}))
    root = route.path.encode().removesuffix(b"/v1")
    asked = (b"/v1/messages", b"/v1/messages/count_tokens", b"/v1/models", b"/v1/models/claude-x")
    assert [route.admit(b"POST", root + path + b"?beta=true") for path in asked] == [
        root + path + b"?beta=true" for path in asked
    ]
    others = [
        b"/api/oauth/claude_cli/create_api_key", b"/api/oauth/profile", b"/v1/sessions", b"/v1/files",
        b"/v1/models/x/y", b"/v1/%6dessages", b"/api/oauth/v1/messages", b"/v1/messages/batches",
    ]  # fmt: skip
    for path in others:
        with pytest.raises(Refusal) as caught:
            route.admit(b"POST", root + path)
        assert caught.value.code == "path_refused"
    assert Route.parse(base, key=Secret("sk-1", name="env:K")).admit(b"GET", root + b"/v1/files") == root + b"/v1/files"


@pytest.mark.requirement("T8")
@pytest.mark.parametrize("method", [b"PUT", b"PATCH", b"DELETE", b"CONNECT", b"TRACE", b"get", b"PRI", b"X" * 100])
def test_a_method_that_is_not_needed_is_refused(method):
    with pytest.raises(Refusal) as caught:
        Route.parse("http://up/v1").admit(method, b"/v1/x")
    assert caught.value.status == 405
    assert len(caught.value.sentence) < 80


def test_the_key_goes_into_the_header_of_the_route():
    key = Secret("sk-1", name="K")
    assert Route.parse("http://up", key=key).credentials(key) == [(b"authorization", b"Bearer sk-1")]
    for form in ("x-api-key", "x-goog-api-key"):
        assert Route.parse("http://up", key=key, key_form=form).credentials(key) == [(form.encode(), b"sk-1")]
    token = Secret("t-1", name="login:x", beside=((b"x-account", b"1"),))
    bearer = [(b"authorization", b"Bearer t-1"), (b"x-account", b"1")]
    assert Route.parse("http://up", key=token, key_form="x-api-key").credentials(token) == bearer, "of a login"
