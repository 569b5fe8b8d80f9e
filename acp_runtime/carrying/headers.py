"""Which headers are carried on.

Framing is written anew on each side, credentials of the client and everything that speaks about one connection only
are dropped. Names are lower case, as h11 gives them.
"""

import re
from collections.abc import Iterable

__all__ = ["Headers", "for_client", "for_upstream", "has_two_framings"]

Headers = list[tuple[bytes, bytes]]

_HOP_BY_HOP = frozenset({b"connection", b"keep-alive", b"te", b"trailer", b"transfer-encoding", b"upgrade"})
_FRAMING = frozenset({b"content-length", b"transfer-encoding"})
# By what they are called, since gateways to models have names of their own. Some servers read `_` as `-`.
_CREDENTIALS = re.compile(
    rb".*(?:authorization|api[-_]?key|subscription[-_]key|auth[-_]key|(?:auth|access|security|session)[-_]token).*"
    rb"|cookie2?|chatgpt[-_]account[-_]id|openai[-_](?:organization|project)|x[-_]goog[-_]user[-_]project"
)
# By which gateways to models take another host or account, and servers another path or method than the request's.
_LEADING = re.compile(
    rb"(?:x[-_])?(?:portkey|helicone|cf[-_]aig)[-_].*|forwarded|x[-_]forwarded[-_].*"
    rb"|x[-_](?:(?:original|rewrite)[-_](?:url|uri|host|path|method)|http[-_]method.*|method[-_]override|host|real[-_]ip)"
)
# An answer in another encoding could carry the key unseen.
_REPLACED = frozenset({b"host", b"expect", b"accept-encoding"})
_FROM_UPSTREAM = frozenset({b"set-cookie", b"set-cookie2", b"alt-svc"})


def has_two_framings(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether a length and an encoding are both given: the two ends could disagree where the message ends."""
    return {name for name, _ in headers} >= _FRAMING


def for_upstream(headers: Headers, authority: str, credentials: Headers) -> Headers:
    """Return the headers of a client's request as the upstream gets them."""
    kept = [pair for pair in _end_to_end(headers, _REPLACED) if not _names_other(pair[0])]
    ours = [(b"host", authority.encode("ascii")), (b"accept-encoding", b"identity"), (b"connection", b"close")]
    return [*ours, *kept, *credentials, *_framing(headers)]


def for_client(headers: Headers, secret: bytes | None) -> Headers:
    """Return the headers of an upstream's answer as the client gets them; none of them repeats the secret."""
    kept = [(n, v) for n, v in _end_to_end(headers, _FROM_UPSTREAM) if secret is None or secret not in v]
    return [*kept, *(pair for pair in _framing(headers) if pair[0] == b"content-length")]


def _names_other(name: bytes) -> bool:
    """Return whether a header may say that another account, host or request is meant than ours."""
    return _CREDENTIALS.fullmatch(name) is not None or _LEADING.fullmatch(name) is not None


def _end_to_end(headers: Headers, dropped: frozenset[bytes]) -> Headers:
    named = {word.strip().lower() for name, value in headers if name == b"connection" for word in value.split(b",")}
    gone = _HOP_BY_HOP | _FRAMING | dropped | named
    return [(name, value) for name, value in headers if name not in gone and not name.startswith(b"proxy-")]


def _framing(headers: Headers) -> Headers:
    return [(name, value) for name, value in headers if name in _FRAMING]
