import pytest

from acp_runtime.core.errors import Rejected
from acp_runtime.egress.hosts import HostRefused, canonical, parse_authority
from acp_runtime.egress.rules import MOST, Rules, needed


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("example.org", "example.org:443"),
        ("Example.ORG.:8443", "example.org:8443"),
        ("*.example.org", "*.example.org:443"),
        ("*.b.example.org:80", "*.b.example.org:80"),
        ("xn--mnchen-3ya.de", "xn--mnchen-3ya.de:443"),
        ("München.de:80", "xn--mnchen-3ya.de:80"),
        ("unsafe_private:localhost:8080", "unsafe_private:localhost:8080"),
        ("unsafe_private:*.build.lan", "unsafe_private:*.build.lan:443"),
    ],
)
def test_a_rule_has_one_text(text, rule):
    assert Rules.parse([text]).texts == (rule,)
    assert Rules.parse([rule, text]).texts == (rule,)


REFUSED = {
    "": "letters, digits",
    "*": "allows everything",
    "*:443": "allows everything",
    "*.*": "allows everything",
    "*.*:443": "allows everything",
    ".": "allows everything",
    "unsafe_private:*": "allows everything",
    "unsafe_private:*.lan:80": "everything below .lan",
    "*.org": "allows everything below .org",
    "*.org.": "allows everything below .org",
    "example.org:*": "allows every port",
    "example.org:0": "port",
    "example.org:65536": "port",
    "example.org:0443": "port",
    "example.org:443,80": "port",
    "example.org:443-500": "port",
    "example.org:": "port",
    "example.org:https": "port",
    "https://example.org": "write example.org:443",
    "http://example.org/x": "write example.org:80",
    "example.org/path": "paths are enforced for package registries",
    "10.0.0.0/8": "a network",
    "example.org?x": "a path",
    "w*.example.org": "whole labels",
    "www.*.org": "whole labels",
    "**.example.org": "whole labels",
    "127.0.0.1": "an address",
    "127.1:80": "an address",
    "2130706433": "an address",
    "0x7f000001:80": "an address",
    "0x7f.1": "an address",
    "0177.0.0.1": "an address",
    "1.2.3.4.": "an address",
    "[::1]:80": "an address",
    "::1": "an address",
    "[::ffff:127.0.0.1]:80": "an address",
    "fe80::1%eth0": "an address",
    "*.1.2.3.4:80": "an address",
    "user@example.org": "user name",
    "exa mple.org": "characters",
    "example.org\0": "characters",
    "example.org\r\nx": "characters",
    "exa%6dple.org": "letters, digits",
    "exa_mple.org": "letters, digits",
    "-example.org": "letters, digits",
    "example..org": "letters, digits",
    "a" * 64 + ".org": "letters, digits",
    "a." * 130 + "org": "letters, digits",
    "straße.de": "xn-- form",
    "\uff45xample.org": "xn-- form",
    "example。org": "xn-- form",
    "localhost": "write unsafe_private:localhost",
    "build.lan": "write unsafe_private:build.lan",
    "intranet": "write unsafe_private:intranet",
    "metadata.google.internal": "private network",
    "host.invalid": "leads anywhere",
    "abc.onion": "leads anywhere",
}


@pytest.mark.parametrize(("text", "why"), REFUSED.items())
def test_a_rule_that_allows_everything_or_can_never_match_is_refused_with_the_value_and_a_remedy(text, why):
    with pytest.raises(Rejected) as caught:
        Rules.parse([text])
    assert caught.value.kind == "bad_egress_rule"
    assert why in str(caught.value)
    assert "; " in str(caught.value)
    assert text[:10].strip("\0\r\n") in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("host", ["a.example.org", "localhost", "build.lan", "a"])
def test_the_rule_that_a_refusal_names_can_be_written_and_allows_what_was_asked_for(host):
    text = needed(host, 8443)
    rules = Rules.parse([text])
    assert rules.texts == (text,)
    assert rules.find(host, 8443) is not None


def test_more_rules_than_anybody_can_read_are_refused():
    with pytest.raises(Rejected, match=f"at most {MOST}"):
        Rules.parse(f"h{number}.example.org" for number in range(MOST + 1))


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("registry.example.org:443", "registry.example.org:443"),
        ("REGISTRY.example.org.:443", "registry.example.org:443"),
        ("registry.example.org:80", None),
        ("registry.example.org:8443", None),
        ("xregistry.example.org:443", None),
        ("registry.example.org.evil.net:443", None),
        ("registry-example.org:443", None),
        ("example.org:443", None),
        ("sub.registry.example.org:443", None),
        ("a.files.example.org:443", "*.files.example.org:443"),
        ("a.b.files.example.org:443", "*.files.example.org:443"),
        ("files.example.org:443", None),
        ("notfiles.example.org:443", None),
        ("xfiles.example.org:443", None),
        ("a.files.example.org.evil.net:443", None),
        ("a.files.example.org:444", None),
        ("evil.net:443", None),
    ],
)
def test_only_the_named_hosts_and_ports_are_allowed(asked, found):
    rules = Rules.parse(["registry.example.org", "*.files.example.org"])
    host, port = parse_authority(asked)
    assert port is not None
    rule = rules.find(host, port)
    assert (str(rule) if rule else None) == found


def test_nothing_is_allowed_without_a_rule_and_a_public_rule_goes_before_a_private_one():
    assert Rules().find("example.org", 443) is None
    rules = Rules.parse(["unsafe_private:*.example.org", "a.example.org"])
    assert str(rules.find("a.example.org", 443)) == "a.example.org:443"


@pytest.mark.parametrize(
    ("wide", "narrow", "covered"),
    [
        ("a.example.org", "a.example.org", True),
        ("*.example.org", "a.example.org", True),
        ("*.example.org", "*.a.example.org", True),
        ("*.example.org", "*.example.org", True),
        ("unsafe_private:*.example.org", "*.example.org", True),
        ("*.example.org", "example.org", False),
        ("*.example.org", "a.example.org:80", False),
        ("*.a.example.org", "*.example.org", False),
        ("a.example.org", "*.a.example.org", False),
        ("*.example.org", "*.badexample.org", False),
        ("*.example.org", "unsafe_private:a.example.org", False),
    ],
)
def test_a_rule_is_within_another_when_it_allows_nothing_more(wide, narrow, covered):
    assert Rules.parse([wide]).covers(Rules.parse([narrow]).rules[0]) is covered


@pytest.mark.parametrize("text", ["exämple.org", "a b", "a\0b", "", ".", "a" * 300, "1", "a.0x1f", "a.08"])
def test_what_is_no_plain_name_is_no_host(text):
    with pytest.raises(HostRefused):
        canonical(text)
