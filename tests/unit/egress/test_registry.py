import pytest

from acp_runtime.carrying.refusal import Refusal
from acp_runtime.carrying.rewriting import RewritingStream
from acp_runtime.core.errors import Rejected
from acp_runtime.egress.registry import Asked, builtin_registries

HERE = "127.0.0.1:8791"
ADMITTED = {
    "pip": ["/simple/", "/simple/foo/", "/simple/zope.interface/", "/simple/Foo_Bar",
            "/files/packages/a1/b2/c3/foo-1.0%2B-py3-none-any.whl".replace("%2B", "+"),
            "/files/packages/a1/b2/foo-1.0.tar.gz.metadata"],
    "npm": ["/left-pad", "/@types/node", "/@types%2fnode", "/@types%2Fnode", "/left-pad/-/left-pad-1.3.0.tgz",
            "/@types/node/-/node-22.1.0.tgz", "/left-pad/latest", "/left-pad/1.3.0"],
    "apt": ["/debian/dists/bookworm/InRelease", "/debian/pool/main/g/g++/g++_12%3a1-2~deb12u1_amd64.deb",
            "/debian-security/dists/bookworm-security/main/binary-amd64/by-hash/SHA256/0a"],
    "cargo": ["/index/config.json", "/index/3/f/foo", "/index/se/rd/serde", "/index/1/a",
              "/crates/serde/1.0.200/download", "/crates/serde/serde-1.0.200.crate"],
    "go": ["/modules/golang.org/x/text/@v/list", "/modules/golang.org/x/text/@v/v0.14.0.zip",
           "/modules/github.com/!burnt!sushi/toml/@latest", "/modules/sumdb/sum.golang.org/supported",
           "/modules/sumdb/sum.golang.org/lookup/golang.org/x/text@v0.14.0",
           "/modules/sumdb/sum.golang.org/tile/8/0/x001/234.p/5"],
}  # fmt: skip
REFUSED = {
    "pip": ["/", "/legacy/", "/pypi/foo/json", "/manage/account/", "/simple/../legacy/", "/simple/%2e%2e/", "/files/x",
            "/simple//x/", "/files/packages/../secrets", "/files/packages/a/../../x",
            "/files/packages/a/%2e%2e/%2e%2e/x", "/simple/a/b/",
            "/simple/a%00/", "/simple/a\\..\\b/", "/files/packages/a/..;/x"],
    "npm": ["/", "/-/whoami", "/-/npm/v1/tokens", "/-/user/org.couchdb.user:x", "/-/v1/search",
            "/-/package/x/dist-tags", "/left-pad/-/../../x.tgz", "/@types%2f..%2f..%2fnode", "/left-pad/-rev/1",
            "/..", "/@/x"],
    "apt": ["/debian/", "/debian/../x", "/debian/dists/%2e%2e/%2e%2e/x", "/debian/tools/x", "/x"],
    "cargo": ["/index/../x", "/api/v1/crates", "/crates/serde/1.0.0/owners", "/index/config.json/x", "/index/"],
    "go": ["/modules/x/@v/../secrets", "/modules/x/@v/v1.exe", "/modules/sumdb/other.org/latest", "/x/@v/list",
           "/modules/../@latest", "/modules/a/../b/@latest", "/modules/a/%2e%2e/b/@latest"],
}  # fmt: skip


def asked(name: str, path: str) -> Asked | None:
    return builtin_registries()[name].below(path)


def refused(name: str, path: str, method: bytes = b"GET") -> bool:
    found = asked(name, path)
    if found is None:
        return True
    try:
        found.place.admit(method, found.path)
    except Refusal:
        return True
    return False


@pytest.mark.parametrize(("name", "path"), [(name, path) for name, paths in ADMITTED.items() for path in paths])
def test_what_installers_ask_for_is_admitted_to_be_read_only(name, path):
    assert not refused(name, path)
    assert not refused(name, path, b"HEAD")
    assert all(refused(name, path, method) for method in (b"POST", b"PUT", b"DELETE", b"PATCH", b"OPTIONS", b"get"))


@pytest.mark.parametrize(("name", "path"), [(name, path) for name, paths in REFUSED.items() for path in paths])
def test_whatever_else_a_registry_offers_is_refused(name, path):
    assert refused(name, path)


def test_a_path_is_asked_of_the_place_that_it_names_most_exactly():
    where = {
        ("pip", "/files/packages/x"): "files",
        ("pip", "/simple/x/"): "index",
        ("go", "/modules/sumdb/sum.golang.org/latest"): "sums",
        ("go", "/modules/x/@latest"): "modules",
    }
    for (name, path), place in where.items():
        found = asked(name, path)
        assert found is not None
        assert found.place.name == place


def test_a_checksum_database_is_told_as_supported():
    found = asked("go", "/modules/sumdb/sum.golang.org/supported")
    assert found is not None
    assert found.target == b"/latest"


def test_apt_is_known_by_the_addresses_that_it_always_had():
    apt = builtin_registries()["apt"]
    for url, host, target in (
        ("http://deb.debian.org/debian/dists/x/Release", "deb.debian.org", b"/debian/dists/x/Release"),
        ("http://security.debian.org/debian-security/pool/x", "deb.debian.org", b"/debian-security/pool/x"),
    ):
        found = apt.asked_as(url)
        assert found is not None
        assert (found.place.address.scheme, found.place.address.host, found.target) == ("https", host, target)
    assert apt.asked_as("http://deb.debian.org/other/x") is None
    assert apt.asked_as("http://deb.debian.org.evil.net/debian/x") is None


def test_addresses_in_a_list_of_packages_lead_back_and_others_stay():
    page = b"""<a href="https://files.pythonhosted.org/packages/a/x.whl#sha256=1">x</a>
        "https://pypi.org/simple/y/" https://pypi.org.evil.net/simple/ https://other.example.org/z"""
    found = asked("pip", "/simple/x/")
    assert found is not None
    rewriting = found.rewriting(HERE)
    stream = RewritingStream(rewriting.beginnings)
    told = stream.feed(page) + stream.finish()
    assert b'href="http://127.0.0.1:8791/pip/files/packages/a/x.whl#sha256=1"' in told
    assert b'"http://127.0.0.1:8791/pip/simple/y/"' in told
    assert told.endswith(b"https://pypi.org.evil.net/simple/ https://other.example.org/z")
    assert rewriting.body


def test_a_package_is_not_changed_and_where_its_registry_sends_on_is():
    found = asked("npm", "/left-pad/-/left-pad-1.3.0.tgz")
    assert found is not None
    rewriting = found.rewriting(HERE)
    assert not rewriting.body
    headers = [(b"location", b"https://registry.npmjs.org/x"), (b"content-length", b"3")]
    assert rewriting.headers(headers) == [(b"location", b"http://127.0.0.1:8791/npm/x"), (b"content-length", b"3")]
    assert rewriting.headers([(b"location", b"/x")]) == [(b"location", b"http://127.0.0.1:8791/npm/x")]
    assert rewriting.headers([(b"location", b"//evil.net/x")]) == [(b"location", b"//evil.net/x")]


def test_programs_are_told_where_their_registries_are():
    found = {name: registry.environment(HERE) for name, registry in builtin_registries().items()}
    assert found["pip"]["PIP_INDEX_URL"] == "http://127.0.0.1:8791/pip/simple/"
    assert found["npm"]["npm_config_registry"] == "http://127.0.0.1:8791/npm/"
    assert found["go"]["GOPROXY"] == "http://127.0.0.1:8791/go/modules"
    assert found["apt"] == {}
    files = builtin_registries()["cargo"].home_files(HERE)
    assert 'registry = "sparse+http://127.0.0.1:8791/cargo/index/"' in files[".cargo/config.toml"]


@pytest.mark.parametrize(
    ("addresses", "private", "why"),
    [
        ({"index": "http://mirror.example.org"}, False, "use https"),
        ({"index": "https://127.0.0.1/x"}, True, "an address"),
        ({"index": "https://user@mirror.example.org"}, False, "a name or a password"),
        ({"index": "https://user:pa55@mirror.example.org"}, False, "'https://mirror.example.org' has a name"),
        ({"index": "mirror.example.org"}, False, "https://HOST"),
        ({"index": "https://mirror.example.org/?x"}, False, "https://HOST"),
        ({"index": "https://mirror.example.org/a/../b"}, False, "https://HOST"),
        ({"index": "https://mirror.example.org:0/"}, False, "port"),
        ({"other": "https://mirror.example.org"}, False, "files, index"),
    ],
)
def test_an_address_that_cannot_be_used_is_refused(addresses, private, why):
    with pytest.raises(Rejected, match=why) as caught:
        builtin_registries()["pip"].moved(addresses, private=private)
    assert caught.value.kind == "bad_registry_address"


def test_a_registry_is_moved_by_its_parts():
    moved = builtin_registries()["pip"].moved({"index": "https://mirror.example.org:8443/pypi/"}, private=False)
    found = moved.below("/simple/x/")
    assert found is not None
    assert (found.place.address.authority, found.target) == ("mirror.example.org:8443", b"/pypi/simple/x/")
    assert str(moved.places[1].address) == "https://files.pythonhosted.org"


def test_a_mirror_with_lists_and_packages_at_one_address_works():
    mirror = "https://mirror.example.org/pypi"
    moved = builtin_registries()["pip"].moved({"index": mirror, "files": mirror}, private=False)
    found = moved.below("/simple/x/")
    assert found is not None
    stream = RewritingStream(found.rewriting(HERE).beginnings)
    told = stream.feed(f'"{mirror}/packages/x.whl" "{mirror}/simple/y/"'.encode()) + stream.finish()
    assert told == b'"http://127.0.0.1:8791/pip/packages/x.whl" "http://127.0.0.1:8791/pip/simple/y/"'
    for path in ("/packages/x.whl", "/simple/y/"):
        asked_for = moved.below(path)
        assert asked_for is not None
        asked_for.place.admit(b"GET", asked_for.path)
        assert asked_for.target == f"/pypi{path}".encode()


def test_the_patterns_are_of_a_kind_that_no_path_makes_slow():
    for registry in builtin_registries().values():
        for place in registry.places:
            for piece in ("/a", "a", "a-", "/-", "%2f", "@a/", ".", "a/@"):
                place.paths.fullmatch("/" + piece * 20_000 + "\n")
