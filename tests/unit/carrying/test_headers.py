import pytest

from acp_runtime.carrying.headers import for_client, for_upstream


def test_what_a_client_says_of_itself_or_of_its_connection_does_not_leave():
    sent = [
        *((name, b"x") for name in (b"authorization", b"x-api-key", b"api-key", b"cookie", b"host", b"expect")),
        *((name, b"x") for name in (b"proxy-authorization", b"proxy-connection", b"te", b"upgrade", b"keep-alive")),
        (b"connection", b"close, X-Mine ,content-length"),
        (b"x-mine", b"1"),
        (b"content-length", b"5"),
        (b"accept-encoding", b"gzip"),
        (b"content-type", b"application/json"),
    ]
    assert for_upstream(sent, "up:99", [(b"x-api-key", b"sk-1")]) == [
        (b"host", b"up:99"),
        (b"accept-encoding", b"identity"),
        (b"connection", b"close"),
        (b"content-type", b"application/json"),
        (b"x-api-key", b"sk-1"),
        (b"content-length", b"5"),
    ]


@pytest.mark.requirement("T8")
@pytest.mark.parametrize(
    "name",
    [
        b"authorization", b"x-authorization", b"cf-aig-authorization", b"x-api-key", b"api-key", b"apikey",
        b"x_api_key", b"x-goog-api-key", b"x-portkey-api-key", b"ocp-apim-subscription-key", b"x-auth-token",
        b"x-access-token", b"x-amz-security-token", b"x-auth-key", b"cookie", b"cookie2", b"chatgpt-account-id",
        b"openai-organization", b"openai_project", b"x-goog-user-project", b"helicone-auth", b"x-portkey-virtual-key",
    ],
)  # fmt: skip
def test_no_header_names_another_account_than_ours(name):
    """What is asked with another account's key is that account's to read: a way out to whoever owns it."""
    ours = [(b"authorization", b"Bearer t-1"), (b"chatgpt-account-id", b"ours")]
    sent = for_upstream([(name, b"theirs"), (b"anthropic-beta", b"x")], "up", ours)
    assert [value for _, value in sent].count(b"theirs") == 0
    assert sent[-3:] == [(b"anthropic-beta", b"x"), *ours]


@pytest.mark.requirement("T8")
@pytest.mark.parametrize(
    "name",
    [
        b"x-portkey-custom-host", b"x-portkey-config", b"helicone-target-url", b"cf-aig-custom", b"forwarded",
        b"x-forwarded-host", b"x_forwarded_host", b"x-original-url", b"x-rewrite-url", b"x-http-method-override",
        b"x-host",
    ],
)  # fmt: skip
def test_no_header_leads_the_request_and_its_key_elsewhere(name):
    others = [(b"x-stainless-os", b"x"), (b"x-original-filename", b"a.txt")]
    sent = for_upstream([(name, b"theirs"), *others], "up", [(b"authorization", b"Bearer t-1")])
    assert sent[-3:] == [*others, (b"authorization", b"Bearer t-1")]
    assert b"theirs" not in [value for _, value in sent]


def test_an_answers_headers_about_its_connection_cookies_or_the_key_do_not_arrive():
    answered = [
        (b"connection", b"keep-alive, x-hop"),
        (b"x-hop", b"1"),
        (b"transfer-encoding", b"chunked"),
        (b"set-cookie", b"a=b"),
        (b"proxy-authenticate", b"x"),
        (b"x-echo", b"Bearer sk-1"),
        (b"content-type", b"text/event-stream"),
        (b"content-length", b"7"),
    ]
    kept = [(b"content-type", b"text/event-stream"), (b"content-length", b"7")]
    assert for_client(answered, b"sk-1") == kept
    assert (b"x-echo", b"Bearer sk-1") in for_client(answered, None)
