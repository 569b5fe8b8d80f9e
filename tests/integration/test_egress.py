"""What is allowed, through the proxy: tunnels, requests without TLS, package registries; and what is told of each."""

import asyncio
import contextlib
import re
import socket
import ssl
import threading

import pytest

from acp_runtime.egress.proxy import EgressLimits, Policy
from acp_runtime.egress.registry import Registry, builtin_registries
from acp_runtime.egress.rules import Rules
from tests.integration.egress_site import BOUND, CERTIFICATE, HERE, site
from tests.integration.test_egress_bypasses import ALLOWED, LAST, RULES, connect, get
from tests.unit.egress.test_client_hello import hello

HOST = "allowed.example.org"
NAMES = ["localhost:{p}", "plain.example.org:80"]
TAKEN_BACK = "what it led to is not allowed any more"


class HeldNames(dict[str, list[str]]):
    """Names of which none is found before somebody lets it."""

    def __init__(self) -> None:
        super().__init__({HOST: ["127.0.0.1"]})
        self.asked, self.let = threading.Event(), threading.Event()

    def get(self, name, default=None):
        self.asked.set()
        assert self.let.wait(BOUND)
        return super().get(name, default)


def client_of(name: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=CERTIFICATE)
    context.check_hostname = False  # the certificate of the tests is for an address
    return context


def moved(name: str, url: str) -> Registry:
    """A registry all of whose places are at a host of the test."""
    registry = builtin_registries()[name]
    return registry.moved({place.name: url + place.at for place in registry.places}, private=True)


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
async def test_tls_through_a_tunnel_reaches_the_host_that_it_names(tmp_path, version):
    async with site(tmp_path, RULES, tls=True) as place:
        reader, writer = await asyncio.open_unix_connection(place.path)
        host = b"" if version == b"1.0" else b"host: allowed.example.org\r\n"
        writer.write(b"CONNECT Allowed.example.org:%d HTTP/%s\r\n%s\r\n" % (place.host.port, version, host))
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        await writer.start_tls(client_of(HOST), server_hostname=HOST)
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        assert (await reader.readuntil(b"\r\n\r\nok")).startswith(b"HTTP/1.1 200 ")
        writer.close()
        await writer.wait_closed()
    assert place.host.heard == [b"GET / HTTP/1.1\r\n\r\n"]
    [contact] = place.contacts
    assert (contact.way, contact.host, contact.port, contact.method) == ("tunnel", HOST, place.host.port, "CONNECT")
    assert (contact.allowed_by, contact.refused) == (f"unsafe_private:{HOST}:{place.host.port}", "")
    assert contact.bytes_up > 300
    assert contact.bytes_down > 500


async def test_a_tunnel_carries_much_both_ways_and_an_end_of_each_way_by_itself(tmp_path):
    piece, count = bytes(range(256)) * 256, 64
    async with site(tmp_path, RULES) as place:
        place.host.answer = b""
        async with place.tunnel(HOST) as (reader, writer):
            writer.write(hello(HOST) + piece * count)
            writer.write_eof()
            assert await reader.read() == b""
    assert b"".join(place.host.heard) == hello_of(place.host.heard) + piece * count
    [contact] = place.contacts
    assert contact.bytes_up == len(b"".join(place.host.heard))


async def test_what_a_client_said_arrives_whole_at_a_host_that_has_nothing_to_say(tmp_path):
    piece, count, heard, over = bytes(1 << 20), 32, 0, asyncio.Event()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal heard
        writer.write_eof()
        with contextlib.suppress(OSError):
            while data := await reader.read(4096):
                heard += len(data)
        writer.close()
        over.set()

    async with await asyncio.start_server(listen, "127.0.0.1", 0, limit=4096) as server:
        port = server.sockets[0].getsockname()[1]
        async with site(tmp_path, [f"unsafe_private:{HOST}:{port}"]) as place:
            place.host.port, own = port, place.host.port
            async with place.tunnel(HOST) as (reader, writer):
                writer.write(hello(HOST) + piece * count)
                writer.write_eof()
                assert await reader.read() == b""
            await over.wait()
            place.host.port = own
    assert heard == place.contacts[0].bytes_up > len(piece) * count


def hello_of(heard: list[bytes]) -> bytes:
    head = b"".join(heard)[:5]
    return b"".join(heard)[: 5 + int.from_bytes(head[3:], "big")]


async def test_a_tunnel_in_which_nothing_moves_is_ended(tmp_path):
    limits = EgressLimits(hello_seconds=60, tunnel_idle_seconds=0.2)
    async with site(tmp_path, RULES, limits=limits) as place, place.tunnel(HOST) as (reader, writer):
        place.host.answer = b""
        writer.write(hello(HOST))
        assert await reader.read() == b""
        [contact] = place.contacts
    assert contact.why == "nothing moved in the tunnel for 0.2 s"


async def test_a_client_that_says_no_hello_in_time_is_cut_off(tmp_path):
    limits = EgressLimits(hello_seconds=0.2)
    async with site(tmp_path, RULES, limits=limits) as place, place.tunnel(HOST) as (reader, writer):
        writer.write(hello(HOST)[:100])
        assert (await reader.read())[:1] == b"\x15"
        [contact] = place.contacts
    assert (contact.refused, contact.bytes_up) == ("hello_refused", 0)
    assert "within 0.2 s" in contact.why


@pytest.mark.requirement("D09.32")
async def test_a_tunnel_to_what_is_allowed_no_longer_is_cut_and_the_others_go_on(tmp_path):
    other = "other.example.org"
    async with site(tmp_path, [*RULES, f"unsafe_private:{other}:{{p}}"]) as place:
        async with place.tunnel(HOST) as (reader, writer), place.tunnel(other) as (kept, kept_writer):
            for name, each in ((HOST, writer), (other, kept_writer)):
                each.write(hello(name))
            assert await reader.readuntil(b"ok") == await kept.readuntil(b"ok")
            place.proxy.change(Policy(Rules.parse([f"unsafe_private:{other}:{place.host.port}"])))
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
            kept_writer.write(b"more")
            assert await kept.readuntil(b"ok") == place.host.answer
        assert (await place.say(b"CONNECT allowed.example.org:{p} HTTP/1.0\r\n\r\n")).startswith(b"HTTP/1.1 403 ")
    assert (place.contacts[0].host, place.contacts[0].end, place.contacts[0].why) == (HOST, "cut", TAKEN_BACK)


@pytest.mark.requirement("D09.32")
@pytest.mark.parametrize("said", [connect(b"allowed.example.org:{p}") + hello(HOST), get(ALLOWED, LAST)])
async def test_to_a_host_whose_rule_is_taken_back_while_its_name_is_looked_up_nothing_is_said(tmp_path, said):
    names = HeldNames()
    async with site(tmp_path, RULES, names=names) as place:
        saying = asyncio.create_task(place.say(said))
        assert await asyncio.to_thread(names.asked.wait, BOUND)
        place.proxy.change(Policy())
        names.let.set()
        with contextlib.suppress(ConnectionResetError):
            assert await saying == b""
    assert place.host.heard == []
    assert [(each.end, each.why) for each in place.contacts] == [("cut", TAKEN_BACK)]


@pytest.mark.requirement("D09.32")
async def test_a_request_that_goes_on_is_cut_with_the_rule_that_let_it_through(tmp_path):
    async with site(tmp_path, RULES) as place:
        place.host.answer = b""
        head = get(ALLOWED, b"transfer-encoding: chunked") + b"6\r\nbefore\r\n"
        reader, writer = await asyncio.open_unix_connection(place.path)
        writer.write(head.replace(b"{p}", b"%d" % place.host.port))
        while b"before" not in b"".join(place.host.heard):  # noqa: ASYNC110 - nobody is told
            await asyncio.sleep(0)
        place.proxy.change(Policy())
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()


async def test_a_tunnel_inwards_is_cut_when_only_a_rule_for_public_addresses_is_left(tmp_path):
    async with site(tmp_path, RULES) as place, place.tunnel(HOST) as (reader, _):
        place.proxy.change(Policy(Rules.parse([f"*.example.org:{place.host.port}"])))
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""


async def test_a_host_that_speaks_first_is_not_heard_before_the_client_was_judged(tmp_path):
    async with site(tmp_path, RULES) as place, place.tunnel(HOST) as (reader, writer):
        writer.write(b"EHLO x\r\n")
        assert await reader.read() == b"\x15\x03\x03\x00\x02\x02\x31"
    assert place.host.heard == []


async def test_more_connections_than_the_bound_are_told_so_and_open_tunnels_go_on(tmp_path):
    async with site(tmp_path, RULES, connections=1) as place, place.tunnel(HOST) as (reader, writer):
        assert (await place.say(b"")).startswith(b"HTTP/1.1 503 ")
        writer.write(hello(HOST))
        assert await reader.readuntil(b"ok") == place.host.answer
    assert [contact.refused for contact in place.contacts] == ["too_many_connections", ""]


async def test_a_host_that_takes_no_connection_is_told_for_a_tunnel_as_for_a_request(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    rules = [f"unsafe_private:{HOST}:{port}"]
    async with site(tmp_path, rules) as place:
        for text in (
            b"CONNECT %s:%d HTTP/1.1\r\nhost: x\r\n\r\n",
            b"GET http://%s:%d/ HTTP/1.1\r\nhost: x\r\n\r\n",
        ):
            asked = (text % (HOST.encode(), port)).replace(b"host: x", b"host: %s:%d" % (HOST.encode(), port))
            assert (await place.say(asked)).startswith(b"HTTP/1.1 502 ")
    assert [contact.refused for contact in place.contacts] == ["upstream_unreachable"] * 2


async def test_the_second_address_of_a_host_is_tried_when_the_first_takes_no_connection(tmp_path):
    names = {HOST: ["127.9.9.9", "127.0.0.1"]}
    async with site(tmp_path, RULES, names=names) as place:
        assert (await place.say(get(ALLOWED, LAST))).endswith(b"ok")


async def test_an_address_that_is_silent_leaves_time_for_the_next(tmp_path):
    with contextlib.ExitStack() as stack:
        silent = stack.enter_context(socket.create_server(("127.9.9.8", 0), backlog=0))
        port = silent.getsockname()[1]
        for _ in range(4):  # what does not fit into the backlog is not answered at all
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(silent.getsockname())
        answering = stack.enter_context(socket.create_server(("127.9.9.7", port)))
        names = {HOST: ["127.9.9.8", "127.9.9.7"]}
        async with site(tmp_path, [f"unsafe_private:{HOST}:{port}"], names=names, connect_seconds=4.0) as place:
            said = b"CONNECT %s:%d HTTP/1.1\r\nhost: %s:%d\r\n\r\n" % (HOST.encode(), port, HOST.encode(), port)
            assert (await place.say(said + hello("evil.net"))).startswith(b"HTTP/1.1 200 ")
        answering.accept()[0].close()


async def test_another_policy_holds_from_the_next_request_on_and_an_open_tunnel_stays(tmp_path):
    async with site(tmp_path, RULES) as place, place.tunnel(HOST) as (reader, writer):
        assert (await place.say(get(ALLOWED, LAST))).startswith(b"HTTP/1.1 200 ")
        place.proxy.policy = Policy(Rules())
        assert (await place.say(get(ALLOWED, LAST))).startswith(b"HTTP/1.1 403 ")
        writer.write(hello(HOST))
        assert await reader.readuntil(b"ok") == place.host.answer


# ---- package registries


def at_registry(path: bytes, *headers: bytes, method: bytes = b"GET", host: bytes = HERE.encode()) -> bytes:
    return b"\r\n".join([method + b" " + path + b" HTTP/1.1", b"host: " + host, LAST, *headers, b"", b""])


@contextlib.asynccontextmanager
async def registry_site(folder, *names: str):
    async with site(folder) as place:
        url = f"http://registry.example.org:{place.host.port}"
        place.proxy.policy = Policy(Rules(), tuple(moved(name, url) for name in names))
        yield place, url


@pytest.mark.requirement("D09.8")
async def test_a_list_of_packages_leads_back_to_the_proxy_and_a_package_comes_as_it_is(tmp_path):
    async with registry_site(tmp_path, "pip") as (place, url):
        page = f'<a href="{url}/files/packages/x.whl">'.encode()
        place.host.answer = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(page), page)
        listed = await place.say(at_registry(b"/pip/simple/x/"))
        package = await place.say(at_registry(b"/pip/files/packages/x.whl"))
        head = await place.say(at_registry(b"/pip/simple/x/", method=b"HEAD"))
    assert b'<a href="http://127.0.0.1:8791/pip/files/packages/x.whl">' in listed
    assert b"content-length" not in listed.lower()
    assert package.endswith(b"\r\n\r\n" + page)
    assert head.endswith(b"\r\n\r\n")
    targets = [data.partition(b" HTTP")[0] for data in place.host.heard]
    assert targets == [b"GET /simple/x/", b"GET /files/packages/x.whl", b"HEAD /simple/x/"]
    assert {(each.way, each.host, each.allowed_by) for each in place.contacts} == {
        ("registry", "registry.example.org", "registry pip")
    }
    assert [each.path for each in place.contacts] == ["/simple/x/", "/packages/x.whl", "/simple/x/"]
    assert {each.end for each in place.contacts} == {"answered"}


async def test_a_registry_is_told_nothing_but_what_is_wanted(tmp_path):
    mine = [b"private-token: x", b"x-jfrog-art-api: x", b"npm-session: x", b"Accept: application/json"]
    async with registry_site(tmp_path, "npm") as (place, _):
        await place.say(at_registry(b"/npm/left-pad", *mine))
    names = [line.partition(b":")[0].lower() for line in b"".join(place.host.heard).split(b"\r\n")[1:]]
    assert set(names) - {b""} == {b"host", b"accept-encoding", b"connection", b"accept"}


async def test_a_list_in_an_encoding_that_nobody_asked_for_is_refused(tmp_path):
    async with registry_site(tmp_path, "npm") as (place, _):
        place.host.answer = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 2\r\n\r\nok"
        assert (await place.say(at_registry(b"/npm/left-pad"))).startswith(b"HTTP/1.1 502 ")
        assert (await place.say(at_registry(b"/npm/left-pad/-/left-pad-1.3.0.tgz"))).endswith(b"ok")


async def test_what_a_registry_sends_elsewhere_is_followed_by_the_rules_only(tmp_path):
    async with registry_site(tmp_path, "pip") as (place, url):
        place.host.answer = f"HTTP/1.1 301 x\r\nlocation: {url}/simple/y/\r\ncontent-length: 0\r\n\r\n".encode()
        assert b"location: http://127.0.0.1:8791/pip/simple/y/\r\n" in await place.say(at_registry(b"/pip/simple/x/"))
        place.host.answer = b"HTTP/1.1 302 x\r\nlocation: http://evil.net/y\r\ncontent-length: 0\r\n\r\n"
        assert b"location: http://evil.net/y\r\n" in await place.say(at_registry(b"/pip/simple/x/"))
        assert (await place.say(get(b"http://evil.net/y", host=b"evil.net"))).startswith(b"HTTP/1.1 403 ")


@pytest.mark.requirement("D09.8")
@pytest.mark.parametrize(
    ("status", "text"),
    [
        (403, at_registry(b"/npm/left-pad")),
        (403, at_registry(b"/pip/legacy/")),
        (403, at_registry(b"/pip/simple/../legacy/")),
        (403, at_registry(b"/pip/simple/%2e%2e/legacy/")),
        (405, at_registry(b"/pip/simple/x/", method=b"POST")),
        (400, at_registry(b"/pip/simple/x/?q=1")),
        (400, at_registry(b"/pip/simple/x/", b"content-length: 1") + b"x"),
        (400, at_registry(b"/pip")),
        (400, at_registry(b"/")),
        (400, at_registry(b"/PIP/simple/x/")),
        (400, at_registry(b"//pip/simple/x/")),
        (421, at_registry(b"/pip/simple/x/", host=b"registry.example.org")),
        (421, at_registry(b"/pip/simple/x/", host=b"127.0.0.1:80")),
        (400, at_registry(b"http://127.0.0.1:8791/pip/simple/x/")),
        (403, get(b"http://registry.example.org:{p}/simple/x/", host=b"registry.example.org:{p}")),
    ],
)
async def test_of_a_registry_nothing_is_asked_but_its_packages(tmp_path, status, text):
    async with registry_site(tmp_path, "pip") as (place, _):
        assert (await place.say(text)).startswith(b"HTTP/1.1 %d " % status)
    assert place.host.connections == 0


async def test_apt_asks_its_registry_over_the_proxy_and_nothing_else_of_that_host(tmp_path):
    async with registry_site(tmp_path, "apt") as (place, _):
        for path, status in ((b"/debian/dists/x/InRelease", 200), (b"/debian/../x", 403), (b"/other/x", 403)):
            asked = get(b"http://deb.debian.org" + path, LAST, host=b"deb.debian.org")
            assert (await place.say(asked)).startswith(b"HTTP/1.1 %d " % status), path
        assert (await place.say(get(b"http://deb.debian.org/debian/pool/x", host=b"deb.debian.org", method=b"PUT")))[
            9:12
        ] == b"405"
    [heard] = place.host.heard
    assert heard.startswith(b"GET /debian/dists/x/InRelease HTTP/1.1\r\nhost: registry.example.org:")


async def test_a_registry_is_asked_by_tls_and_one_that_is_not_trusted_is_told(tmp_path):
    trust = ssl.create_default_context(cafile=CERTIFICATE)
    for check in (False, True):
        trust.check_hostname = check
        async with site(tmp_path, tls=True, trust=trust) as place:
            url = f"https://registry.example.org:{place.host.port}"
            place.proxy.policy = Policy(Rules(), (moved("go", url),))
            answer = await place.say(at_registry(b"/go/modules/x/@latest"))
        assert re.match(rb"HTTP/1.1 (\d+) ", answer)[1] == (b"502" if check else b"200")
        assert [contact.refused for contact in place.contacts] == ["upstream_untrusted"] * check + [""] * (not check)


async def test_a_registry_whose_name_leads_inwards_is_refused_unless_it_is_said_to_be_private(tmp_path):
    async with site(tmp_path, registries=[builtin_registries()["pip"]]) as place:
        assert (await place.say(at_registry(b"/pip/simple/x/"))).startswith(b"HTTP/1.1 403 ")
    assert [contact.refused for contact in place.contacts] == ["address_refused"]
