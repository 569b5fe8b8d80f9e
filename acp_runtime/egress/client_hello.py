"""The first thing that a TLS client says, read for the one name in it.

Strict where programs differ: what could be read as another name, or as none, is refused. Promises: bytes in, a name or
a refusal out, no I/O; no more than `MOST` bytes are looked at.

A hello with an encrypted part (ECH) is refused, since nobody can see where it leads; a browser's imitation of one looks
the same.
"""

from typing import Final

__all__ = ["MOST", "HelloRefused", "read_server_name"]

MOST: Final = 32 * 1024  # of a hello, with the heads of its records
_HANDSHAKE, _CLIENT_HELLO = 22, 1
_RECORD_HEAD, _MESSAGE_HEAD = 5, 4
_MOST_OF_A_RECORD: Final = 16 * 1024
_SERVER_NAME: Final = 0
_ENCRYPTED: Final = frozenset({0xFE0D, 0xFE0A, 0xFE09, 0xFE08, 0xFFCE})  # ECH, its drafts, and encrypted SNI


class HelloRefused(Exception):  # noqa: N818 - reads as what happened
    """What a client said is no hello that can be judged. The sentence says why."""


class _Reader:
    """Reads what a length says is there. Raises HelloRefused when it is not."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def take(self, count: int) -> bytes:
        if self._at + count > len(self._data):
            raise HelloRefused("its TLS hello is cut short")
        self._at += count
        return self._data[self._at - count : self._at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def part(self, size: int) -> "_Reader":
        """Read a part that begins with its own length, which has `size` bytes."""
        return _Reader(self.take(self.number(size)))

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def end(self) -> None:
        if self.left:
            raise HelloRefused("its TLS hello holds more than it says")


def read_server_name(data: bytes) -> str | None:
    """Return the server's name in the hello at the beginning of a stream; None while more of it is needed.

    Raises HelloRefused. Bytes behind the hello are not looked at.
    """
    message = _handshake(data)
    if message is None:
        if len(data) >= MOST:
            raise HelloRefused(f"its TLS hello has more than {MOST} bytes")
        return None
    hello = _Reader(message)
    hello.take(2 + 32)  # version, random
    for size in (1, 2, 1):  # session, ciphers, compressions
        hello.part(size)
    if not hello.left:
        raise HelloRefused("its TLS hello names no server (SNI)")
    extensions = hello.part(2)
    hello.end()
    return _name_among(extensions)


def _handshake(data: bytes) -> bytes | None:
    """Return the body of the first handshake message, joined from its records; None while it is not all there."""
    message, at = b"", 0
    while len(message) < _MESSAGE_HEAD or len(message) < _MESSAGE_HEAD + _length(message):
        head = data[at : at + _RECORD_HEAD]
        _check_record(head)
        if len(head) < _RECORD_HEAD:
            return None
        length = int.from_bytes(head[3:], "big")
        at += _RECORD_HEAD + length
        if at > MOST:
            raise HelloRefused(f"its TLS hello has more than {MOST} bytes")
        if len(data) < at:
            return None
        message += data[at - length : at]
        if message[0] != _CLIENT_HELLO:
            raise HelloRefused("it does not begin with a TLS hello")
    if len(message) != _MESSAGE_HEAD + _length(message):
        raise HelloRefused("its TLS hello holds more than it says")
    return message[_MESSAGE_HEAD:]


def _length(message: bytes) -> int:
    return int.from_bytes(message[1:_MESSAGE_HEAD], "big")


def _check_record(head: bytes) -> None:
    """Refuse, as early as it shows, what is no record of a handshake."""
    length = int.from_bytes(head[3:], "big") if len(head) == _RECORD_HEAD else 1
    if head[:1] not in (b"", bytes([_HANDSHAKE])) or head[1:2] not in (b"", b"\x03"):
        raise HelloRefused("it does not begin with a TLS hello")
    if not 0 < length <= _MOST_OF_A_RECORD:
        raise HelloRefused("it does not begin with a TLS hello")


def _name_among(extensions: _Reader) -> str:
    seen: set[int] = set()
    name: str | None = None
    while extensions.left:
        kind, body = extensions.number(2), extensions.part(2)
        if kind in seen:
            raise HelloRefused("its TLS hello says one thing twice")
        if kind in _ENCRYPTED:
            raise HelloRefused("its TLS hello hides where it leads (ECH); switch ECH off")
        seen.add(kind)
        if kind == _SERVER_NAME:
            name = _server_name(body)
    if name is None:
        raise HelloRefused("its TLS hello names no server (SNI)")
    return name


def _server_name(body: _Reader) -> str:
    names = body.part(2)
    body.end()
    kind, name = names.number(1), names.take(names.number(2))
    names.end()
    if kind != 0 or not name.isascii():
        raise HelloRefused("its TLS hello names the server in an unknown way")
    return name.decode("ascii")
