"""Which headers are carried on.

Framing is written anew on each side, and everything that speaks about one connection only is dropped. Which of the
others go on depends on where to: the caller says it by their names, lower case, as h11 gives them.
"""

import re
from collections.abc import Callable, Iterable
from typing import Final

__all__ = ["PLAIN", "Carries", "Headers", "for_client", "for_upstream", "has_two_framings", "is_harmless"]

Headers = list[tuple[bytes, bytes]]
Carries = Callable[[bytes], bool]
"""Tells whether a client's header of this name goes on."""

# What a request says of its content, of the answer that it wants, and of the program that asks.
PLAIN: Final = frozenset(
    (
        *(b"accept", b"accept-language", b"cache-control", b"content-encoding", b"content-language", b"content-type"),
        *(b"if-match", b"if-modified-since", b"if-none-match", b"if-range", b"if-unmodified-since"),
        *(b"pragma", b"range", b"user-agent"),
    )
)
_HOP_BY_HOP = frozenset({b"connection", b"keep-alive", b"te", b"trailer", b"transfer-encoding", b"upgrade"})
_FRAMING = frozenset({b"content-length", b"transfer-encoding"})
# By what they are called. Some servers read `_` as `-`.
_CREDENTIALS = re.compile(
    rb".*(?:authorization|api[-_]?key|subscription[-_]key|auth[-_]key|(?:auth|access|security|session)[-_]token).*"
    rb"|cookie2?"
)
# By which servers take another host, path or method than the request's.
_LEADING = re.compile(
    rb"forwarded|x[-_]forwarded[-_].*"
    rb"|x[-_](?:(?:original|rewrite)[-_](?:url|uri|host|path|method)|http[-_]method.*|method[-_]override|host|real[-_]ip)"
)
# An answer in another encoding could carry the key unseen.
_REPLACED = frozenset({b"host", b"expect", b"accept-encoding"})
_FROM_UPSTREAM = frozenset({b"set-cookie", b"set-cookie2", b"alt-svc"})


def has_two_framings(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether a length and an encoding are both given: the two ends could disagree where the message ends."""
    return {name for name, _ in headers} >= _FRAMING


def is_harmless(name: bytes) -> bool:
    """Return whether a header is no credential, names no other host or request, and is not about its connection."""
    about_others = _CREDENTIALS.fullmatch(name) or _LEADING.fullmatch(name) or name.startswith(b"proxy-")
    return not about_others and name not in _HOP_BY_HOP | _FRAMING | _REPLACED


def for_upstream(headers: Headers, authority: str, credentials: Headers, carries: Carries) -> Headers:
    """Return the headers of a client's request as the upstream gets them."""
    kept = [pair for pair in _end_to_end(headers, _REPLACED) if carries(pair[0])]
    ours = [(b"host", authority.encode("ascii")), (b"accept-encoding", b"identity"), (b"connection", b"close")]
    return [*ours, *kept, *credentials, *_framing(headers)]


def for_client(headers: Headers, secret: bytes | None) -> Headers:
    """Return the headers of an upstream's answer as the client gets them; none of them repeats the secret."""
    kept = [(n, v) for n, v in _end_to_end(headers, _FROM_UPSTREAM) if secret is None or secret not in v]
    return [*kept, *(pair for pair in _framing(headers) if pair[0] == b"content-length")]


def _end_to_end(headers: Headers, dropped: frozenset[bytes]) -> Headers:
    named = {word.strip().lower() for name, value in headers if name == b"connection" for word in value.split(b",")}
    gone = _HOP_BY_HOP | _FRAMING | dropped | named
    return [(name, value) for name, value in headers if name not in gone and not name.startswith(b"proxy-")]


def _framing(headers: Headers) -> Headers:
    return [(name, value) for name, value in headers if name in _FRAMING]
