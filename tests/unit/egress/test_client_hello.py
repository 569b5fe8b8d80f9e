import ssl

import pytest
from hypothesis import given, strategies

from acp_runtime.egress.client_hello import MOST, HelloRefused, read_server_name

HOST = "registry.example.org"


def hello(name: str | None = HOST, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> bytes:
    """What a client of this machine says first."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.maximum_version = version
    outgoing = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def seen_by_openssl(data: bytes) -> list[str | None]:
    """The names that another program reads in it."""
    seen: list[str | None] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)

    def see(_: ssl.SSLObject, name: str | None, __: ssl.SSLContext) -> int:
        seen.append(name)
        return ssl.ALERT_DESCRIPTION_ACCESS_DENIED

    context.sni_callback = see
    incoming = ssl.MemoryBIO()
    incoming.write(data)
    server = context.wrap_bio(incoming, ssl.MemoryBIO(), server_side=True)
    with pytest.raises(ssl.SSLError):
        server.do_handshake()
    return seen


def record(message: bytes) -> bytes:
    return b"\x16\x03\x01" + len(message).to_bytes(2, "big") + message


def sized(data: bytes, size: int) -> bytes:
    return len(data).to_bytes(size, "big") + data


def made(*extensions: tuple[int, bytes], behind: bytes = b"") -> bytes:
    """A hello with these extensions."""
    listed = b"".join(kind.to_bytes(2, "big") + sized(body, 2) for kind, body in extensions)
    body = b"\x03\x03" + bytes(32) + sized(b"", 1) + sized(b"\x13\x01", 2) + sized(b"\0", 1) + sized(listed, 2) + behind
    return record(b"\x01" + sized(body, 3))


def server_names(*names: bytes, kind: int = 0) -> tuple[int, bytes]:
    return 0, sized(b"".join(bytes([kind]) + sized(name, 2) for name in names), 2)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_the_name_in_a_real_hello_is_read_and_what_comes_behind_it_is_not_looked_at(version):
    data = hello(version=version)
    assert read_server_name(data) == HOST
    assert read_server_name(data + b"\x17\x03\x03early") == HOST


def test_a_hello_is_read_when_it_is_whole_wherever_it_is_cut():
    data = hello()
    assert [read_server_name(data[:length]) for length in range(len(data))] == [None] * len(data)


@pytest.mark.parametrize("size", [1, 3, 100])
def test_a_hello_in_many_records_is_one(size):
    message = hello()[5:]
    pieces = [record(message[at : at + size]) for at in range(0, len(message), size)]
    assert read_server_name(b"".join(pieces)) == HOST


NAME = server_names(HOST.encode())
REFUSED = {
    "no server": hello(name=None),
    "a plain request": b"GET / HTTP/1.1\r\nhost: x\r\n\r\n",
    "another protocol": b"SSH-2.0-x\r\n",
    "the first byte of one": b"S",
    "an old version": b"\x80\x2e\x01\x03\x01" + bytes(40),
    "an alert": b"\x15\x03\x01\x00\x02\x02\x28",
    "an empty record": record(b""),
    "a long record": b"\x16\x03\x01\xff\xff",
    "another message": record(b"\x02" + sized(bytes(40), 3)),
    "a message of a megabyte": record(b"\x01\x10\x00\x00" + bytes(16380)) + record(bytes(16384)) + record(bytes(99)),
    "two names": made(server_names(HOST.encode(), b"evil.example.org")),
    "no name in the list": made(server_names()),
    "an unknown kind of name": made(server_names(HOST.encode(), kind=1)),
    "a name of other bytes": made(server_names(b"r\xc3\xa9gistry.example.org")),
    "the name twice": made(NAME, server_names(b"evil.example.org")),
    "bytes behind the name": made((0, NAME[1] + b"x")),
    "bytes behind the extensions": made(NAME, behind=b"x"),
    "ech": made(NAME, (0xFE0D, b"x")),
    "esni": made(NAME, (0xFFCE, b"x")),
    "ech alone": made((0xFE0D, b"x")),
    "no extension at all": record(b"\x01" + sized(b"\x03\x03" + bytes(32) + b"\0\0\x02\x13\x01\x01\0", 3)),
    "a second message in the record": record(hello()[5:] + b"\x01\x00\x00\x00"),
}


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED)
def test_what_is_no_hello_with_one_plain_name_is_refused(data):
    with pytest.raises(HelloRefused):
        read_server_name(data)


def test_a_hello_without_an_end_is_refused_at_the_bound():
    with pytest.raises(HelloRefused, match="more than"):
        read_server_name(record(b"\x01\x00\xff\xff" + bytes(16380)) + record(bytes(16384)) + bytes(MOST))


@given(
    changes=strategies.lists(strategies.tuples(strategies.integers(0, 300), strategies.integers(0, 255)), max_size=4)
)
def test_a_changed_hello_is_read_as_openssl_reads_it_or_refused(changes):
    data = bytearray(hello())
    for at, byte in changes:
        data[at % len(data)] = byte
    try:
        name = read_server_name(bytes(data))
    except HelloRefused:
        return
    if name is not None:
        assert seen_by_openssl(bytes(data)) in ([], [name])
