"""What a request asks the proxy for: read whole and strictly, before anything is decided. Pure.

Promises: what could be read in two ways is refused; a host is canonical, and the one that the `Host` header names.
"""

import re
from dataclasses import dataclass
from typing import Final

import h11

from acp_runtime.carrying.refusal import Refusal
from acp_runtime.carrying.upstream import DEFAULT_PORTS
from acp_runtime.egress.hosts import HostRefused, parse_authority

__all__ = ["ForHost", "ForRegistry", "ForTunnel", "tunnel_of", "wish_of"]

_ABSOLUTE: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)(.*)")
_REGISTRY: Final = re.compile(r"/([a-z0-9][a-z0-9._-]{0,39})(/[^?#]*)")


@dataclass(frozen=True, slots=True)
class ForTunnel:
    """CONNECT HOST:PORT."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class ForHost:
    """An address without TLS: `target` is what its host is asked for."""

    host: str
    port: int
    target: str


@dataclass(frozen=True, slots=True)
class ForRegistry:
    """A path below a package registry, which may be unknown."""

    name: str
    path: str


def tunnel_of(request: h11.Request) -> ForTunnel:
    """Return what a CONNECT asks for. Raises Refusal."""
    host, port = _authority(request.target.decode("ascii"))
    if port is None:
        raise Refusal(400, "target_refused", "A CONNECT names HOST:PORT.")
    _look_at_hosts(_hosts(request), host, port, (port, None))
    if any(name in (b"content-length", b"transfer-encoding") for name, _ in request.headers):
        raise Refusal(400, "bad_request", "A CONNECT has no body.")
    return ForTunnel(host, port)


def wish_of(request: h11.Request, here: str) -> ForHost | ForRegistry:
    """Return what any other request asks for, of a proxy that its clients reach at `here`. Raises Refusal."""
    target = request.target.decode("ascii")
    if target.startswith("/"):
        return _registry(target, _hosts(request), here)
    return _absolute(request, target, _hosts(request))


def _hosts(request: h11.Request) -> list[str]:
    return [value.decode("ascii", "replace") for name, value in request.headers if name == b"host"]


def _registry(target: str, hosts: list[str], here: str) -> ForRegistry:
    if {each.lower() for each in hosts} - {here, here.replace("127.0.0.1", "localhost")}:
        raise Refusal(421, "host_mismatch", f"A path alone is asked of {here}, and the Host header says otherwise.")
    found = _REGISTRY.fullmatch(target)
    if found is None:
        raise Refusal(400, "target_refused", f"Of http://{here} only /REGISTRY/PATH is asked, without a query.")
    return ForRegistry(found[1], found[2])


def _absolute(request: h11.Request, target: str, hosts: list[str]) -> ForHost:
    found = _ABSOLUTE.fullmatch(target)
    if found is None or found[1].lower() != "http" or "#" in found[3]:
        raise Refusal(400, "target_refused", "Ask for http://HOST/PATH; by CONNECT HOST:PORT for anything with TLS.")
    if request.method == b"TRACE":
        raise Refusal(405, "method_refused", "TRACE is not carried.")
    host, given = _authority(found[2])
    port = given or DEFAULT_PORTS["http"]
    _look_at_hosts(hosts, host, port, (given, port) if port == DEFAULT_PORTS["http"] else (port,))
    return ForHost(host, port, found[3] if found[3].startswith("/") else f"/{found[3]}")


def _authority(text: str) -> tuple[str, int | None]:
    try:
        return parse_authority(text)
    except HostRefused as error:
        raise Refusal(400, "host_refused", f"What was asked for is no host of ours: {error}.") from error


def _look_at_hosts(hosts: list[str], host: str, port: int, ports: tuple[int | None, ...]) -> None:
    """Refuse a request of which a `Host` header names another host than its target, or another port."""
    for each in hosts:
        named, given = _authority(each)
        if named != host or given not in ports:
            raise Refusal(400, "host_mismatch", f"The Host header names another host than {host}:{port}.")
