"""Where the engine is looked for, and what is said when it cannot be used."""

import errno
import socket
import ssl

import pytest

from sandbox.endpoint import DEFAULT_SOCKET, Context, Endpoint, TlsFiles, explain, resolve
from sandbox.errors import EngineDenied, EngineTimeout, EngineUnreachable


def no_context(name: str | None) -> Context | None:
    assert name is None
    return None


def test_without_any_setting_the_default_socket_is_used():
    assert resolve({}, no_context).unix_path == DEFAULT_SOCKET
    assert resolve({"DOCKER_HOST": "", "DOCKER_CONTEXT": ""}, no_context).base_url == f"unix://{DEFAULT_SOCKET}"


def test_docker_host_wins_over_the_context():
    def contexts(name):
        raise AssertionError("not asked")

    found = resolve({"DOCKER_HOST": "unix:///run/user/1000/docker.sock", "DOCKER_CONTEXT": "other"}, contexts)
    assert found.unix_path == "/run/user/1000/docker.sock"


def test_a_named_context_wins_over_the_current_one():
    asked = []

    def contexts(name):
        asked.append(name)
        return Context("unix:///named.sock", None)

    assert resolve({"DOCKER_CONTEXT": "named"}, contexts).unix_path == "/named.sock"
    assert resolve({}, contexts).unix_path == "/named.sock"
    assert asked == ["named", None]


def test_the_certificates_of_a_context_are_used():
    files = TlsFiles("ca", "cert", "key", verify=True)
    found = resolve({}, lambda _: Context("tcp://build:2376", files))
    assert (found.host, found.port, found.tls) == ("build", 2376, files)


@pytest.mark.parametrize(
    ("environ", "host", "port", "tls"),
    [
        ({"DOCKER_HOST": "tcp://10.0.0.1"}, "10.0.0.1", 2375, None),
        ({"DOCKER_HOST": "tcp://10.0.0.1:9"}, "10.0.0.1", 9, None),
        ({"DOCKER_HOST": "http://build/"}, "build", 2375, None),
        ({"DOCKER_HOST": "tcp://[::1]:2375"}, "::1", 2375, None),
        (
            {"DOCKER_HOST": "tcp://build", "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": "/c"},
            "build",
            2376,
            TlsFiles("/c/ca.pem", "/c/cert.pem", "/c/key.pem", verify=True),
        ),
        (
            {"DOCKER_HOST": "tcp://build", "DOCKER_TLS_VERIFY": "1", "HOME": "/home/me"},
            "build",
            2376,
            TlsFiles("/home/me/.docker/ca.pem", "/home/me/.docker/cert.pem", "/home/me/.docker/key.pem", verify=True),
        ),
        (
            {"DOCKER_HOST": "tcp://build", "DOCKER_TLS_VERIFY": "", "DOCKER_CERT_PATH": "/c"},
            "build",
            2376,
            TlsFiles("/c/ca.pem", "/c/cert.pem", "/c/key.pem", verify=False),
        ),
        ({"DOCKER_HOST": "https://build"}, "build", 2376, TlsFiles(None, None, None, verify=True)),
    ],
)
def test_an_address_of_a_host_is_understood(environ, host, port, tls):
    found = resolve(environ, no_context)
    assert (found.host, found.port, found.tls, found.unix_path) == (host, port, tls, None)


def test_an_address_is_written_for_docker_py_with_brackets_where_needed():
    assert Endpoint("x", host="::1", port=2375).base_url == "http://[::1]:2375"
    assert Endpoint("x", host="h", port=1, tls=TlsFiles(None, None, None, verify=True)).base_url == "https://h:1"


@pytest.mark.parametrize(
    ("url", "line"),
    [
        ("ssh://me@box", "ssh -nNT -L /tmp/docker-box.sock:/var/run/docker.sock me@box"),
        ("ssh://box:2222", "ssh -nNT -p 2222 -L /tmp/docker-box.sock:/var/run/docker.sock box"),
        ("ssh://box/run/x.sock", "ssh -nNT -L /tmp/docker-box.sock:/run/x.sock box"),
        ("ssh://a;rm@box", "ssh -nNT -L /tmp/docker-box.sock:/var/run/docker.sock 'a;rm@box'"),
    ],
)
def test_ssh_is_refused_with_the_line_that_forwards_the_socket(url, line):
    with pytest.raises(EngineUnreachable) as caught:
        resolve({"DOCKER_HOST": url}, no_context)
    assert f"`{line}`" in str(caught.value)
    assert "DOCKER_HOST=unix:///tmp/docker-box.sock" in str(caught.value)


@pytest.mark.parametrize(
    "url", ["docker", "tcp://", "tcp://host:port", "tcp://host:99999", "fd://", "npipe://x", "tcp://h/base"]
)
def test_what_is_no_address_is_refused_by_name(url):
    with pytest.raises(EngineUnreachable, match="not an address of an engine") as caught:
        resolve({"DOCKER_HOST": url}, no_context)
    assert repr(url) in str(caught.value)


def test_missing_certificates_are_told_before_anything_is_dialled(tmp_path):
    environ = {"DOCKER_HOST": "tcp://build", "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": str(tmp_path)}
    with pytest.raises(EngineUnreachable, match=r"ca\.pem, cert\.pem and key\.pem"):
        resolve(environ, no_context).ssl_context()


def test_an_address_without_encryption_needs_no_certificates():
    assert Endpoint("unix:///x", unix_path="/x").ssl_context() is None


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (PermissionError(errno.EACCES, "x"), EngineDenied, "usermod -aG docker"),
        (FileNotFoundError(errno.ENOENT, "x"), EngineUnreachable, "install or start Docker"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "x"), EngineUnreachable, "systemctl start docker"),
        (ConnectionResetError(errno.ECONNRESET, "x"), EngineUnreachable, "may be restarting"),
        (BrokenPipeError(errno.EPIPE, "x"), EngineUnreachable, "may be restarting"),
        (TimeoutError(), EngineTimeout, "did not answer in time while asked to dance"),
        (socket.gaierror(-2, "x"), EngineUnreachable, "cannot be resolved"),
        (ssl.SSLEOFError(8, "end of file"), EngineUnreachable, "may be restarting"),
        (ssl.SSLError(1, "bad certificate"), EngineUnreachable, "DOCKER_TLS_VERIFY"),
        (OSError(errno.ENETUNREACH, "no route"), EngineUnreachable, "cannot be reached (no route)"),
    ],
)
def test_each_way_of_not_answering_has_a_sentence_and_a_remedy_of_its_own(error, kind, words):
    told = explain(Endpoint("unix:///e.sock", unix_path="/e.sock"), error, "dance")
    assert type(told) is kind
    assert words in str(told)
    assert "/e.sock" in str(told)
