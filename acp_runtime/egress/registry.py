"""Package registries: what of them may be asked for, where that is, and how what they say leads back here.

Promises: only what a place's patterns name is asked for, whatever way the path is written; the addresses in lists of
packages become such as a sandbox can ask for. What is in a package is not changed.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from string import Template
from typing import Any, Final, Self

from acp_runtime.carrying.paths import leaves
from acp_runtime.carrying.refusal import Refusal
from acp_runtime.carrying.rewriting import Rewriting
from acp_runtime.carrying.upstream import DEFAULT_PORTS, authority
from acp_runtime.core.errors import Rejected
from acp_runtime.core.plaintext import one_line
from acp_runtime.egress.hosts import HostRefused, parse_authority

__all__ = ["Address", "Asked", "Place", "Registry", "builtin_registries"]

_URL: Final = re.compile(r"(https?)://([^/?#\\]*)((?:/[A-Za-z0-9._~@+-]+)*)/?")
_METHODS: Final = frozenset({b"GET", b"HEAD"})


@dataclass(frozen=True, slots=True)
class Address:
    """The base of a place: `path` without a slash at its end."""

    scheme: str
    host: str
    port: int
    path: str

    @classmethod
    def parse(cls, url: str, *, private: bool) -> Self:
        """Read an address. Raises Rejected (`bad_registry_address`).

        `private`: it may be without TLS, on a private network.
        """
        found = _URL.fullmatch(url)
        if found is not None and "@" in found[2]:
            # The name and the secret before the host are not repeated.
            bare = f"{found[1]}://{found[2].rpartition('@')[2]}{found[3]}"
            raise _bad(bare, "has a name or a password before its host, which is not kept secret here", "leave it out")
        if found is None or leaves(found[3].encode()):
            raise _bad(url, "is not of the form https://HOST[:PORT][/PATH]", "correct it")
        scheme = found[1]
        if scheme == "http" and not private:
            raise _bad(url, "is without TLS, so anybody on the way could change packages", "use https")
        try:
            host, port = parse_authority(found[2])
        except HostRefused as error:
            raise _bad(url, f"names no host: {error}", "name the registry's host") from error
        return cls(scheme, host, port or DEFAULT_PORTS[scheme], found[3])

    @property
    def authority(self) -> str:
        return authority(self.scheme, self.host, self.port)

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.path}"


@dataclass(frozen=True, slots=True)
class Place:
    """A part of a registry; see `registries.toml`."""

    name: str
    address: Address
    at: str
    paths: re.Pattern[str]
    rewritten: re.Pattern[str] | None = None
    instead: Mapping[str, str] = field(default_factory=dict)
    asked_as: tuple[str, ...] = ()

    def admit(self, method: bytes, path: str) -> None:
        """Raise Refusal unless a path below the place may be asked for."""
        if method not in _METHODS:
            raise Refusal(405, "method_refused", "From a package registry things are read only: GET and HEAD.")
        if leaves(path.encode()) or self.paths.fullmatch(path) is None:
            raise Refusal(403, "path_refused", f"The path is none of those that are asked of {self.address}.")


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked for: a path below a place."""

    registry: "Registry"
    place: Place
    path: str

    @property
    def target(self) -> bytes:
        return f"{self.place.address.path}{self.place.instead.get(self.path, self.path)}".encode()

    def rewriting(self, here: str) -> Rewriting:
        """Return how the answer's addresses are made to lead back here; where two places are at one, to the first."""
        beginnings: dict[bytes, bytes] = {}
        for place in self.registry.places:
            inside = f"{self.registry.inside(here)}{place.at}".encode()
            for end in (b"/", b'"', b"'"):
                for scheme in ("https", "http"):
                    outside = f"{scheme}://{place.address.authority}{place.address.path}".encode()
                    beginnings.setdefault(outside + end, inside + end)
        body = self.place.rewritten is not None and self.place.rewritten.fullmatch(self.path) is not None
        origin = f"{self.place.address.scheme}://{self.place.address.authority}".encode()
        return Rewriting(beginnings, origin, body=body)


@dataclass(frozen=True, slots=True)
class Registry:
    """A registry. `private`: its addresses may lead into a private network."""

    name: str
    places: tuple[Place, ...]
    variables: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    private: bool = False

    def inside(self, here: str) -> str:
        """Return its address inside of a sandbox that reaches this side at `here`, as `127.0.0.1:PORT`."""
        return f"http://{here}/{self.name}"

    def environment(self, here: str) -> dict[str, str]:
        """Return the variables by which programs in a sandbox find it."""
        return {name: Template(text).safe_substitute(HERE=self.inside(here)) for name, text in self.variables.items()}

    def home_files(self, here: str) -> dict[str, str]:
        """Return the files, below the agent's home, by which programs find it that take no variable."""
        return {path: Template(text).safe_substitute(HERE=self.inside(here)) for path, text in self.files.items()}

    def below(self, path: str) -> Asked | None:
        """Return what a path below the registry asks for, of whatever place is named most exactly."""
        found = [place for place in self.places if path.startswith(f"{place.at}/")]
        place = max(found, key=lambda each: len(each.at), default=None)
        return None if place is None else Asked(self, place, path[len(place.at) :])

    def asked_as(self, url: str) -> Asked | None:
        """Return what an absolute address asks for, which programs know that take no other one."""
        for place in self.places:
            for prefix in place.asked_as:
                if url.startswith(f"{prefix}/"):
                    return Asked(self, place, url[len(prefix) :])
        return None

    def moved(self, addresses: Mapping[str, str], *, private: bool) -> "Registry":
        """Return it with other addresses of its places. Raises Rejected (`bad_registry_address`)."""
        known = {place.name for place in self.places}
        if unknown := sorted(set(addresses) - known):
            sentence = f"The registry {self.name} has no {unknown[0]!r}; its addresses are {', '.join(sorted(known))}."
            raise Rejected("bad_registry_address", sentence)
        parsed = {name: Address.parse(url, private=private) for name, url in addresses.items()}
        places = tuple(replace(place, address=parsed.get(place.name, place.address)) for place in self.places)
        return replace(self, places=places, private=private)


@cache
def builtin_registries() -> Mapping[str, Registry]:
    """Return the registries that come with the program, by name."""
    text = (files("acp_runtime.egress") / "registries.toml").read_text(encoding="utf-8")
    return {name: _registry(name, entry) for name, entry in tomllib.loads(text).items()}


def _registry(name: str, entry: Mapping[str, Any]) -> Registry:
    places = tuple(_place(each, table) for each, table in entry["places"].items())
    return Registry(name, places, entry.get("variables", {}), entry.get("files", {}))


def _place(name: str, table: Mapping[str, Any]) -> Place:
    patterns = {key: re.compile(table[key]) for key in ("paths", "rewritten") if key in table}
    address = Address.parse(table["address"], private=False)
    asked_as, instead = tuple(table.get("asked_as", ())), table.get("instead", {})
    return Place(name, address, table["at"], asked_as=asked_as, instead=instead, **patterns)


def _bad(url: str, why: str, remedy: str) -> Rejected:
    return Rejected("bad_registry_address", f"The registry's address {one_line(url, 120)!r} {why}; {remedy}.")
