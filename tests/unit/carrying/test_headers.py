import pytest

from acp_runtime.carrying.headers import for_client, for_upstream, is_harmless


def test_what_a_client_says_of_its_connection_does_not_leave_and_of_the_rest_what_is_carried():
    about_it = (b"host", b"expect", b"accept-encoding", b"proxy-authorization", b"te", b"upgrade", b"keep-alive")
    sent = [
        *((name, b"x") for name in about_it),
        (b"connection", b"close, X-Mine ,content-length"),
        (b"x-mine", b"1"),
        (b"content-length", b"5"),
        (b"x-theirs", b"1"),
        (b"content-type", b"application/json"),
    ]
    assert for_upstream(sent, "up:99", [(b"x-api-key", b"sk-1")], lambda name: name != b"x-theirs") == [
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
        b"x-access-token", b"x-amz-security-token", b"x-auth-key", b"cookie", b"cookie2", b"proxy-authorization",
        b"forwarded", b"x-forwarded-host", b"x_forwarded_host", b"x-original-url", b"x-rewrite-url",
        b"x-http-method-override", b"x-host", b"host", b"transfer-encoding", b"accept-encoding",
    ],
)  # fmt: skip
def test_a_header_of_a_credential_another_host_or_the_connection_is_not_harmless(name):
    assert not is_harmless(name)


def test_headers_of_programs_that_nobody_knows_are_harmless():
    assert all(map(is_harmless, (b"soapaction", b"x-original-filename", b"x-tenant", b"depth", b"session_id")))


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
