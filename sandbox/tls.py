"""Plain or encrypted: what stands between a transport and the bytes of a connection, sans-io.

asyncio's own TLS transport cannot half-close, and a program must be able to see the end of its input while its output
goes on. So encryption is done here, over memory: `Sealed` sends TLS's own "close" record for the half close, which
engines understand, and keeps reading. Both classes have the same four operations.
"""

import ssl
from contextlib import suppress

READ_AT_ONCE = 256 * 1024


class Plain:
    """No encryption; the end of sending is the transport's half close."""

    ends_by_transport = True
    ended = False  # the transport tells the end of what comes in

    def __init__(self) -> None:
        self._out: list[bytes] = []

    def receive(self, data: bytes) -> bytes:
        """Take bytes from the transport, return those of the connection."""
        return data

    def send(self, data: bytes) -> None:
        """Take bytes of the connection; they come out of `outgoing`."""
        self._out.append(data)

    def end(self) -> None:
        """Say that nothing more is sent."""

    def outgoing(self) -> bytes:
        """Return and forget what the transport must write now."""
        data = self._out[0] if len(self._out) == 1 else b"".join(self._out)
        self._out.clear()
        return data


class Sealed:
    """TLS as its client. Bytes sent before the handshake is done are kept and go out after it.

    `ended`: the other side has said that nothing more comes.
    """

    ends_by_transport = False

    def __init__(self, context: ssl.SSLContext, host: str) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._early: list[bytes] = []
        self._open = self.ended = False
        self._handshake()

    def receive(self, data: bytes) -> bytes:
        """Take bytes from the transport, return those of the connection. Raises ssl.SSLError."""
        self._incoming.write(data)
        if not self._open:
            self._handshake()
        if not self._open:
            return b""
        parts: list[bytes] = []
        try:
            while part := self._tls.read(READ_AT_ONCE):
                parts.append(part)
            self.ended = True
        except ssl.SSLZeroReturnError:
            self.ended = True
        except ssl.SSLWantReadError:
            pass
        return b"".join(parts)

    def send(self, data: bytes) -> None:
        """Take bytes of the connection; they come out of `outgoing` encrypted."""
        if self._open:
            self._tls.write(data)
        else:
            self._early.append(data)

    def end(self) -> None:
        """Say that nothing more is sent; reading goes on."""
        with suppress(ssl.SSLWantReadError):  # it waits for the other side's "close", which comes at the very end
            self._tls.unwrap()

    def outgoing(self) -> bytes:
        """Return and forget what the transport must write now."""
        return self._outgoing.read()

    def _handshake(self) -> None:
        with suppress(ssl.SSLWantReadError):
            self._tls.do_handshake()
            self._open = True
            for data in self._early:
                self._tls.write(data)
            self._early.clear()
