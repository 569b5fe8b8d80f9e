"""Ways past the allow-list, tried against a proxy behind which every name leads to a host that takes everything."""

import json

import pytest

from tests.integration.egress_site import HERE, site
from tests.unit.egress.test_client_hello import hello

RULES = ("unsafe_private:allowed.example.org:{p}", "public.example.org:{p}", "unsafe_private:*.below.example.org:{p}")
OTHER_PORT = b"1"
LAST = b"connection: close"


def connect(target: bytes, *headers: bytes, host: bytes | None = None, version: bytes = b"1.1") -> bytes:
    named = [b"host: " + (target if host is None else host)] if host != b"" else []
    return b"\r\n".join([b"CONNECT " + target + b" HTTP/" + version, *named, *headers, b"", b""]) + hello("evil.net")


def get(target: bytes, *headers: bytes, host: bytes = b"allowed.example.org:{p}", method: bytes = b"GET") -> bytes:
    return b"\r\n".join([method + b" " + target + b" HTTP/1.1", b"host: " + host, *headers, b"", b""])


def asked_as(host: bytes) -> bytes:
    return get(b"http://" + host + b"/", LAST, host=host)


ALLOWED = b"http://allowed.example.org:{p}/"
FRAMED = b"POST http://allowed.example.org:{p}/ HTTP/1.1\r\nhost: allowed.example.org:{p}\r\n"
BYPASSES: dict[str, tuple[int, bytes]] = {
    # other names
    "another host": (403, connect(b"evil.net:{p}")),
    "a suffix of the attacker's": (403, connect(b"allowed.example.org.evil.net:{p}")),
    "a longer name": (403, connect(b"notallowed.example.org:{p}")),
    "a host below an exact one": (403, connect(b"x.allowed.example.org:{p}")),
    "the parent": (403, connect(b"example.org:{p}")),
    "the suffix itself": (403, connect(b"below.example.org:{p}")),
    "a name that ends like the suffix": (403, connect(b"evilbelow.example.org:{p}")),
    "a hyphen for the dot": (403, connect(b"x-below.example.org:{p}")),
    "two dots at the end": (400, connect(b"allowed.example.org..:{p}")),
    "an empty label": (400, connect(b".below.example.org:{p}")),
    "a star": (400, connect(b"*.below.example.org:{p}")),
    "an underscore": (400, connect(b"a_b.below.example.org:{p}")),
    "a long label": (400, connect(b"a" * 64 + b".below.example.org:{p}")),
    "another port": (403, connect(b"allowed.example.org:" + OTHER_PORT)),
    "no port": (400, connect(b"allowed.example.org")),
    "port 0": (400, connect(b"allowed.example.org:0")),
    "a port that wraps around": (400, connect(b"allowed.example.org:65979")),
    "a port with a sign": (400, connect(b"allowed.example.org:+443")),
    "two ports": (400, connect(b"allowed.example.org:{p}:{p}")),
    "a user name": (400, connect(b"allowed.example.org@evil.net:{p}")),
    "a user name and a password": (400, connect(b"allowed.example.org:{p}@evil.net:{p}")),
    "an escaped dot": (400, connect(b"allowed.example.org%2eevil.net:{p}")),
    "an escaped NUL": (400, connect(b"allowed.example.org%00.evil.net:{p}")),
    "an escaped line end": (400, connect(b"allowed.example.org%0d%0a:{p}")),
    "a NUL": (400, connect(b"allowed.example.org\0.evil.net:{p}")),
    "a carriage return": (400, connect(b"allowed.example.org\r.evil.net:{p}")),
    "a tab": (400, connect(b"allowed.example.org\t.evil.net:{p}")),
    "a space": (400, connect(b"allowed.example.org evil.net:{p}")),
    "a full-width letter": (400, connect("\uff41llowed.example.org:{p}".encode())),
    "a backslash": (400, connect(b"allowed.example.org\\.evil.net:{p}")),
    "a path": (400, connect(b"allowed.example.org/evil.net:{p}")),
    # addresses
    "an address": (400, connect(b"127.0.0.1:{p}")),
    "a short address": (400, connect(b"127.1:{p}")),
    "a decimal address": (400, connect(b"2130706433:{p}")),
    "a hexadecimal address": (400, connect(b"0x7f000001:{p}")),
    "a half hexadecimal address": (400, connect(b"0x7f.1:{p}")),
    "an octal address": (400, connect(b"0177.0.0.1:{p}")),
    "an address with a dot at its end": (400, connect(b"127.0.0.1.:{p}")),
    "an address of 6": (400, connect(b"[::1]:{p}")),
    "a mapped address": (400, connect(b"[::ffff:127.0.0.1]:{p}")),
    "an address with a zone": (400, connect(b"[fe80::1%25lo]:{p}")),
    "an address without brackets": (400, connect(b"::1:{p}")),
    "the metadata of a cloud": (400, connect(b"169.254.169.254:80")),
    "this machine by name": (403, connect(b"localhost:{p}")),
    "a name that leads to this machine": (403, connect(b"public.example.org:{p}")),
    "the same without TLS": (403, asked_as(b"public.example.org:{p}")),
    # two hosts in one request
    "another host in Host": (400, connect(b"allowed.example.org:{p}", host=b"evil.net:{p}")),
    "another port in Host": (400, connect(b"allowed.example.org:{p}", host=b"allowed.example.org:1")),
    "an allowed Host": (400, connect(b"evil.net:{p}", host=b"allowed.example.org:{p}")),
    "two Hosts": (400, connect(b"allowed.example.org:{p}", b"host: evil.net")),
    "a Host of 1.0": (400, connect(b"allowed.example.org:{p}", host=b"evil.net", version=b"1.0")),
    "another Host than the URL's": (400, get(b"http://allowed.example.org:{p}/", host=b"evil.net")),
    "another port than the URL's": (400, get(b"http://allowed.example.org:{p}/", host=b"allowed.example.org")),
    "an allowed Host and another URL": (400, get(b"http://evil.net:{p}/")),
    "a path alone": (421, get(b"/")),
    "a path that begins like a host": (421, get(b"//allowed.example.org:{p}/")),
    "a user name in a URL": (400, get(b"http://allowed.example.org:{p}@evil.net:{p}/", host=b"evil.net:{p}")),
    "a backslash in a URL": (400, get(b"http://evil.net:{p}\\@allowed.example.org:{p}/")),
    "a fragment in a URL": (400, get(b"http://evil.net:{p}#@allowed.example.org:{p}/")),
    "a question mark for the slash": (403, get(b"http://evil.net:{p}?@allowed.example.org/", host=b"evil.net:{p}")),
    "an address in a URL": (400, asked_as(b"127.0.0.1:{p}")),
    "an address of 6 in a URL": (400, asked_as(b"[::1]:{p}")),
    "TLS by the proxy": (400, get(b"https://allowed.example.org:{p}/")),
    "another scheme": (400, get(b"ftp://allowed.example.org:{p}/")),
    "no scheme": (400, get(b"allowed.example.org:{p}")),
    "connect in small letters": (400, get(b"allowed.example.org:{p}", method=b"connect")),
    "everything": (400, get(b"*", method=b"OPTIONS")),
    "TRACE": (405, get(ALLOWED, method=b"TRACE")),
    # two messages in one
    "a tunnel with a length": (400, connect(b"allowed.example.org:{p}", b"content-length: 4")),
    "a tunnel with an encoding": (400, connect(b"allowed.example.org:{p}", b"transfer-encoding: chunked")),
    "a length and an encoding": (400, FRAMED + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
    "two lengths": (400, FRAMED + b"content-length: 5\r\ncontent-length: 6\r\n\r\nhello"),
    "a list of lengths": (400, FRAMED + b"content-length: 5, 6\r\n\r\nhello"),
    "a length with a sign": (400, FRAMED + b"content-length: +5\r\n\r\nhello"),
    "an encoding twice": (501, FRAMED + b"transfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
    "another encoding": (501, FRAMED + b"transfer-encoding: identity\r\n\r\n0\r\n\r\n"),
    "an encoding with a strange space": (400, FRAMED + b"transfer-encoding:\x0bchunked\r\n\r\n0\r\n\r\n"),
    "a space before the colon": (400, FRAMED + b"content-length : 5\r\n\r\nhello"),
    "a line end in a header": (400, FRAMED + b"x: a\rcontent-length: 5\r\n\r\n"),
    "a NUL in a header": (400, FRAMED + b"x: a\0b\r\n\r\n"),
    "a header without a name": (400, FRAMED + b": x\r\n\r\n"),
    "1.0": (505, b"GET http://allowed.example.org:{p}/ HTTP/1.0\r\nhost: allowed.example.org:{p}\r\n\r\n"),
    "0.9": (400, b"GET http://allowed.example.org:{p}/\r\n\r\n"),
    "HTTP/2": (505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "SOCKS": (400, b"\x05\x01\x00\r\n\r\n"),
    "TLS to the proxy itself": (400, hello("allowed.example.org") + b"\r\n\r\n"),
}


@pytest.mark.requirement("T7")
@pytest.mark.parametrize(("status", "text"), BYPASSES.values(), ids=BYPASSES)
async def test_a_way_past_the_list_leads_nowhere_and_is_told(tmp_path, status, text):
    async with site(tmp_path, RULES) as place:
        answer = await place.say(text)
    assert answer.startswith(b"HTTP/1.1 %d " % status), answer
    assert answer.count(b"\r\n\r\n") == 1
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["message"].endswith(".")
    assert (place.host.connections, place.host.heard) == (0, [])
    assert [bool(contact.refused) for contact in place.contacts] == [True]
    assert set(place.looked_up) <= {"public.example.org."}


ARRIVING = {
    "the host": get(ALLOWED, LAST),
    "in capitals": asked_as(b"ALLOWED.Example.ORG:{p}"),
    "with a dot at its end": asked_as(b"allowed.example.org.:{p}"),
    "below": asked_as(b"a.b.below.example.org:{p}"),
    "without a slash": get(b"http://allowed.example.org:{p}?x", LAST),
    "with a body": FRAMED + LAST + b"\r\ncontent-length: 5\r\n\r\nhello",
}


@pytest.mark.parametrize("text", ARRIVING.values(), ids=ARRIVING)
async def test_what_is_allowed_arrives_so_that_the_host_behind_the_proxy_would_have_noticed_the_rest(tmp_path, text):
    async with site(tmp_path, RULES) as place:
        assert (await place.say(text)).endswith(b"\r\n\r\nok")
    assert place.host.connections == 1
    assert [contact.refused for contact in place.contacts] == [""]


HELLOS = {
    "another host": hello("evil.net"),
    "a host below it": hello("x.allowed.example.org"),
    "a longer name": hello("allowed.example.org.evil.net"),
    "no name": hello(None),
    "HTTP": b"GET / HTTP/1.1\r\nhost: allowed.example.org\r\n\r\n",
    "SSH": b"SSH-2.0-x\r\n",
    "SOCKS": b"\x05\x01\x00",
    "another tunnel": b"CONNECT evil.net:443 HTTP/1.1\r\nhost: evil.net:443\r\n\r\n",
    "half a hello": hello("allowed.example.org")[:40],
    "nothing": b"",
}


@pytest.mark.requirement("T7")
@pytest.mark.parametrize("said", HELLOS.values(), ids=HELLOS)
async def test_in_a_tunnel_to_an_allowed_host_nothing_is_carried_but_tls_to_it(tmp_path, said):
    async with site(tmp_path, RULES) as place:
        async with place.tunnel("allowed.example.org") as (reader, writer):
            writer.write(said)
            writer.write_eof()
            assert await reader.read() == b"\x15\x03\x03\x00\x02\x02\x31"
        assert place.host.heard == []
    assert [(contact.refused, contact.bytes_up) for contact in place.contacts] == [("hello_refused", 0)]


async def test_a_hello_that_comes_with_its_connect_is_judged_like_any_other(tmp_path):
    async with site(tmp_path, RULES) as place:
        answer = await place.say(connect(b"allowed.example.org:{p}"))
    assert answer == b"HTTP/1.1 200 Connection established\r\n\r\n\x15\x03\x03\x00\x02\x02\x31"
    assert place.host.heard == []
    assert [contact.refused for contact in place.contacts] == ["hello_refused"]


async def test_each_request_of_a_kept_connection_is_judged_anew(tmp_path):
    evil = get(b"http://evil.net:{p}/", host=b"evil.net:{p}")
    async with site(tmp_path, RULES) as place:
        answer = await place.say(get(ALLOWED) + get(ALLOWED) + evil + get(ALLOWED))
    assert [answer.count(b"HTTP/1.1 %d " % status) for status in (200, 403)] == [2, 1]
    assert place.host.connections == 2
    assert [contact.refused for contact in place.contacts] == ["", "", "egress_denied"]


async def test_a_request_hidden_in_a_body_stays_a_body_and_a_folded_header_becomes_one_line(tmp_path):
    hidden = get(b"http://evil.net:{p}/", host=b"evil.net:{p}").replace(b"{p}", b"80")
    folded = FRAMED + LAST + b"\r\nx: a\r\n b\r\ncontent-length: %d\r\n\r\n" % len(hidden)
    async with site(tmp_path, RULES) as place:
        assert (await place.say(folded + hidden)).count(b"HTTP/1.1 ") == 1
    head, _, body = b"".join(place.host.heard).partition(b"\r\n\r\n")
    assert body == hidden
    assert b"\r\nx: a b\r\n" in head
    assert len(place.contacts) == 1


async def test_what_speaks_of_one_connection_or_holds_credentials_is_not_passed_on(tmp_path):
    mine = [b"proxy-authorization: x", b"proxy-connection: x", b"connection: x-mine", b"x-mine: 1", b"te: trailers"]
    mine += [b"upgrade: websocket", b"authorization: Bearer x", b"cookie: x", b"x-other: kept"]
    async with site(tmp_path, RULES) as place:
        await place.say(get(ALLOWED, LAST, *mine))
    names = [line.partition(b":")[0].lower() for line in b"".join(place.host.heard).split(b"\r\n")[1:]]
    assert set(names) - {b""} == {b"host", b"accept-encoding", b"connection", b"x-other"}


@pytest.mark.parametrize(
    "found", [["127.0.0.1"], ["8.8.8.8", "127.0.0.1"], ["::1"], ["::ffff:127.0.0.1"], ["169.254.169.254"], []]
)
async def test_a_name_whose_owner_points_it_inwards_is_refused_after_the_lookup(tmp_path, found):
    async with site(tmp_path, RULES, names={"public.example.org": found}) as place:
        answer = await place.say(connect(b"public.example.org:{p}"))
    assert answer.startswith(b"HTTP/1.1 403 " if found else b"HTTP/1.1 502 ")
    assert place.host.connections == 0
    assert len(place.looked_up) == 1


async def test_no_rule_leads_to_the_secrets_of_a_cloud(tmp_path):
    names = {"allowed.example.org": ["169.254.169.254"]}
    async with site(tmp_path, RULES, names=names) as place:
        answer = await place.say(get(ALLOWED, LAST))
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert [contact.refused for contact in place.contacts] == ["address_refused"]


@pytest.mark.requirement("T7")
async def test_a_refusal_says_who_decides_and_which_rule_is_needed(tmp_path):
    async with site(tmp_path) as place:
        answer = await place.say(connect(b"Registry.Example.org.:443"))
        registry = await place.say(get(b"/pip/simple/x/", host=HERE.encode()))
    status, _, rest = answer.partition(b"\r\n")
    rule = b"registry.example.org:443"
    assert status.endswith(b"your task's giver may allow the egress rule " + rule + b": try again later")
    message = json.loads(rest.partition(b"\r\n\r\n")[2])["error"]["message"]
    assert "--egress registry.example.org:443" in message
    assert "Whoever gave you the task is told, and may allow it" in message
    assert b"--registry pip" in registry
