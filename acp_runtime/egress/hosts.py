"""Names of hosts in the one form in which they are compared.

Promises: two spellings of one name become the same text, what is no plain name becomes none. A name is ASCII, in lower
case, without the dot at its end, of letters, digits and hyphens; an address is no name, however it is written.
"""

import re
import unicodedata
from typing import Final

__all__ = ["HostRefused", "canonical", "parse_authority", "to_ascii"]

MAX_LENGTH: Final = 253
_LABEL: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
# A name that ends like this is read as an address by some program: 127.1, 2130706433, 0x7f.1, 0177.0.0.1.
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PORT: Final = re.compile(r"[1-9][0-9]{0,4}")


class HostRefused(ValueError):  # noqa: N818 - reads as what happened
    """A text is not the name of a host. The sentence says why, in words that hold nothing of the text."""


def canonical(text: str) -> str:
    """Return the name of a host as it is compared. Raises HostRefused."""
    if not text.isascii() or any(character <= " " or character == "\x7f" for character in text):
        raise HostRefused("it has characters that no name of a host has")
    name = text.lower().removesuffix(".")
    if ":" in name or name.startswith("[") or _NUMBER.fullmatch(name.rpartition(".")[2]):
        raise HostRefused("it is an address; only names are allowed and judged")
    if "@" in name:
        raise HostRefused("it has a user name")
    if not name or len(name) > MAX_LENGTH or not all(map(_LABEL.fullmatch, name.split("."))):
        raise HostRefused("it is not a name of letters, digits, hyphens and dots")
    return name


def parse_authority(text: str) -> tuple[str, int | None]:
    """Read `HOST` or `HOST:PORT`, the host canonical. Raises HostRefused."""
    host, colon, port = text.partition(":")
    if "[" in text or ":" in port:
        raise HostRefused("it is an address; only names are allowed and judged")
    if not colon:
        return canonical(host), None
    if not _PORT.fullmatch(port) or int(port) > 65_535:
        raise HostRefused("its port is no number from 1 to 65535")
    return canonical(host), int(port)


def to_ascii(text: str) -> str:
    """Return a name as it goes over the wire: labels of other scripts as `xn--`. Raises HostRefused.

    What would become another name than the one that was written is refused: its wire form must be given.
    """
    if text.isascii():
        return text
    try:
        wire = text.encode("idna").decode("ascii")
        meant = unicodedata.normalize("NFC", text).lower()
        same = wire.encode("ascii").decode("idna") == meant
    except UnicodeError as error:
        raise HostRefused("it has characters that no name of a host has") from error
    if not same:
        raise HostRefused("it has characters that stand for others; write the name in its xn-- form")
    return wire
