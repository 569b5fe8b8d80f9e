"""The request path of the proxy under changed requests: what it lets through is what two readers agree on."""

import asyncio
import contextlib
from urllib.parse import urlsplit

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acp_runtime.carrying.refusal import Refusal
from acp_runtime.egress.asking import ForHost, ForRegistry, ForTunnel, tunnel_of, wish_of
from acp_runtime.egress.registry import builtin_registries
from acp_runtime.egress.rules import Rules
from tests.integration.egress_site import HERE, site

ALLOWED = "allowed.example.org"
RULES = Rules.parse([f"{ALLOWED}:443", f"{ALLOWED}:80"])

HOSTS = [
    *["allowed.example.org"] * 4, "ALLOWED.example.org.", "evil.net", "allowed.example.org.evil.net", "127.0.0.1",
    "allowed.example.org@evil.net", "evil.net@allowed.example.org", "allowed.example.org%2eevil.net", "0x7f.1",
    "allowed.example.org\\evil.net", "allowed.example.org#", "allowed.example.org?", "allowed.example.org/",
    "[::1]", "",
]  # fmt: skip
PORTS = ["", ":443", ":443", ":443", ":80", ":8443", ":0", ":", ":443:80", ":080", ":99999", ":x"]
AUTHORITIES = st.tuples(st.sampled_from(HOSTS), st.sampled_from(PORTS)).map("".join)
TARGETS = st.one_of(
    AUTHORITIES,
    st.tuples(
        st.sampled_from(["http://", "http://", "HTTP://", "https://", "http:/", "//", "http:\\\\", ""]),
        AUTHORITIES,
        st.sampled_from(["", "/", "/x", "?x", "#x", "/../x", "//evil.net/", "@evil.net/", "/pip/simple/x/"]),
    ).map("".join),
)
METHODS = st.sampled_from(["CONNECT", "GET", "POST", "connect", "TRACE", "OPTIONS"])
NOISE = st.sampled_from(
    [b"\0", b"\r", b"\n", b"\r\n", b" ", b"\t", b"\x0b", b"\x7f", b"\xff", b":", b"@", b"%00", b"#"]
)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """A request of parts that are each nearly right, with a few bytes put anywhere."""
    method, target = draw(METHODS), draw(TARGETS)
    same = target.partition("://")[2].partition("/")[0] or target
    hosts = draw(st.one_of(st.just([same]), st.lists(AUTHORITIES, max_size=2)))
    version = draw(st.sampled_from(["1.1", "1.1", "1.1", "1.0"]))
    lines = [f"{method} {target} HTTP/{version}", *(f"host: {each}" for each in hosts), "", ""]
    data = "\r\n".join(lines).encode("latin-1")
    for at, noise in draw(st.lists(st.tuples(st.integers(0, 200), NOISE), max_size=2)):
        data = data[: at % len(data)] + noise + data[at % len(data) :]
    return data


def read(data: bytes) -> tuple[h11.Request, ForTunnel | ForHost | ForRegistry] | None:
    """What the proxy makes of it, None for what it refuses."""
    http = h11.Connection(h11.SERVER)
    http.receive_data(data)
    try:
        request = http.next_event()
        if not isinstance(request, h11.Request):
            return None
        return request, tunnel_of(request) if request.method == b"CONNECT" else wish_of(request, HERE)
    except (h11.RemoteProtocolError, Refusal):
        return None


def plain(authority: str) -> str:
    """A host as people would compare it."""
    return authority.lower().rpartition("@")[2].partition(":")[0].removesuffix(".")


@pytest.mark.requirement("T7")
@settings(max_examples=400)
@given(requests())
def test_what_is_let_through_is_meant_for_the_allowed_host_by_every_reader(data):
    found = read(data)
    if found is None or isinstance(found[1], ForRegistry):
        return
    request, wish = found
    if RULES.find(wish.host, wish.port) is None:
        return
    target = request.target.decode()
    named = target if request.method == b"CONNECT" else urlsplit(target).netloc
    hosts = [value.decode() for name, value in request.headers if name == b"host"]
    assert [plain(each) for each in (named, *hosts)] == [ALLOWED] * (1 + len(hosts))
    assert "@" not in named
    if isinstance(wish, ForHost):
        assert urlsplit(target).port in (None, wish.port)
        assert wish.target.startswith("/")
        assert "#" not in wish.target


SEGMENTS = st.sampled_from(
    ["", "a", ".", "..", "%2e", "%2E%2e", "%252e%252e", "..;", "simple", "packages", "files", "modules", "@v", "list",
     "-", "a.tgz", "%2f", "%5c", "\\", "a%00", "@a", "index", "dists", "config.json", "@latest", "sumdb"]
)  # fmt: skip


@settings(max_examples=400)
@given(st.sampled_from(sorted(builtin_registries())), st.lists(SEGMENTS, min_size=1, max_size=7).map("/".join))
def test_a_path_that_a_registry_admits_stays_below_its_place_however_it_is_decoded(name, path):
    asked = builtin_registries()[name].below(f"/{path}")
    if asked is None:
        return
    try:
        asked.place.admit(b"GET", asked.path)
    except Refusal:
        return
    decoded = asked.path
    for _ in range(4):
        segments = decoded.replace("\\", "/").split("/")
        assert not {".", ".."} & {segment.partition(";")[0] for segment in segments}
        assert all(character >= " " for character in decoded)
        decoded = decoded.replace("%2e", ".").replace("%2E", ".").replace("%2f", "/").replace("%2F", "/")
        decoded = decoded.replace("%5c", "\\").replace("%25", "%").replace("%00", "\0")


@pytest.mark.long
async def test_whatever_is_said_to_the_proxy_it_answers_or_closes_and_lets_only_the_allowed_host_through(tmp_path):
    """Many changed requests over the socket, behind which every name leads to a host that takes everything."""
    told: list[bytes] = []

    @settings(max_examples=2000, database=None)
    @given(requests())
    def collect(data):
        told.append(data)

    collect()
    at_once = asyncio.Semaphore(32)
    async with site(tmp_path, ["unsafe_private:allowed.example.org:{p}"], idle_seconds=0.2) as place:

        async def say(data: bytes) -> None:
            async with at_once:
                with contextlib.suppress(ConnectionError):  # closed with something unread
                    await place.say(data.replace(b":443", b":%d" % place.host.port))

        await asyncio.gather(*map(say, told))
        for heard in place.host.heard:
            assert b"\r\nhost: allowed.example.org" in heard.lower()
        assert place.host.connections == len([each for each in place.contacts if each.allowed_by])
        assert place.host.connections > 10
