"""Rules: which hosts and ports a sandbox may reach. What no rule names is denied.

    registry.example.org          that host, port 443
    registry.example.org:8443     that host and port
    *.example.org:443             every host below example.org, but not example.org itself
    unsafe_private:build.lan:80   that host and port, also where it leads into a private network or to us

Promises: a rule that is there can match, and does not allow everything; its text is canonical, so equal rules are equal
texts. Methods and paths are no part of a rule: in a tunnel nobody sees them.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Self

from acp_runtime.core.errors import Rejected
from acp_runtime.core.plaintext import one_line
from acp_runtime.egress.hosts import HostRefused, parse_authority, to_ascii

__all__ = ["MOST", "PRIVATE", "Rule", "Rules", "needed"]

MOST: Final = 256  # rules of one sandbox
PRIVATE: Final = "unsafe_private:"
HTTPS: Final = 443
_SCHEME: Final = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
# Names that lead nowhere, or to this machine and its neighbours only.
_NOWHERE: Final = frozenset({"invalid", "example", "onion", "alt"})
_LOCAL: Final = frozenset({"localhost", "local", "internal", "lan", "home", "corp", "intranet", "test", "arpa"})


@dataclass(frozen=True, slots=True)
class Rule:
    """One host, or with `below` every host below it, and one port.

    `private`: also where the name leads to an address that is not public.
    """

    host: str
    port: int
    below: bool = False
    private: bool = False

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a rule. Raises Rejected (`bad_egress_rule`) naming the text and what to write instead."""
        private = text.startswith(PRIVATE)
        rest = text.removeprefix(PRIVATE)
        _refuse_what_is_no_host(text, rest)
        below = rest.startswith("*.")
        name, colon, port = rest.removeprefix("*.").partition(":")
        try:
            host, given = parse_authority(to_ascii(name) + colon + port)
        except HostRefused as error:
            raise _bad(text, f"can never match: {error}", "write HOST, HOST:PORT or *.DOMAIN:PORT") from error
        _refuse_too_wide_or_dead(text, host, below=below, private=private)
        return cls(host, given or HTTPS, below, private)

    def matches(self, host: str, port: int) -> bool:
        """Tell whether a canonical host and a port are allowed."""
        return port == self.port and self._names(host)

    def covers(self, other: "Rule") -> bool:
        """Tell whether everything that the other rule allows is allowed by this one."""
        named = self._names(other.host) if not other.below else self.below and self._holds(other.host)
        return named and self.port == other.port and (self.private or not other.private)

    def _names(self, host: str) -> bool:
        return host.endswith(f".{self.host}") if self.below else host == self.host

    def _holds(self, domain: str) -> bool:
        return domain == self.host or domain.endswith(f".{self.host}")

    def __str__(self) -> str:
        return f"{PRIVATE if self.private else ''}{'*.' if self.below else ''}{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Rules:
    """What one sandbox may reach; nothing without a rule."""

    rules: tuple[Rule, ...] = ()

    @classmethod
    def parse(cls, texts: Iterable[str]) -> Self:
        """Read rules, each once, in order. Raises Rejected (`bad_egress_rule`)."""
        found = tuple(dict.fromkeys(map(Rule.parse, texts)))
        if len(found) > MOST:
            raise Rejected("bad_egress_rule", f"{len(found)} egress rules were given; at most {MOST} are allowed.")
        return cls(found)

    @property
    def texts(self) -> tuple[str, ...]:
        return tuple(map(str, self.rules))

    def find(self, host: str, port: int) -> Rule | None:
        """Return the rule that lets a canonical host and port through: a private one last."""
        found = [rule for rule in self.rules if rule.matches(host, port)]
        return min(found, key=lambda rule: rule.private, default=None)

    def covers(self, rule: Rule) -> bool:
        return any(each.covers(rule) for each in self.rules)


def needed(host: str, port: int) -> str:
    """Return the narrowest rule that would let a canonical host and port through, as text."""
    return str(Rule(host, port, private=_is_local(host)))


def _is_local(host: str) -> bool:
    """Tell whether a name can lead into a private network only."""
    return "." not in host or host.rpartition(".")[2] in _LOCAL


def _refuse_what_is_no_host(text: str, rest: str) -> None:
    if (scheme := _SCHEME.match(rest)) is not None:
        name = rest[scheme.end() :].partition("/")[0]
        port = "80" if scheme.group(1).lower() == "http" else "443"
        hint = name if ":" in name else f"{name}:{port}"
        raise _bad(text, "names a scheme", f"write {one_line(hint, 80)}")
    if any(character in rest for character in "/?#"):
        why = "names a path or a network, and in a tunnel only host and port are seen"
        raise _bad(text, why, "name a host and a port alone; paths are enforced for package registries")
    host, _, port = rest.partition(":")
    if host and set(host) <= {"*", "."}:
        raise _bad(text, "allows everything", "name hosts, or *.DOMAIN")
    if "*" in port:
        raise _bad(text, "allows every port", "name one port, and each further one in a rule of its own")
    if "*" in host.removeprefix("*."):
        raise _bad(text, "can never match: a * stands for whole labels at the beginning only", "write *.DOMAIN")


def _refuse_too_wide_or_dead(text: str, host: str, *, below: bool, private: bool) -> None:
    last = host.rpartition(".")[2]
    if below and "." not in host:
        raise _bad(text, f"allows everything below .{last}", "name a domain below it")
    if last in _NOWHERE:
        raise _bad(text, f"can never match: no name below .{last} leads anywhere", "name a host that exists")
    if not private and _is_local(host):
        why = "can never match: such a name leads into a private network, which is refused"
        raise _bad(text, why, f"write {PRIVATE}{'*.' if below else ''}{host}:PORT if that is what you want")


def _bad(text: str, why: str, remedy: str) -> Rejected:
    shown = one_line(text, 120)
    return Rejected("bad_egress_rule", f"The egress rule {shown!r} {why}; {remedy}.", {"rule": shown})
