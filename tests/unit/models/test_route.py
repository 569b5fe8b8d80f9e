import pytest

from acp_runtime.carrying.refusal import Refusal
from acp_runtime.core.errors import Rejected
from acp_runtime.keys import Secret
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
        b"/v1/a?redirect=/../x&y=%2e%2e",
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
        (b"/v1/a?%6bey=AIza&x=1", b"/v1/a?x=1"),
        (b"/v1/a?x=1;key=AIza", b"/v1/a?x=1"),
        (b"/v1/a?key&key=", b"/v1/a"),
        (b"/v1/a?x=key&api_key=1&api-key=2&apikey=3&access_token=4&subscription-key=5", b"/v1/a?x=key"),
        (b"/v1/a?%24httpHeaders=authorization%3Ax&oauth_token=6&$httpheaders=y", b"/v1/a"),
        (b"/v1/a?$key=AIza&$userProject=p&%24httpMethod=DELETE&$alt=sse", b"/v1/a?$alt=sse"),
        (b"/v1/a?keys=1&monkey=2&page_token=3", b"/v1/a?keys=1&monkey=2&page_token=3"),
        (b"http://up:99/v1/a?key=AIza", b"/v1/a"),
    ],
)
def test_a_key_in_the_query_does_not_leave(target, asked):
    """Gemini takes one there: with a key of its own an agent could put what it found where somebody else reads it."""
    assert Route.parse("http://up:99/v1").admit(b"POST", target) == asked


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
    assert route.admit(b"GET", b"http://UP?x") == b"/?x"
    for target in (b"//other/x", b"/../x"):
        with pytest.raises(Refusal):
            route.admit(b"GET", target)


def test_an_absolute_target_of_the_upstream_itself_becomes_a_path():
    assert Route.parse("http://up:99/v1").admit(b"GET", b"HTTP://UP:99/v1/x?y") == b"/v1/x?y"


@pytest.mark.parametrize("method", [b"CONNECT", b"TRACE", b"get", b"PRI", b"X" * 100])
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
