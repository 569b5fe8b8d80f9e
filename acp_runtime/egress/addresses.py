"""Which addresses a name may lead to: public ones. The others are refused by what they are for.

The lists are those of IANA's registries of special-purpose addresses, of the ways to write an IPv4 address as an IPv6
one, and of the addresses at which clouds tell a machine its own secrets. `ipaddress.is_global` differs from one Python
to the next.
"""

import ipaddress
import socket
from typing import Final

__all__ = ["why_refused"]

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_SPECIAL: Final = {
    "0.0.0.0/8": "this machine",
    "10.0.0.0/8": "a private network",
    "100.64.0.0/10": "a provider's shared network",
    "127.0.0.0/8": "this machine",
    "168.63.129.16/32": "a cloud's own service",
    "169.254.0.0/16": "the link, where clouds tell secrets",
    "172.16.0.0/12": "a private network",
    "192.0.0.0/24": "special protocols",
    "192.0.2.0/24": "documentation",
    "192.31.196.0/24": "special protocols",
    "192.52.193.0/24": "special protocols",
    "192.88.99.0/24": "a tunnel (6to4)",
    "192.168.0.0/16": "a private network",
    "192.175.48.0/24": "special protocols",
    "198.18.0.0/15": "benchmarks",
    "198.51.100.0/24": "documentation",
    "203.0.113.0/24": "documentation",
    "224.0.0.0/4": "multicast",
    "240.0.0.0/4": "reserved",
    "::/128": "this machine",
    "::1/128": "this machine",
    "::ffff:0:0/96": "an IPv4 address in another form",
    "::/96": "an IPv4 address in another form",
    "64:ff9b::/96": "a translator (NAT64)",
    "64:ff9b:1::/48": "a translator (NAT64)",
    "2001::/23": "special protocols",
    "2001:db8::/32": "documentation",
    "2002::/16": "a tunnel (6to4)",
    "2620:4f:8000::/48": "special protocols",
    "3fff::/20": "documentation",
    "fc00::/7": "a private network",
    "fe80::/10": "the link",
    "fec0::/10": "a private network",
    "ff00::/8": "multicast",
}
_NETWORKS: Final = tuple((ipaddress.ip_network(text), what) for text, what in _SPECIAL.items())
_PUBLIC_V6: Final = ipaddress.ip_network("2000::/3")
# What a rule for private addresses lets through. Never the link: there clouds tell a machine its own secrets.
_PRIVATE: Final = tuple(
    ipaddress.ip_network(text)
    for text in (
        "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "198.18.0.0/15",
        "::1/128", "fc00::/7",
    )
)  # fmt: skip
_NEVER: Final = tuple(map(ipaddress.ip_network, ("fd00:ec2::254/128", "100.100.100.200/32", "fd20:ce::254/128")))


def why_refused(text: str, *, private: bool = False) -> str | None:
    """Return what a numeric address is for when it must not be connected to; None for one that may be.

    `private`: the rule that let its name through allows private networks and this machine.
    """
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return "no address"
    if isinstance(address, ipaddress.IPv6Address) and address.scope_id is not None:
        return "the link"
    if any(address in network for network in _NEVER):
        return "a cloud's own service"
    if private and any(address in network for network in _PRIVATE):
        return None
    what = next((what for network, what in _NETWORKS if address in network), None)
    if what is None and address.version == 6 and address not in _PUBLIC_V6:
        what = "reserved"
    return what or (None if private or not _is_ours(address) else "this machine")


def _is_ours(address: Address) -> bool:
    """Tell whether a public address is one of this machine's: what would be sent there comes from there.

    Nothing is sent.
    """
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((str(address), 9))
            return ipaddress.ip_address(probe.getsockname()[0]) == address
    except OSError:
        return False
